"""The errors a user can cause; each message names the place, what was expected, what was found and the cure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ham.words import clip

SHOWN = 5
"""Number of problems of one file that a message spells out; the rest is counted."""

LONGEST = 2000
"""Characters of a message: room for every choice, and none for a file that was quoted whole."""

LONGEST_PROBLEM = 500
"""Characters of one of several problems."""


class HamError(Exception):
    """Base of every error that the command line reports in one line, without a traceback.

    ``exit_status`` is 2 when the request itself was wrong and 1 for anything else. The middle of a message that is too
    long, a line or a value that was quoted, is left out; the place before it and the cure behind it stay.

    Args:
        message: place, expectation, what was found, cure.
    """

    exit_status = 1

    def __init__(self, message: str) -> None:
        super().__init__(clip(message, LONGEST))


class ConfigError(HamError):
    """The request was wrong: an option, a configuration key or value, a name that is not in a table."""

    exit_status = 2


class DataError(HamError):
    """A file or folder does not hold what its format says."""


class DownloadError(HamError):
    """A file could not be fetched, is not the one that was asked for, or has no room on the disk."""


class CheckpointError(HamError):
    """A checkpoint is missing, damaged, or belongs to another configuration."""


def summarise(problems: Sequence[str]) -> str:
    """Join the problems of one file into one line: the count, then the first few of them.

    Args:
        problems: at least one problem, each already naming its place.

    Returns:
        The problem itself if there is one; otherwise ``"<n> problems: a; b; ... and <n - 5> more"``.
    """
    shown = [clip(problem, LONGEST_PROBLEM) for problem in problems[:SHOWN]]
    if len(problems) == 1:
        return shown[0]
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return f"{len(problems)} problems: " + "; ".join(shown) + more


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let the operating system's refusals name the file: of a full disk, for one, it says only that it is full.

    Args:
        path: the file or folder that is written.

    Raises:
        OSError: what was raised within, with the file's name where it had none.
    """
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise
