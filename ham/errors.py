"""The errors a user can cause; each message names the place, what was expected, what was found and the cure."""

from __future__ import annotations

from collections.abc import Sequence

SHOWN = 5
"""Number of problems of one file that a message spells out; the rest is counted."""


class HamError(Exception):
    """Base of every error that the command line reports in one line, without a traceback.

    ``exit_status`` is 2 when the request itself was wrong and 1 for anything else.
    """

    exit_status = 1


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
    if len(problems) == 1:
        return problems[0]
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return f"{len(problems)} problems: " + "; ".join(problems[:SHOWN]) + more
