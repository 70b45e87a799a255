"""Roots: the utterances, the training list and the trial lists of speech of one source, a folder or a table.

Where the speech lies, and how it is named, is the business of :mod:`ham.prepare.recognise`. A root's lists are::

    splits/train_list.txt     optional; lines `<speaker> <path>`: the training part
    trials/<list>.txt         optional; lines `1|0 <path> <path>` or others: one test list each, 1 for the same speaker
    enrol/<list>.txt          optional; lines `<model> <path> [<path> ...]`: speakers enrolled with several recordings,
                              whose models the first path of a trial may name
    speakers.tsv              optional; columns `speaker` and `sex` or `sex_estimated`: for the list `hard`

They lie in the root; those of a table `<name>.csv` lie in a folder `<name>` beside it, and a Kaldi directory has its
own `trials`. Lists name files by their paths below ``wav/``, where there is no such folder below the root, and the
utterances of a table as the table does. Ids are ``<root>-<speaker>`` and ``<root>-<speaker>-<session>-<utterance>``,
so that equal folder names in two roots are two people; Kaldi directories keep their ids, by which equal names are one
person. How names become words of ids says :mod:`ham.data.names`. Hidden files (names that begin with a dot) are not
looked at. Trial lists and models are read by trial_list.py, which says what other forms their lines have.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from ham.audio.decoding import EXTENSIONS
from ham.data.names import Spellings, halves, plain_spelling, plain_word, quoted, speaker_words
from ham.data.ownership import check_ours, write_mark
from ham.data.speech import Speech, Utterance, fits_a_line
from ham.data.text_lines import numbered_lines, raise_all, read_lines, write_lines
from ham.errors import DataError
from ham.files import replacing_folder
from ham.prepare.folders import FILES_TABLE
from ham.prepare.recognise import lists_folder, read_speech

logger = logging.getLogger(__name__)

STAGE = 1
"""The stage of run.sh that writes roots."""

_Item = TypeVar("_Item")


@dataclass(frozen=True, eq=False)
class Root:
    """Speech of one source; ``utts`` maps the names that lists use to utterance ids, in C order of the names."""

    path: Path
    name: str
    speech: Speech
    utts: dict[str, str]

    @cached_property
    def speakers(self) -> dict[str, str]:
        """The id of each speaker."""
        folders = dict.fromkeys(utt.speaker for utt in self.speech.utts.values())
        if self.speech.has_own_ids:
            return {folder: folder for folder in folders}
        return {folder: f"{self.name}-{word}" for folder, word in speaker_words(folders).items()}

    @cached_property
    def sexes(self) -> Mapping[str, str]:
        """The sexes of speakers, from ``speakers.tsv`` or, without it, as far as the layout has them."""
        return read_sexes(self.lists / "speakers.tsv") or self.speech.sexes

    @cached_property
    def _spellings(self) -> Spellings:
        return Spellings(self.utts)

    @cached_property
    def lowered(self) -> dict[str, str]:
        """Names by themselves in small letters, for lists of those whose file system does not tell the two apart."""
        return {path.lower(): path for path in self.utts}

    def find(self, text: str) -> str | None:
        """The name of the file that a list means by a text; None if there is none, or if several look like it.

        Letters may be composed otherwise, and folders end in backslashes.
        """
        return text if text in self.utts else self._spellings.find(text)

    def speaker(self, path: str) -> str:
        """The speaker of a file, as the root calls them; a key of ``speakers``."""
        return self.speech.utts[path].speaker

    def session(self, path: str) -> str:
        """The session of a file; it has a meaning within a speaker only."""
        return self.speech.utts[path].session

    @property
    def lists(self) -> Path:
        """The folder of the lists."""
        return lists_folder(self.path)

    @property
    def train_list(self) -> Path:
        """Where the training list is, if there is one."""
        return self.lists / "splits" / "train_list.txt"

    @property
    def trial_lists(self) -> list[Path]:
        """The trial lists, in C order; that of a Kaldi directory is its file ``trials``."""
        if (self.lists / "trials").is_file():
            return [self.lists / "trials"]
        return sorted(path for path in (self.lists / "trials").glob("*.txt") if not path.name.startswith("."))

    def models_of(self, trial_list: Path) -> Path:
        """Where the models of a trial list are, if it has any."""
        own = self.lists / "enrol"
        return own if trial_list.parent == self.lists else own / trial_list.name


def clashes(items: Iterable[_Item], key: Callable[[_Item], str]) -> Iterator[tuple[_Item, _Item]]:
    """Yield, for each of distinct items that has the key of an earlier one, that earlier one and it."""
    first: dict[str, _Item] = {}
    for item in items:
        earlier = first.setdefault(key(item), item)
        if earlier is not item:
            yield earlier, item


def open_root(path: Path, unpacked: Path | None = None) -> Root:
    """Find the utterances of a root.

    Args:
        path: the root, a folder or a table.
        unpacked: where what shards hold may be unpacked.

    Raises:
        DataError: if the layout cannot be told, if there is no audio or audio in another format, or if two files or
            speakers would have the same id.
    """
    if not fits_a_line(str(path)):
        raise DataError(f"{str(path)!a}: expected a name in UTF-8 without line ends; rename the folder")
    name, speech = root_name(path), read_speech(path, unpacked)
    words = speaker_words(dict.fromkeys(utt.speaker for utt in speech.utts.values()))
    own = speech.has_own_ids
    ids = {key: utt.words[0] if own else _utt_id(name, words, utt) for key, utt in speech.utts.items()}
    root = Root(path, name, speech, ids)
    raise_all(
        [
            f"{speech.place}: {one!r} and {other!r} would both be utterance {root.utts[one]!r}; rename or remove one"
            for one, other in clashes(root.utts, root.utts.__getitem__)
        ]
        + [
            f"{speech.place}: {one!r} and {other!r} would both be speaker {root.speakers[one]!r}; rename one"
            for one, other in clashes(root.speakers, root.speakers.__getitem__)
        ]
    )
    return root


def root_name(path: Path) -> str:
    """What ids and names of lists call a root: its folder's name, or a table's without extension, as one word."""
    return plain_word(lists_folder(path).name)


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
    with replacing_folder(path) as new:
        write_lines(new / FILES_TABLE, (f"{name}\t{files[name]}" for name in sorted(files)))
        for name, lines in lists.items():
            write_lines(new / name, lines)
        write_mark(new, STAGE, path.name)


def _utt_id(name: str, words: Mapping[str, str], utt: Utterance) -> str:
    return "-".join((name, words[utt.speaker], *map(plain_word, utt.words)))


def read_train_list(root: Root) -> list[str]:
    """Read the training list of a root that has one: the names of files.

    Raises:
        DataError: if a line has another form, names a file that is not there or was there before, or names
            another speaker than its path.
    """
    path, problems, paths = root.train_list, [], dict[str, int]()
    for number, line in numbered_lines(path):
        file = _train_file(root, line)
        if file is None:
            problems.append(f"{path}:{number}: {_train_line_problem(root, line)}")
        elif paths.setdefault(file, number) != number:
            problems.append(f"{path}:{number}: {file!r} is in line {paths[file]} too; remove one")
    raise_all(problems if paths or problems else [f"{path}: is empty; list the training files, or remove it"])
    return list(paths)


def _train_file(root: Root, line: str) -> str | None:
    """The file that a line of the training list names together with its speaker."""
    fields = line.split()
    if len(fields) == 2 and fields[1] in root.utts and root.speaker(fields[1]) == fields[0]:
        return fields[1]
    for speaker, text in halves(line):
        file = root.find(text)
        if file is not None and plain_spelling(root.speaker(file)) == plain_spelling(speaker):
            return file
    return None


def _train_line_problem(root: Root, line: str) -> str:
    """What is wrong with a line that :func:`_train_file` finds no file for."""
    fields = line.strip().split(None, 1)
    if len(fields) != 2:
        return f"expected '<speaker> <path>', found {quoted(line)}"
    speaker, path = fields
    file = root.find(path)
    if file is None:
        return missing(root, path)
    return f"expected the speaker of {path!r}, {root.speaker(file)!r}, found {quoted(speaker)}; correct the line"


def missing(root: Root, path: str) -> str:
    """Say that a list names a file, ``path``, that the root does not hold, with the cure."""
    stem = path.rpartition(".")[0]
    if path.removeprefix("wav/") in root.utts:
        cure = "paths begin below wav/: leave out 'wav/'"
    elif alike := root.lowered.get(path.lower()):
        cure = f"there is {alike!r}, in other letters: correct the list"
    elif same := [stem + extension for extension in EXTENSIONS if stem + extension in root.utts]:
        cure = f"there is {same[0]!r}: correct the list"
    else:
        cure = "restore the file, or correct the list"
    place = f"{'in' if root.speech.is_table else 'below'} {root.speech.place}"
    return f"expected a file {place}, found no {quoted(path)}; {cure}"


def read_sexes(path: Path) -> dict[str, str]:
    """Read the sex of each speaker from ``speakers.tsv``: a column ``speaker``, and one ``sex`` or ``sex_estimated``.

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
    raise_all(
        [
            f"{path}:{number}: expected {len(heading)} columns like the heading, found {len(line)}"
            for number, line in enumerate(lines[1:], 2)
            if len(line) != len(heading)
        ]
    )
    speaker, sex = heading.index("speaker"), heading.index(column)
    return {line[speaker]: line[sex].strip().lower() for line in lines[1:] if line[sex].strip() not in ("", "?")}
