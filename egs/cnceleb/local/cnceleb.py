"""CN-Celeb as a root: its training speakers, short utterances joined, its enrolment models and its trials.

CN-Celeb1 holds ``data/<speaker>/<genre>-<session>-<number>.flac``, ``dev/dev.lst`` (who is trained on) and ``eval/``
with ``lists/``, ``enroll/`` and ``test/``; CN-Celeb2 holds ``data/`` and ``spk.lst``. A model of an evaluation speaker
is made of recordings of ``data/`` (``lists/enroll.map``), which the owners have also joined to one file
(``lists/enroll.lst`` and ``enroll/``).
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from join import Joint, group_short

from ham.audio import SAMPLE_RATE
from ham.audio.decoding import EXTENSIONS, AudioInfo
from ham.corpora.catalogue import ArchiveSet
from ham.data.text_lines import read_lines
from ham.errors import SHOWN, ConfigError, DataError, summarise
from ham.words import count

logger = logging.getLogger(f"ham.{__name__}")  # whose messages are shown

ROOT = "cnceleb"
LIST = "eval"

TRAIN_SETS = ("cn1_dev", "cn2")
"""What can be trained on, alone or together."""

ENROL_LISTS = ("map", "lst")
"""``enroll.map``: several recordings a model; ``enroll.lst``: the owners' joined recording of each."""

NUM_TRIALS, NUM_TARGET = 3_484_292, 17_755
"""Trials of CN-Celeb.E and target trials among them: 196 models x 17,777 test utterances."""

NUM_TRAIN_SPEAKERS = 2793
"""Speakers of both training sets together, by most recipes."""

_MARKS = ("eval/lists/trials.lst", "spk.lst")  # beside data/, the former in CN-Celeb1, the latter in CN-Celeb2
_DEPTH = 2  # folders between the one that is named and CN-Celeb_flac
_NAME = re.compile(r"(?P<genre>.+)-(?P<session>\d+)-(?P<number>\d+)")


@dataclass(frozen=True)
class Folders:
    """The unpacked corpora; None for one that is not there."""

    cn1: Path | None
    cn2: Path | None


@dataclass(frozen=True)
class Evaluation:
    """Models and trials, by paths of the root; ``files`` says where those lie."""

    files: dict[str, str]
    models: dict[str, list[str]]
    trials: list[str]

    @property
    def speakers(self) -> set[str]:
        """The speakers of all recordings."""
        return {path.split("/", 1)[0] for path in self.files}


@dataclass(frozen=True)
class Training:
    """Paths of the root, the place of each, and the files that are to be made of short ones."""

    files: dict[str, str]
    joints: list[Joint]


def find_folders(top: Path) -> Folders:
    """Look for the unpacked corpora.

    Args:
        top: a folder that holds them, at most two folders below it, or one of them itself.

    Returns:
        Where they are.

    Raises:
        DataError: if there is neither, or two of one kind.
    """
    found: dict[str, list[Path]] = {mark: [] for mark in _MARKS}
    for mark, folder in _walk(top, _DEPTH):
        found[mark].append(folder)
    for mark, folders in found.items():
        if len(folders) > 1:
            raise DataError(f"{folders[0]} and {folders[1]} both hold {mark} and data/; name the one that is meant")
    cn1, cn2 = found.values()
    if not cn1 and not cn2:
        looked = "data/ and eval/lists/trials.lst (as in CN-Celeb_flac), or data/ and spk.lst (as in CN-Celeb2_flac)"
        raise DataError(f"{top}: expected {looked}, found neither up to {_DEPTH} folders below it")
    return Folders(cn1[0] if cn1 else None, cn2[0] if cn2 else None)


def _walk(folder: Path, depth: int) -> Iterator[tuple[str, Path]]:
    """The marks found with their folders; what lies below a corpus is not looked at."""
    marks = [mark for mark in _MARKS if (folder / mark).is_file() and (folder / "data").is_dir()]
    yield from ((mark, folder) for mark in marks)
    if depth and not marks:
        for entry in sorted(folder.iterdir()):
            if entry.is_dir() and not entry.name.startswith("."):
                yield from _walk(entry, depth - 1)


def list_data(folder: Path) -> dict[str, dict[str, str]]:
    """Find the utterances below ``data/``.

    Args:
        folder: an unpacked corpus.

    Returns:
        For each speaker the place of each file by its name without extension, both in C order.
    """
    found = {}
    for speaker in sorted(os.listdir(folder / "data")):  # noqa: PTH208  (half a million paths)
        place = folder / "data" / speaker
        if place.is_dir() and not speaker.startswith("."):
            found[speaker] = _audio(place)
    return found


def _audio(folder: Path) -> dict[str, str]:
    """The place of each audio file of a folder by its name without extension."""
    split = (os.path.splitext(name) for name in sorted(os.listdir(folder)))  # noqa: PTH122, PTH208
    return {s: f"{folder}/{s}{e}" for s, e in split if e.lower() in EXTENSIONS and not s.startswith(".")}


