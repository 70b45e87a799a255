"""What a corpus tells of its test utterances: speakers, trial lists and, where the tree is known, sex and accent."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ham.analysis.tree import Leaf
from ham.data.kaldi_dir import read_data_dir, trial_dirs
from ham.data.text_lines import read_lines
from ham.errors import ConfigError, DataError


def read_leaves(data_dir: Path, root: str) -> dict[str, Leaf]:
    """Find where every test utterance of a root hangs in its tree.

    Args:
        data_dir: folder that holds ``<root>/speakers.tsv``, ``<root>/sessions.tsv`` and ``test/<root>/<list>/``.
        root: the corpus; its utterances are called ``<root>-<speaker>-<session>-<number>``.

    Returns:
        The leaf of each utterance of the root's lists together, in C order.

    Raises:
        ConfigError: if the root has no test lists.
        DataError: if the tables are missing, or do not name a speaker or session.
    """
    utt2spk = read_utterances(data_dir, root)
    speakers = {row["speaker"]: row for row in read_tsv(data_dir / root / "speakers.tsv", ("sex", "accent"))}
    sessions = {(row["speaker"], row["session"]) for row in read_tsv(data_dir / root / "sessions.tsv", ("session",))}
    leaves = {}
    for utt, spk in sorted(utt2spk.items()):
        name, session = spk.removeprefix(f"{root}-"), utt.removeprefix(f"{spk}-").split("-")[0]
        if name not in speakers:
            raise DataError(f"{data_dir / root}/speakers.tsv: expected a line for {name} (of {utt}), found none")
        if (name, session) not in sessions:
            raise DataError(
                f"{data_dir / root}/sessions.tsv: expected session {session!r} of {name} (of {utt}), found none; "
                "utterances must be called <speaker>-<session>-<number>"
            )
        leaves[utt] = Leaf(speakers[name]["sex"], speakers[name]["accent"], spk, session)
    return leaves


def read_utterances(data_dir: Path, root: str) -> dict[str, str]:
    """Find the test utterances of a root.

    Args:
        data_dir: folder that holds ``test/<root>/<list>/``.
        root: the corpus.

    Returns:
        The speaker of each utterance of the root's lists together.

    Raises:
        ConfigError: if the root has no test lists.
    """
    folders = trial_dirs(data_dir / "test")
    lists = [folder for folder in folders if folder.parent.name == root]
    if not lists:
        known = " ".join(sorted({folder.parent.name for folder in folders}))
        raise ConfigError(f"--root: unknown root {root!r}: expected one of {known}")
    return {utt: spk for folder in lists for utt, spk in read_data_dir(folder).utt2spk.items()}


def read_counts(data_dir: Path) -> dict[str, int]:
    """How many utterances each training speaker has.

    Args:
        data_dir: folder that holds ``train/``.

    Returns:
        By speaker; empty where there is no training data.
    """
    folder = data_dir / "train"
    return {spk: len(utts) for spk, utts in read_data_dir(folder).spk2utt.items()} if folder.is_dir() else {}


def read_tsv(path: Path, wanted: Sequence[str]) -> list[dict[str, str]]:
    """Read a table that says where speakers or sessions hang in the tree.

    Args:
        path: columns separated by tabs, below a head of their names.
        wanted: columns beside ``speaker`` that every line must fill.

    Returns:
        The lines, by the names in the head.

    Raises:
        DataError: if the file is missing, or a line lacks a wanted value.
    """
    if not path.exists():
        cure = "the hierarchy is measured only where the tree is known, as in the corpus mini"
        raise DataError(f"{path}: expected the table that says the tree, found no such file; {cure}")
    rows = list(csv.DictReader(read_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE))
    for number, row in enumerate(rows, 2):
        lacking = [column for column in ("speaker", *wanted) if not row.get(column)]
        if lacking:
            cure = "the hierarchy is measured only where the tree is known"
            raise DataError(f"{path}:{number}: expected a value for {' and '.join(lacking)}, found none; {cure}")
    return rows


@dataclass(frozen=True)
class TestSpeech:
    """What is known of the test utterances.

    Attributes:
        roots: their corpora.
        utt2spk: speaker of each utterance, in C order.
        labels: sex and accent by speaker; empty if a root does not tell them.
    """

    roots: tuple[str, ...]
    utt2spk: Mapping[str, str]
    labels: Mapping[str, tuple[str, ...]]


def read_speech(data_dir: Path, root: str) -> TestSpeech:
    """Find the test utterances and what is known of their speakers.

    Args:
        data_dir: folder that holds ``test/<root>/<list>/``, and ``<root>/speakers.tsv`` where the tree is known.
        root: a corpus, or ``all``.

    Returns:
        Utterances of all lists of these roots.

    Raises:
        ConfigError: if there is no such root, or only one speaker.
        DataError: if the data directories or the tables are damaged.
    """
    known = sorted({folder.parent.name for folder in trial_dirs(data_dir / "test")})
    roots = known if root == "all" else [root]
    utt2spk = {utt: spk for name in roots for utt, spk in read_utterances(data_dir, name).items()}
    if len(set(utt2spk.values())) < 2:
        raise ConfigError(f"--root {root}: expected at least 2 test speakers, found 1; choose another corpus")
    labels: dict[str, tuple[str, ...]] = {}
    if all((data_dir / name / "speakers.tsv").exists() for name in roots):
        leaves = [leaf for name in roots for leaf in read_leaves(data_dir, name).values()]
        labels = {leaf.speaker: (leaf.sex, leaf.accent) for leaf in leaves}
    return TestSpeech(tuple(roots), dict(sorted(utt2spk.items())), labels)


def metadata(data_dir: Path, speech: TestSpeech) -> tuple[list[str], list[list[str]]]:
    """What the projector shows of each utterance.

    Args:
        data_dir: folder that holds ``test/<root>/<list>/``.
        speech: the utterances.

    Returns:
        Names of the columns, and a row for each utterance.
    """
    lists: dict[str, list[str]] = {utt: [] for utt in speech.utt2spk}
    for folder in trial_dirs(data_dir / "test"):
        if folder.parent.name in speech.roots:
            for utt in read_data_dir(folder).utt2spk:
                lists[utt].append(f"{folder.parent.name}/{folder.name}")
    columns = ["utterance", "speaker", "lists", *(["sex", "accent"] if speech.labels else [])]
    rows = [[utt, spk, " ".join(lists[utt]), *speech.labels.get(spk, ())] for utt, spk in speech.utt2spk.items()]
    return columns, rows
