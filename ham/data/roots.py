"""Roots of speech: their utterances, their training list and their trial lists.

Where the speech lies, and how it is named, is the business of :mod:`ham.data.recognise`. A root's lists are::

    splits/train_list.txt     optional; lines `<speaker> <path>`: the training part
    trials/<list>.txt         optional; lines `1|0 <path> <path>`: one test list each, 1 for the same speaker
    enrol/<list>.txt          optional; lines `<model> <path> [<path> ...]`: speakers enrolled with several recordings,
                              whose models the first path of a trial may name
    speakers.tsv              optional; columns `speaker` and `sex` or `sex_estimated`: for the list `hard`

They lie in the root; those of a table `<name>.csv` lie in a folder `<name>` beside it, and a Kaldi directory has its
own `trials`. Lists name files by their paths below ``wav/``, where there is no such folder below the root, and the
utterances of a table as the table does. Ids are ``<root>-<speaker>`` and ``<root>-<speaker>-<session>-<utterance>``,
so that equal folder names in two roots are two people; Kaldi directories keep their ids, by which equal names are one
person. White space in a name becomes ``_``. Hidden files (names that begin with a dot) are not looked at.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from ham.data.audio import EXTENSIONS
from ham.data.folders import FILES_TABLE
from ham.data.kaldi_dir import Trials, label_problems, model_problem, read_lines
from ham.data.recognise import home, read_speech
from ham.data.speech import Speech, Utterance, is_writable, raise_all
from ham.errors import DataError

logger = logging.getLogger(__name__)

_LABELS = {"0": 0, "1": 1}

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
        return {folder: f"{self.name}-{plain_word(folder)}" for folder in folders}

    @property
    def place(self) -> str:
        """What says which files there are: a folder or a table."""
        return self.speech.place

    def speaker(self, path: str) -> str:
        """The speaker of a file, as the root calls them; a key of ``speakers``."""
        return self.speech.utts[path].speaker

    def session(self, path: str) -> str:
        """The session of a file; it has a meaning within a speaker only."""
        return self.speech.utts[path].session

    def file(self, path: str) -> Path:
        """Where a file lies.

        Args:
            path: its name in lists.

        Returns:
            The file.
        """
        return Path(self.speech.utts[path].file)

    @property
    def lists(self) -> Path:
        """The folder of the lists."""
        return home(self.path)

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


def plain_word(name: str) -> str:
    """Write a name without white space, which would end an id in a Kaldi file.

    Args:
        name: the name of a file or folder.

    Returns:
        Its words joined by ``_``; ``_`` if there is none.
    """
    return "_".join(name.split()) or "_"


def open_root(path: Path, unpacked: Path | None = None) -> Root:
    """Find the utterances of a root.

    Args:
        path: the root, a folder or a table.
        unpacked: where what shards hold may be unpacked.

    Returns:
        The root.

    Raises:
        DataError: if the layout cannot be told, if there is no audio or audio in another format, or if two files or
            speakers would have the same id.
    """
    if not is_writable(str(path)):
        raise DataError(f"{str(path)!a}: expected a name in UTF-8 without line ends; rename the folder")
    name, speech = root_name(path), read_speech(path, unpacked)
    own = speech.has_own_ids
    root = Root(
        path, name, speech, {key: utt.words[0] if own else _utt_id(name, utt) for key, utt in speech.utts.items()}
    )
    raise_all(
        [
            f"{root.place}: {one!r} and {other!r} would both be utterance {root.utts[one]!r}; rename or remove one"
            for one, other in clashes(root.utts, root.utts.__getitem__)
        ]
        + [
            f"{root.place}: {one!r} and {other!r} would both be speaker {root.speakers[one]!r}; rename one"
            for one, other in clashes(root.speakers, root.speakers.__getitem__)
        ]
    )
    return root


def root_name(path: Path) -> str:
    """What a root is called in ids and names of lists.

    Args:
        path: the root.

    Returns:
        The name of its folder, or that of a table without extension, as one word.
    """
    return plain_word(home(path).name)


def write_root(path: Path, files: Mapping[str, str], lists: Mapping[str, Iterable[str]]) -> None:
    """Write a root of files that lie elsewhere, beside its place, and move it in; an older one is replaced.

    Args:
        path: the root; its parents are made.
        files: the place of each file by its path relative to ``wav/``.
        lists: lines by the name of their file, ``splits/train_list.txt``, ``trials/<list>.txt``, ``enrol/<list>.txt``.

    Raises:
        DataError: if ``path`` holds something else than such a root.
    """
    if path.exists() and not (path / FILES_TABLE).exists():
        raise DataError(f"{path}: expected a root with {FILES_TABLE} to replace, found something else; move it away")
    new, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    _write_lines(new / FILES_TABLE, (f"{name}\t{files[name]}" for name in sorted(files)))
    for name, lines in lists.items():
        _write_lines(new / name, lines)
    if path.exists():
        path.rename(old)
    new.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{line}\n" for line in lines)


def _utt_id(name: str, utt: Utterance) -> str:
    return "-".join(map(plain_word, (name, utt.speaker, *utt.words)))


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
        fields = line.strip().split(None, 1)
        if problem := _train_line_problem(root, line, fields):
            problems.append(f"{path}:{number}: {problem}")
        elif paths.setdefault(fields[1], number) != number:
            problems.append(f"{path}:{number}: {fields[1]!r} is in line {paths[fields[1]]} too; remove one")
    raise_all(problems if paths or problems else [f"{path}: is empty; list the training files, or remove it"])
    return list(paths)


def _train_line_problem(root: Root, line: str, fields: Sequence[str]) -> str | None:
    if len(fields) != 2:
        return f"expected '<speaker> <path>', found {line!r}"
    speaker, path = fields
    if path not in root.utts:
        return _missing(root, path)
    if root.speaker(path) != speaker:
        return f"expected the speaker of {path!r}, {root.speaker(path)!r}, found {speaker!r}; correct the line"
    return None


def _missing(root: Root, path: str) -> str:
    """A sentence about a file that a list names and the root does not hold."""
    stem = path.rpartition(".")[0]
    if path.removeprefix("wav/") in root.utts:
        cure = "paths begin below wav/: leave out 'wav/'"
    elif same := [stem + extension for extension in EXTENSIONS if stem + extension in root.utts]:
        cure = f"there is {same[0]!r}: correct the list"
    else:
        cure = "restore the file, or correct the list"
    return f"expected a file {'in' if root.speech.is_table else 'below'} {root.place}, found no {path!r}; {cure}"


def read_trial_list(root: Root, path: Path) -> Trials:
    """Read a trial list of a root and its models; every line becomes a trial, repeated ones too.

    Args:
        root: the root whose files the list names.
        path: the list; ``enrol/<same name>`` of the root holds its models, if there are any.

    Returns:
        The trials with the ids of utterances and models.

    Raises:
        DataError: if a line has another form or names a file that is not there, if a repeated trial changes its
            label, if one of the labels does not occur, or if a model is not what it should be.
    """
    models = _read_models(root, root.models_of(path))
    ids = {**root.utts, **{name: f"{root.name}-{name}" for name in models}}
    enrol, test, labels, problems = list[str](), list[str](), list[int](), []
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if len(fields) == 3 and fields[0] in _LABELS and fields[1] in ids and fields[2] in root.utts:
            enrol.append(ids[fields[1]])
            test.append(root.utts[fields[2]])
            labels.append(_LABELS[fields[0]])
        else:
            problems.append(f"{path}:{number}: {_trial_line_problem(root, ids, line, fields)}")
    raise_all(problems)
    recordings = {ids[name]: tuple(root.utts[file] for file in files) for name, files in models.items()}
    trials = Trials(tuple(enrol), tuple(test), np.array(labels, dtype=np.int8), dict(sorted(recordings.items())))
    raise_all(label_problems(path, trials))
    _warn_of_labels(root, path, trials)
    return trials


def _read_models(root: Root, path: Path) -> dict[str, list[str]]:
    """The recordings of each model, paths relative to ``wav/``; nothing without the file."""
    if not path.exists():
        return {}
    speakers = {utt: root.speakers[root.speaker(file)] for file, utt in root.utts.items()}
    models, problems = dict[str, list[str]](), []
    for number, line in enumerate(read_lines(path), 1):
        name, *files = line.split() or [""]
        problem = _model_problem(root, name, files, speakers)
        if problem or models.setdefault(name, files) is not files:
            problems.append(f"{path}:{number}: {problem or f'{name!r} was there before; remove one'}")
    raise_all(problems if models or problems else [f"{path}: is empty; list the models, or remove it"])
    return models


def _model_problem(root: Root, name: str, files: Sequence[str], speakers: Mapping[str, str]) -> str | None:
    if not files:
        return f"expected '<model> <path> [<path> ...]', found {name!r}"
    if name in root.utts:
        return f"the model {name!r} has the name of a file; rename it"
    if missing := [file for file in files if file not in root.utts]:
        return _missing(root, missing[0])
    return model_problem(f"{root.name}-{name}", [root.utts[file] for file in files], speakers)


def _trial_line_problem(root: Root, ids: Mapping[str, str], line: str, fields: Sequence[str]) -> str:
    """What is wrong with a line of which something is."""
    if len(fields) != 3:
        return f"expected '1|0 <path> <path>', found {len(fields)} fields: {line!r}"
    if fields[0] not in _LABELS:
        cure = "; the label comes first" if fields[2] in ("0", "1", "target", "nontarget") else ""
        return f"expected the label 1 (same speaker) or 0, found {fields[0]!r}{cure}"
    return _missing(root, fields[2] if fields[1] in ids else fields[1])


def _warn_of_labels(root: Root, path: Path, trials: Trials) -> None:
    """Labels are believed, but a list with 0 for the same speaker would turn every result upside down."""
    speakers = {root.utts[file]: root.speaker(file) for file in root.utts}
    speakers.update({model: speakers[utts[0]] for model, utts in trials.models.items()})
    rows = enumerate(zip(trials.enrol, trials.test, trials.labels.tolist(), strict=True), 1)
    wrong = [number for number, (enrol, test, label) in rows if (speakers[enrol] == speakers[test]) != label]
    if wrong:
        logger.warning(
            "%s: %d of %d labels disagree with the speakers' folders, the first in line %d; 1 means the same speaker",
            path,
            len(wrong),
            len(trials),
            wrong[0],
        )


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
    raise_all(
        [
            f"{path}:{number}: expected {len(heading)} columns like the heading, found {len(line)}"
            for number, line in enumerate(lines[1:], 2)
            if len(line) != len(heading)
        ]
    )
    speaker, sex = heading.index("speaker"), heading.index(column)
    return {line[speaker]: line[sex].strip().lower() for line in lines[1:] if line[sex].strip() not in ("", "?")}