def check_counts(
    folder: Path, data: Mapping[str, Mapping[str, str]], entry: ArchiveSet | None, max_missing_files: int
) -> None:
    """Hold the utterances of ``data/`` against the owners' counts.

    Args:
        folder: the corpus, for the message.
        data: what was found.
        entry: the counts; one that is not known is not checked.
        max_missing_files: utterances that may be too few (or too many).

    Raises:
        DataError: if there is a larger difference.
    """
    num_utts = sum(map(len, data.values()))
    text = f"{folder}/data: {count(len(data), 'speaker')}, {count(num_utts, 'utterance')}"
    speakers, utts = (entry.num_speakers, entry.num_utts) if entry else (None, None)
    if (speakers or len(data), utts or num_utts) == (len(data), num_utts):
        logger.info("%s", text)
        return
    text += f"; expected {speakers} and {utts}"
    if abs((utts or num_utts) - num_utts) > max_missing_files or not max_missing_files:
        cure = f"complete the speech, or allow the difference (--max_missing_files, now {max_missing_files})"
        raise DataError(f"{text}; {cure}")
    logger.warning("%s, within --max_missing_files %d", text, max_missing_files)


def train_speakers(
    folder: Path, list_name: str, data: Mapping[str, Mapping[str, str]], max_missing_files: int
) -> list[str]:
    """Read who is trained on; speakers without a folder are left out, within a budget.

    Args:
        folder: the corpus.
        list_name: its list, one speaker a line.
        data: the speakers there are.
        max_missing_files: speakers that may have no folder; their utterances are what :func:`check_counts` misses.

    Returns:
        The speakers that have a folder, each once.

    Raises:
        DataError: if more speakers have none, or nobody is left.
    """
    path = folder / list_name
    speakers: dict[str, int] = {}
    for number, line in enumerate(read_lines(path), 1):
        for name in line.split()[:1]:
            speakers.setdefault(name, number)
    found = [name for name in speakers if name in data]
    problems = [
        f"{path}:{number}: expected a speaker of {folder}/data, found {name!r}"
        for name, number in speakers.items()
        if name not in data
    ]
    if not speakers:
        raise DataError(f"{path}: is empty; unpack the archive again")
    if len(problems) > max_missing_files or not found:
        said = f"no folder for {len(problems)} of {count(len(speakers), 'speaker')}"
        cure = f"unpack the archive again, or leave them out (--max_missing_files, now {max_missing_files})"
        raise DataError(f"{said}: {summarise(problems)}; {cure if found else 'unpack the archive again'}")
    if problems:
        text = "%d of %d speakers are left out, within --max_missing_files %d: %s"
        logger.warning(text, len(problems), len(speakers), max_missing_files, summarise(problems))
    return found


def read_evaluation(folder: Path, data: Mapping[str, Mapping[str, str]], enrol_list: str) -> Evaluation:
    """Read models and trials.

    Args:
        folder: CN-Celeb1.
        data: its utterances.
        enrol_list: ``map`` or ``lst``; the former needs ``enroll.map``, and ``lst`` is taken where that is missing.

    Returns:
        The evaluation, with labels first in its trials.

    Raises:
        DataError: if a line has another form, or names a recording that is not there.
    """
    lists = folder / "eval" / "lists"
    if enrol_list == "map" and not (lists / "enroll.map").exists():
        logger.info("%s: no enroll.map, models are made of the joined recordings of enroll.lst", lists)
        enrol_list = "lst"
    files: dict[str, str] = {}
    models = _read_models(folder, lists / f"enroll.{enrol_list}", data, files)
    test = {stem: (_eval_path("test", stem), file) for stem, file in _audio(folder / "eval" / "test").items()}
    trials, problems = [], []
    for number, line in enumerate(read_lines(lists / "trials.lst"), 1):
        words = line.split()
        found = test.get(_stem(words[1])) if len(words) == 3 else None
        if found is None or words[0] not in models or words[2] not in ("0", "1"):
            problems.append(f"{lists}/trials.lst:{number}: {_trial_problem(folder, words, found is None, line)}")
        else:
            files[found[0]] = found[1]
            trials.append(f"{words[2]} {words[0]} {found[0]}")
    if problems:
        raise DataError(summarise(problems))
    return Evaluation(files, models, trials)


def _trial_problem(folder: Path, words: Sequence[str], is_test_missing: bool, line: str) -> str:
    if len(words) != 3 or words[2] not in ("0", "1"):
        return f"expected '<model> <test> 1|0', found {line!r}"
    if is_test_missing:
        return f"expected a recording of {folder}/eval/test, found no {words[1]!r}; unpack the archive again"
    return f"expected a model of the enrolment list, found {words[0]!r}; unpack the archive again"


