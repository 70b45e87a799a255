"""Folders of speech ("roots"): their utterances, their training list and their trial lists.

A root holds::

    wav/<speaker>/<session>/<utterance>.{wav,flac,ogg,m4a}
    splits/train_list.txt     optional; lines `<speaker> <path>`: the training part
    trials/<list>.txt         optional; lines `1|0 <path> <path>` or others: one test list each, 1 for the same speaker
    enrol/<list>.txt          optional; lines `<model> <path> [<path> ...]`: speakers enrolled with several recordings,
                              whose models the first path of a trial may name
    speakers.tsv              optional; columns `speaker` and `sex` or `sex_estimated`: for the list `hard`

Where the speech lies in another order, ``files.tsv`` takes the place of ``wav/``: lines `<path>`, tab, `<file>`, the
path being what it would be below ``wav/``.

Paths in lists are relative to ``wav/``. Ids are ``<root>-<speaker>`` and ``<root>-<speaker>-<session>-<utterance>``,
so that equal folder names in two roots are two people; how names become words of ids says :mod:`ham.data.names`.
Hidden files (names that begin with a dot) are not looked at. Trial lists and models are read by
:mod:`ham.data.trial_list`, which says what other forms their lines may have.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NoReturn, TypeVar

from ham.data.audio import CONVERT, EXTENSIONS
from ham.data.kaldi_dir import read_lines
from ham.data.names import Spellings, halves, plain_spelling, plain_word, quoted, speaker_words
from ham.data.ownership import check_ours, move_in, write_mark
from ham.errors import DataError, summarise

logger = logging.getLogger(__name__)

LAYOUT = "wav/<speaker>/<session>/<utterance>.{wav,flac,ogg,m4a}"
"""The layout of a root."""

FILES_TABLE = "files.tsv"
"""Name of the table that takes the place of ``wav/``."""

STAGE = 1
"""The stage of run.sh that writes roots."""

_OTHER_AUDIO = (".aac", ".mp4", ".mp3", ".opus", ".wma", ".sph", ".aif", ".aiff", ".au", ".webm", ".amr")
_MAX_DEPTH = 8  # folders below wav/ that are searched for misplaced files; ends the loops that links can make

_Item = TypeVar("_Item")


@dataclass(frozen=True, eq=False)
class Root:
    """A folder of speech; ``utts`` maps paths relative to ``wav/`` to utterance ids, in C order of the paths.

    ``files`` holds the places of files that do not lie in ``wav/``.
    """

    path: Path
    name: str
    utts: dict[str, str]
    files: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def speakers(self) -> dict[str, str]:
        """The speaker id of each speaker folder."""
        words = speaker_words(map(speaker_folder, self.utts))
        return {folder: f"{self.name}-{word}" for folder, word in words.items()}

    @cached_property
    def _spellings(self) -> Spellings:
        return Spellings(self.utts)

    @cached_property
    def lowered(self) -> dict[str, str]:
        """Paths by themselves in small letters, for those who write lists where that is the same."""
        return {path.lower(): path for path in self.utts}

    def find(self, text: str) -> str | None:
        """Find the file that a list means.

        Args:
            text: a path relative to ``wav/``; its letters may be composed otherwise, its folders end in backslashes.

        Returns:
            The path as it is; None if there is none, or if several look like it.
        """
        return text if text in self.utts else self._spellings.find(text)

    @property
    def place(self) -> str:
        """What says which files there are: the folder ``wav`` or the table ``files.tsv``."""
        return f"{self.path}/{FILES_TABLE if self.files else 'wav'}"

    def file(self, path: str) -> Path:
        """Where a file lies.

        Args:
            path: its path relative to ``wav/``.

        Returns:
            The file.
        """
        return Path(self.files[path] if self.files else f"{self.path}/wav/{path}")

    @property
    def train_list(self) -> Path:
        """Where the training list is, if there is one."""
        return self.path / "splits" / "train_list.txt"

    @property
    def trial_lists(self) -> list[Path]:
        """The trial lists, in C order."""
        return sorted(path for path in (self.path / "trials").glob("*.txt") if not path.name.startswith("."))


def speaker_folder(path: str) -> str:
    """The speaker of a path relative to ``wav/``.

    Args:
        path: ``<speaker>/<session>/<file>``.

    Returns:
        Its first component.
    """
    return path.split("/", 1)[0]


def clashes(items: Iterable[_Item], key: Callable[[_Item], str]) -> Iterator[tuple[_Item, _Item]]:
    """Find the items that have the key of an earlier one.

    Args:
        items: distinct items.
        key: what should tell them apart.

    Yields:
        The first item of a key and a later one.
    """
    first: dict[str, _Item] = {}
    for item in items:
        earlier = first.setdefault(key(item), item)
        if earlier is not item:
            yield earlier, item


def _raise_all(problems: Sequence[str]) -> None:
    if problems:
        raise DataError(summarise(problems))


def open_root(path: Path) -> Root:
    """Find the utterances of a root.

    Args:
        path: the root.

    Returns:
        The root.

    Raises:
        DataError: if there is no audio, audio at another depth or in another format, or if two files or speakers
            would have the same id.
    """
    wav, name = path / "wav", plain_word(path.name)
    if not _is_writable(str(path)):
        raise DataError(f"{str(path)!a}: expected a name in UTF-8 without line ends; rename the folder")
    files = _read_files_table(path / FILES_TABLE)
    if bool(files) == wav.is_dir():
        found = f"{FILES_TABLE} too; remove one of them" if files else f"no folder 'wav'; {_wav_cure(path)}"
        raise DataError(f"{path}: expected {LAYOUT}, found {found}")
    paths = sorted(files) or _find_utterances(wav)
    words = speaker_words(map(speaker_folder, paths))
    root = Root(path, name, {path: _utt_id(name, words, path) for path in paths}, files)
    wav = Path(root.place)
    _raise_all(
        [
            f"{wav}: {one!r} and {other!r} would both be utterance {root.utts[one]!r}; rename or remove one"
            for one, other in clashes(root.utts, root.utts.__getitem__)
        ]
        + [
            f"{wav}: {one!r} and {other!r} would both be speaker {root.speakers[one]!r}; rename one"
            for one, other in clashes(root.speakers, root.speakers.__getitem__)
        ]
    )
    return root


def _wav_cure(path: Path) -> str:
    if path.name == "wav":
        return f"give its parent, {path.parent}"
    return "move the speakers' folders into it"


def _read_files_table(table: Path) -> dict[str, str]:
    """The places of files by their paths relative to ``wav/``; nothing without a table."""
    if not table.exists():
        return {}
    files, problems = dict[str, str](), []
    for number, line in enumerate(read_lines(table), 1):
        path, _, file = line.partition("\t")
        problem = None if file else f"expected '<path><tab><file>', found {line!r}"
        problem = problem or _placement_problem(path.count("/"), path, os.path.splitext(path)[1].lower())  # noqa: PTH122
        if problem or files.setdefault(path, file) is not file:
            problems.append(f"{table}:{number}: {problem or f'{path!r} was there before; remove one'}")
    _raise_all(problems if files or problems else [f"{table}: is empty; list the files, or remove it"])
    base = f"{table.parent}/"
    return {path: file if file.startswith("/") else base + file for path, file in files.items()}


def write_root(path: Path, files: Mapping[str, str], lists: Mapping[str, Iterable[str]]) -> None:
    """Write a root of files that lie elsewhere, beside its place, and move it in; an older one of ours is replaced.

    Args:
        path: the root; its parents are made.
        files: the place of each file by its path relative to ``wav/``.
        lists: lines by the name of their file, ``splits/train_list.txt``, ``trials/<list>.txt``, ``enrol/<list>.txt``.

    Raises:
        DataError: if ``path`` holds what stage 1 did not write.
    """
    check_ours(path, STAGE, path.name)
    new = path.with_name(f".{path.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    _write_lines(new / FILES_TABLE, (f"{name}\t{files[name]}" for name in sorted(files)))
    for name, lines in lists.items():
        _write_lines(new / name, lines)
    write_mark(new, STAGE, path.name)
    move_in(new, path)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{line}\n" for line in lines)


def _utt_id(name: str, words: Mapping[str, str], path: str) -> str:
    speaker, session, file = path.split("/")
    return "-".join((name, words[speaker], plain_word(session), plain_word(file[: file.rindex(".")])))


def _find_utterances(wav: Path) -> list[str]:
    """Paths relative to ``wav/`` of all utterances, sorted; audio that is not where it should be is refused."""
    utts, problems, others = [], [], Counter[str]()
    for depth, folder, file in _walk(wav):
        path, extension = f"{folder}{file}", os.path.splitext(file)[1].lower()  # noqa: PTH122  (a million paths)
        if problem := _placement_problem(depth, path, extension):
            problems.append(f"{wav}/{problem}")
        elif extension in EXTENSIONS:
            utts.append(path)
        else:
            others[extension or "no extension"] += 1
    _raise_all(sorted(problems))
    if not utts:
        raise DataError(f"{wav}: expected {LAYOUT}, found no audio file")
    if others:
        counts = ", ".join(f"{number} of {extension}" for extension, number in sorted(others.items()))
        logger.info("%s: files that are not audio are left aside: %s", wav, counts)
    return sorted(utts)


def _walk(wav: Path) -> Iterator[tuple[int, str, str]]:
    """The depth, the folder relative to ``wav`` (ending in a slash, or empty) and the name of every file."""
    start = len(str(wav)) + 1
    for place, folders, files in os.walk(wav, followlinks=True, onerror=_raise):
        folder = place[start:] + "/" if len(place) > start else ""
        depth = folder.count("/")
        folders[:] = [name for name in folders if not name.startswith(".") and depth < _MAX_DEPTH]
        yield from ((depth, folder, name) for name in files if not name.startswith("."))


def _raise(error: OSError) -> NoReturn:
    raise error


def _placement_problem(depth: int, path: str, extension: str) -> str | None:
    if extension in _OTHER_AUDIO:
        return f"{path}: expected {', '.join(EXTENSIONS)}, found {extension}; {CONVERT}"
    if extension not in EXTENSIONS:
        return None
    if depth != 2:
        return f"{path}: expected {LAYOUT}, found {depth} folders above the file instead of 2; move it"
    return None if _is_writable(path) else f"{path!a}: expected a name in UTF-8 without line ends; rename it"


def _is_writable(path: str) -> bool:
    """Whether a text file can hold the path: bytes that are not UTF-8 are surrogates in it."""
    return path.isprintable() or not any(char in "\n\r" or "\ud800" <= char <= "\udfff" for char in path)


def read_train_list(root: Root) -> list[str]:
    """Read the training list of a root.

    Args:
        root: a root that has one.

    Returns:
        Paths relative to ``wav/``.

    Raises:
        DataError: if a line has another form, names a file that is not there or was there before, or names
            another speaker than its path.
    """
    path, problems, paths = root.train_list, [], dict[str, int]()
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        file = _train_file(root, line)
        if file is None:
            problems.append(f"{path}:{number}: {_train_line_problem(root, line)}")
        elif paths.setdefault(file, number) != number:
            problems.append(f"{path}:{number}: {file!r} is in line {paths[file]} too; remove one")
    _raise_all(problems if paths or problems else [f"{path}: is empty; list the training files, or remove it"])
    return list(paths)


def _train_file(root: Root, line: str) -> str | None:
    """The file that a line of the training list names together with its speaker."""
    fields = line.split()
    if len(fields) == 2 and fields[1] in root.utts and speaker_folder(fields[1]) == fields[0]:
        return fields[1]
    for speaker, text in halves(line):
        file = root.find(text)
        if file is not None and plain_spelling(speaker_folder(file)) == plain_spelling(speaker):
            return file
    return None


def _train_line_problem(root: Root, line: str) -> str:
    """What is wrong with a line of which something is."""
    fields = line.strip().split(None, 1)
    if len(fields) != 2:
        return f"expected '<speaker> <path>', found {quoted(line)}"
    speaker, path = fields
    file = root.find(path)
    if file is None:
        return missing(root, path)
    return f"expected the speaker of {path!r}, {speaker_folder(file)!r}, found {quoted(speaker)}; correct the line"


def missing(root: Root, path: str) -> str:
    """Say that a list names a file that the root does not hold.

    Args:
        root: the root.
        path: as the list writes it.

    Returns:
        A sentence with the cure.
    """
    stem = path.rpartition(".")[0]
    if path.removeprefix("wav/") in root.utts:
        cure = "paths begin below wav/: leave out 'wav/'"
    elif alike := root.lowered.get(path.lower()):
        cure = f"there is {alike!r}, in other letters: correct the list"
    elif same := [stem + extension for extension in EXTENSIONS if stem + extension in root.utts]:
        cure = f"there is {same[0]!r}: correct the list"
    else:
        cure = "restore the file, or correct the list"
    return f"expected a file {'in' if root.files else 'below'} {root.place}, found no {quoted(path)}; {cure}"


def read_sexes(path: Path) -> dict[str, str]:
    """Read the sex of each speaker from a table with tabs and a heading.

    Args:
        path: ``speakers.tsv`` with a column ``speaker`` and a column ``sex`` or ``sex_estimated``.

    Returns:
        The sex of each speaker folder, in small letters; nothing for a speaker whose sex is empty or ``?``, and
        nothing at all without the file or the columns.

    Raises:
        DataError: if a line has fewer columns than the heading.
    """
    if not path.exists():
        return {}
    lines = [line.split("\t") for line in read_lines(path)]
    heading = lines[0] if lines else []
    column = next((name for name in ("sex", "sex_estimated") if name in heading), None)
    if column is None or "speaker" not in heading:
        return {}
    _raise_all(
        [
            f"{path}:{number}: expected {len(heading)} columns like the heading, found {len(line)}"
            for number, line in enumerate(lines[1:], 2)
            if len(line) != len(heading)
        ]
    )
    speaker, sex = heading.index("speaker"), heading.index(column)
    return {line[speaker]: line[sex].strip().lower() for line in lines[1:] if line[sex].strip() not in ("", "?")}
