"""What every layout of speech is read into: utterances with file, speaker and session; and the search for audio files.

:mod:`ham.prepare.recognise` has the table of the layouts, and each reader returns a :class:`Speech`.
"""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ham.audio.decoding import CONVERT, EXTENSIONS
from ham.data.text_lines import raise_all
from ham.errors import DataError

logger = logging.getLogger(__name__)

_OTHER_AUDIO = (".aac", ".mp4", ".mp3", ".opus", ".wma", ".sph", ".aif", ".aiff", ".au", ".webm", ".amr")


class Span(NamedTuple):
    """The part of a file that is an utterance, from ``start`` to before ``stop`` (None: to the end of the file).

    Both are seconds or, with ``in_samples``, samples at the file's own rate.
    """

    start: float
    stop: float | None
    in_samples: bool = False


class Utterance(NamedTuple):
    """An utterance as its layout has it; ``words`` are those that follow the speaker in its id."""

    file: str
    speaker: str
    session: str
    words: tuple[str, ...]
    span: Span | None = None


@dataclass(frozen=True, eq=False)
class Speech:
    """The utterances of a root by the names that lists give them, in C order of the names.

    ``place`` is the folder or the table that says which there are; ``layout`` is the layout in words, for the log. With
    ``has_own_ids`` an utterance's one word is its id. ``sexes`` are the speakers', ``splits`` say ``train``, ``dev`` or
    ``test`` of each name, where the layout has such. ``are_paths_sessions``: the folder of a file is its session, so
    that nothing needs to remember it.
    """

    place: str
    utts: dict[str, Utterance]
    layout: str
    is_table: bool = False
    has_own_ids: bool = False
    are_paths_sessions: bool = False
    sexes: Mapping[str, str] = field(default_factory=dict)
    splits: Mapping[str, str] = field(default_factory=dict)


def fits_a_line(path: str) -> bool:
    """Whether a line of a text file can hold a name: bytes that are not UTF-8 are surrogates in it."""
    return path.isprintable() or not any(char in "\n\r" or "\ud800" <= char <= "\udfff" for char in path)


def extension_of(path: str) -> str:
    """The extension in small letters (``os.path``, since there may be a million of them)."""
    return os.path.splitext(path)[1].lower()  # noqa: PTH122


def name_problem(path: str) -> str | None:
    """What is wrong with the name of a file that should be speech, given with its folders; None if nothing is."""
    extension = extension_of(path)
    if extension not in EXTENSIONS:
        return f"{path}: expected {', '.join(EXTENSIONS)}, found {extension or 'no extension'}; {CONVERT}"
    return None if fits_a_line(path) else f"{path!a}: expected a name in UTF-8 without line ends; rename it"


def find_audio(folder: Path) -> list[str]:
    """Search a folder for audio files; files that are not audio are counted and logged.

    Returns:
        Paths relative to it, sorted; those of hidden files (names that begin with a dot) are not among them.

    Raises:
        DataError: if a link leads nowhere or in a circle, if a folder cannot be read, if there is audio of another
            format, or none.
    """
    found, problems, others = list[str](), list[str](), Counter[str]()
    for path in _find_files(folder, problems):
        extension = extension_of(path)
        if extension not in EXTENSIONS and extension not in _OTHER_AUDIO:
            others[extension or "no extension"] += 1
        elif problem := name_problem(path):
            problems.append(f"{folder}/{problem}")
        else:
            found.append(path)
    raise_all(sorted(problems))
    if not found:
        raise DataError(
            f"{folder}: found no audio file; expected {', '.join(EXTENSIONS)} in folders of speakers, or one of the "
            "tables that docs/data.md shows"
        )
    if others:
        counts = ", ".join(f"{number} of {extension}" for extension, number in sorted(others.items()))
        logger.info("%s: files that are not audio are left aside: %s", folder, counts)
    return sorted(found)


def _find_files(folder: Path, problems: list[str]) -> Iterable[str]:
    """Paths of all files below a folder, links followed; what cannot be followed goes into ``problems``."""
    todo: list[tuple[str, str, tuple[str, ...]]] = [(str(folder), "", (os.path.realpath(folder),))]
    while todo:
        place, inside, above = todo.pop()
        try:
            entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        except OSError as error:
            problems.append(f"{place}: cannot be read ({error.strerror}); give yourself permission, or remove it")
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if problem := _entry_problem(entry, above):
                problems.append(problem)
            elif entry.is_dir():
                real = os.path.realpath(entry.path) if entry.is_symlink() else f"{above[-1]}/{entry.name}"
                todo.append((entry.path, f"{inside}{entry.name}/", (*above, real)))
            else:
                yield f"{inside}{entry.name}"


def _entry_problem(entry: os.DirEntry[str], above: Sequence[str]) -> str | None:
    """Why an entry of a folder can be neither taken nor left aside."""
    if entry.is_symlink():
        try:
            os.stat(entry.path)  # noqa: PTH116
        except OSError as error:
            where = f"nowhere ({error.strerror}); is its disk mounted? mend the link or remove it"
            where = "in a circle; remove it" if error.errno == errno.ELOOP else where
            return f"{entry.path}: the link to {os.readlink(entry.path)!r} leads {where}"  # noqa: PTH115
        if entry.is_dir() and os.path.realpath(entry.path) in above:
            return f"{entry.path}: the link leads in a circle, to a folder above it; remove it"
    elif not entry.is_dir() and not entry.is_file() and extension_of(entry.name) in EXTENSIONS:
        return f"{entry.path}: expected a file, found a pipe, socket or device; remove it"
    return None