def _read_models(
    folder: Path, path: Path, data: Mapping[str, Mapping[str, str]], files: dict[str, str]
) -> dict[str, list[str]]:
    """The recordings of each model as paths of the root; a model may have several lines. ``files`` gets the places."""
    joined = _audio(folder / "eval" / "enroll") if path.suffix == ".lst" else {}
    models: dict[str, list[str]] = {}
    problems = []
    for number, line in enumerate(read_lines(path), 1):
        model, *names = line.split() or [""]
        for name in names:
            speaker, stem = PurePosixPath(name).parent.name, _stem(name)
            if path.suffix == ".lst":
                found, place = _eval_path("enroll", stem), joined.get(stem)
            else:
                found, place = data_path(speaker, stem), data.get(speaker, {}).get(stem)
            if place is None:
                problems.append(f"{path}:{number}: expected a recording, found no {name!r}; unpack the archive again")
            else:
                files[found] = place
                models.setdefault(model, []).append(found)
        if not names:
            problems.append(f"{path}:{number}: expected '<model> <recording> [...]', found {line!r}")
    if problems or not models:
        raise DataError(summarise(problems or [f"{path}: is empty; unpack the archive again"]))
    return models


def _stem(name: str) -> str:
    """Name of a recording without folders and without the extension of audio: the lists say wav, the files are flac."""
    base = name.rpartition("/")[2]
    stem, extension = os.path.splitext(base)  # noqa: PTH122
    return stem if extension.lower() in EXTENSIONS else base


def _eval_path(folder: str, stem: str) -> str:
    """Path of the root of ``eval/<folder>/<speaker>-<rest>``."""
    speaker, _, rest = stem.partition("-")
    return f"{speaker}/{folder}/{rest or stem}.flac"


def data_path(speaker: str, stem: str) -> str:
    """The path of the root that stands for a file of ``data/``.

    Args:
        speaker: its folder.
        stem: its name without extension, ``<genre>-<session>-<number>``.

    Returns:
        ``<speaker>/<genre>-<session>/<number>.flac``.
    """
    match = _NAME.fullmatch(stem)
    if match is None:
        return f"{speaker}/-/{stem}.flac"
    return f"{speaker}/{match['genre']}-{match['session']}/{match['number']}.flac"


def plan_training(
    data: Mapping[str, Mapping[str, str]], infos: Mapping[Path, AudioInfo], join_short_s: float, joined_dir: Path
) -> Training:
    """Decide which files are trained on and which are joined first.

    Utterances below ``join_short_s`` are joined with others of their speaker and genre, in the order of their names.
    One that has no other stays as it is, and so does a file that is not in ``infos`` or has another rate.

    Args:
        data: the files of each training speaker by their names without extension.
        infos: what is known of good files.
        join_short_s: length that joined files should have; 0 joins nothing.
        joined_dir: where joined files go.

    Returns:
        What is trained on.
    """
    files: dict[str, str] = {}
    joints: list[Joint] = []
    for speaker, own in data.items():
        for genre, stems in _by_genre(own).items():
            lengths = {stem: _short_samples(infos.get(Path(own[stem])), join_short_s) for stem in stems}
            short = [stem for stem in stems if lengths[stem]]
            groups = group_short([lengths[stem] / SAMPLE_RATE for stem in short], join_short_s)
            kept = [stem for stem in stems if not lengths[stem]]
            for group in groups:
                if len(group) == 1:
                    kept.append(short[group[0]])
                    continue
                members = [short[position] for position in group]
                target = joined_dir / speaker / f"{members[0]}x{len(members)}.flac"
                parts = tuple(Path(own[stem]) for stem in members)
                joints.append(Joint(target, parts, sum(lengths[stem] for stem in members)))
                files[f"{speaker}/{genre}/joined-{members[0].removeprefix(genre + '-')}.flac"] = str(target)
            files.update({data_path(speaker, stem): own[stem] for stem in kept})
    return Training(files, joints)


def _by_genre(stems: Mapping[str, str]) -> dict[str, list[str]]:
    genres: dict[str, list[str]] = {}
    for stem in sorted(stems):
        match = _NAME.fullmatch(stem)
        genres.setdefault(match["genre"] if match else stem.partition("-")[0], []).append(stem)
    return genres


def _short_samples(info: AudioInfo | None, least_s: float) -> int:
    """Length of a file that is to be joined; 0 for any other."""
    if info is None or info.sample_rate != SAMPLE_RATE or info.duration_s >= least_s:
        return 0
    return info.num_samples


def check_disjoint(trained: set[str], tested: set[str]) -> None:
    """Refuse speakers that are both trained on and tested.

    Args:
        trained: the training speakers.
        tested: the speakers of models and trials.

    Raises:
        DataError: if there is one.
    """
    if both := sorted(trained & tested):
        shown = " ".join(both[:SHOWN]) + (f" and {len(both) - SHOWN} more" if len(both) > SHOWN else "")
        raise DataError(
            f"trained on and tested: {count(len(both), 'speaker')}: {shown}; take them out of the training lists"
        )


def check_train_sets(names: Sequence[str]) -> tuple[str, ...]:
    """Check the names of training sets.

    Args:
        names: some of ``TRAIN_SETS``.

    Returns:
        Each once, in the order of ``TRAIN_SETS``.

    Raises:
        ConfigError: if a name is unknown, or there is none.
    """
    unknown = [name for name in names if name not in TRAIN_SETS]
    if unknown or not names:
        found = repr(unknown[0]) if unknown else "nothing"
        raise ConfigError(f"--train_set: expected one or both of {' '.join(TRAIN_SETS)}, found {found}")
    return tuple(name for name in TRAIN_SETS if name in names)
