"""Layouts that are folders: the speaker, and the session where there is one, are the names of folders above a file.

=====================================================  ==========================================================
below the root                                         session
=====================================================  ==========================================================
``wav/<speaker>/<session>/<file>``                     the folder
``wav/<speaker>/<file>``, ``<speaker>/<file>``         every file is one of its own
``<speaker>/<session>/<file>``                         the folder
``[<part>/]<speaker>/<chapter>/<speaker>-<chapter>-*`` the chapter (LibriSpeech)
``files.tsv``: lines ``<path below wav/><tab><file>``  as in the path
=====================================================  ==========================================================
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ham.data.speech import Speech, Utterance, find_audio, name_problem
from ham.data.text_lines import raise_all, read_lines
from ham.errors import DataError

FILES_TABLE = "files.tsv"
"""Name of the table that takes the place of ``wav/``."""

_FORMS = {1: "<speaker>/<file>", 2: "<speaker>/<session>/<file>"}
_CURE = "move them so that all lie alike, or list them in a table (--csv)"
_PART = re.compile(
    r"(train|training|dev|development|test|eval|evaluation|val|valid|validation)([-_.].*)?", re.IGNORECASE
)
_IGNORED = {"trials", "splits", "enrol"}


def read_wav(root: Path) -> Speech:
    """Read ``wav/<speaker>/<session>/<file>`` or ``wav/<speaker>/<file>`` of a root; lists name paths below ``wav/``.

    Raises:
        DataError: if the files do not lie alike.
    """
    place = root / "wav"
    paths = find_audio(place)
    return _by_depth(place, paths, "wav/")


def read_tree(root: Path) -> Speech:
    """Read speakers' folders that lie in the root itself: with sessions, without, or as LibriSpeech has them.

    Returns:
        The utterances; lists name them by their paths below the root.

    Raises:
        DataError: if the files do not lie alike, or if the folders look like parts of a corpus and not like speakers.
    """
    if root.name == "wav":
        raise DataError(f"{root}: expected a root, found its folder 'wav'; give its parent, {root.parent}")
    paths = find_audio(root)
    if all(map(_is_librispeech, paths)):
        return _librispeech(root, paths)
    speech = _by_depth(root, paths, "")
    tops = {path.split("/", 1)[0] for path in paths}
    if all(map(_PART.fullmatch, tops)):
        shown = " and ".join(repr(name) for name in sorted(tops)[:3])
        cure = "give each as a root of its own: --train_roots, --test_roots"
        raise DataError(f"{root}: expected speakers' folders, found parts of a corpus, {shown}; {cure}")
    if len(tops) == 1 and paths[0].count("/") == 2:
        (top,) = tops
        raise DataError(
            f"{root}: expected speakers' folders, found only {top!r}; if its folders are the speakers, give "
            f"{root}/{top} as the root; if it is one speaker, move it to {root}/wav/{top}"
        )
    return speech


def _by_depth(place: Path, paths: Sequence[str], above: str) -> Speech:
    depths = Counter(path.count("/") for path in paths)
    depth = min(depths)
    if len(depths) > 1 or depth not in _FORMS:
        raise DataError(
            f"{place}: expected all files as {' or all as '.join(_FORMS.values())}, {_found(paths)}; {_CURE}"
        )
    make, sessions = (
        (_utterance, "folders are sessions") if depth == 2 else (_flat, "each file is a session of its own")
    )
    form = f"{above}{_FORMS[depth]}"
    utts = {path: make(path, f"{place}/{path}") for path in paths}
    return Speech(str(place), utts, f"{form}, {sessions}", are_paths_sessions=depth == 2)


def _found(paths: Iterable[str]) -> str:
    """How many files lie how deep, with an example each."""
    examples, counts = dict[int, str](), Counter[int]()
    for path in paths:
        counts[path.count("/")] += 1
        examples.setdefault(path.count("/"), path)
    return "found " + " and ".join(
        f"{number} with {depth} folder{'s' * (depth != 1)} above ({examples[depth]!r})"
        for depth, number in sorted(counts.items())
    )


def _stem(file: str) -> str:
    return file[: file.rindex(".")]


def _utterance(path: str, file: str) -> Utterance:
    """Of ``<speaker>/<session>/<file>``."""
    speaker, session, name = path.split("/")
    speaker, session = sys.intern(speaker), sys.intern(session)  # a million utterances have few
    return Utterance(file, speaker, session, (session, _stem(name)))


def _flat(path: str, file: str) -> Utterance:
    """Of ``<speaker>/<file>``."""
    speaker, name = path.split("/")
    return Utterance(file, speaker, _stem(name), (_stem(name),))


def _is_librispeech(path: str) -> bool:
    *above, name = path.split("/")
    return len(above) >= 2 and name.startswith(f"{above[-2]}-{above[-1]}-")


def _librispeech(root: Path, paths: Sequence[str]) -> Speech:
    """Parts of the corpus, ``train-clean-100`` and others, may lie between the root and the speakers."""
    utts = {path: _utterance("/".join(path.split("/")[-3:]), f"{root}/{path}") for path in paths}
    tables = (root / "SPEAKERS.TXT", root.parent / "SPEAKERS.TXT")
    sexes = next((_librispeech_sexes(file) for file in tables if file.is_file()), {})
    return Speech(str(root), utts, "LibriSpeech tree, chapters are sessions", are_paths_sessions=True, sexes=sexes)


def _librispeech_sexes(file: Path) -> dict[str, str]:
    """The sexes of lines ``<speaker> | <sex> | ...``; those that begin with ``;`` are comments."""
    rows = [line.split("|") for line in read_lines(file) if not line.startswith(";")]
    return {row[0].strip(): row[1].strip().lower() for row in rows if len(row) > 1}


def read_files_table(root: Path) -> Speech:
    """Read ``files.tsv`` of a root, which says where the files lie that would be below ``wav/``.

    Returns:
        The utterances by their paths as if they were below ``wav/``.

    Raises:
        DataError: if a line has another form, or names a path that was there before.
    """
    table = root / FILES_TABLE
    files, problems = dict[str, str](), []
    for number, line in enumerate(read_lines(table), 1):
        path, _, file = line.partition("\t")
        problem = _row_problem(line, path, file)
        if problem or files.setdefault(path, file) is not file:
            problems.append(f"{table}:{number}: {problem or f'{path!r} was there before; remove one'}")
    raise_all(problems if files or problems else [f"{table}: is empty; list the files, or remove it"])
    base = f"{root}/"
    utts = {path: _utterance(path, os.path.join(base, files[path])) for path in sorted(files)}  # noqa: PTH118
    return Speech(str(table), utts, f"{FILES_TABLE}, folders are sessions", is_table=True, are_paths_sessions=True)


def _row_problem(line: str, path: str, file: str) -> str | None:
    if not file:
        return f"expected '<path><tab><file>', found {line!r}"
    if path.count("/") != 2:
        depth = path.count("/")
        return f"{path}: expected {_FORMS[2]}, found {depth} folders above the file instead of 2; correct it"
    return name_problem(path)


def without_audio(root: Path, speech: Speech) -> list[str]:
    """Folders beside the speakers' folders in which there is no audio, sorted: perhaps a disk that is not mounted."""
    place = Path(speech.place)
    if speech.is_table or not place.is_dir():
        return []
    tops = {utt.file[len(speech.place) + 1 :].split("/", 1)[0] for utt in speech.utts.values()}
    folders = {entry.name for entry in os.scandir(place) if entry.is_dir() and not entry.name.startswith(".")}
    return sorted(folders - tops - (_IGNORED if place == root else set()))
