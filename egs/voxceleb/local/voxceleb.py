"""VoxCeleb as roots: what a request needs, where unpacked speech lies, and whether all of it is there.

The speech of both corpora is ``id<5 digits>/<video>/<number>.<extension>``; identities of VoxCeleb1 begin with
``id1``, those of VoxCeleb2 with ``id0``. That, and not the folder's name, tells them apart, so that any layout that
people have made of the archives will do. VoxCeleb1's test speakers are those of its list O.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from ham.audio.decoding import EXTENSIONS
from ham.corpora.catalogue import Catalogue, TrialListFile
from ham.data.text_lines import read_lines
from ham.errors import SHOWN, ConfigError, DataError, summarise
from ham.words import count

logger = logging.getLogger(f"ham.{__name__}")  # whose messages are shown

TRAIN_SETS = ("vox1_dev", "vox2_dev")
"""What can be trained on, alone or together."""

LISTS = {
    "vox1_o_clean": "veri_test2.txt",
    "vox1_e_clean": "list_test_all2.txt",
    "vox1_h_clean": "list_test_hard2.txt",
    "vox1_o": "veri_test.txt",
    "vox1_e": "list_test_all.txt",
    "vox1_h": "list_test_hard.txt",
}
"""The trial lists and the files that hold them; O is over the test speakers, E and H over all of VoxCeleb1."""

TEST_SPEAKERS = frozenset(f"id{number}" for number in range(10270, 10310))
"""The 40 speakers of list O, those of VoxCeleb1 whose names begin with E; for counting where no list is at hand."""

PREFERENCE = (".wav", ".flac", ".ogg", *EXTENSIONS)
"""Which file is taken where an utterance is there in several formats: what decodes fastest comes first."""

_LOOKED_FOR = "folders id<5 digits>/<video>/<number>.wav|flac|m4a, at most 4 folders below it"
_DEPTH = 4  # e.g. voxceleb1/vox1_dev_wav/wav/id10001
_SPEAKER = re.compile(r"id[01]\d{4}")
_OTHER_CORPUS = re.compile(r"(?i)^cn[-_]?celeb")  # its speakers' folders have the same names


@dataclass(frozen=True)
class Request:
    """What is trained and tested on; ``sets`` are the archives that it needs, ``files`` the trial lists' files."""

    train_sets: tuple[str, ...]
    lists: tuple[str, ...]

    @property
    def needs_vox1_dev(self) -> bool:
        """Whether VoxCeleb1's training speakers are wanted, for training or as the speakers of E and H."""
        return "vox1_dev" in self.train_sets or any(map(_spans_all, self.lists))

    @property
    def sets(self) -> tuple[str, ...]:
        """The archives, by the names of the catalogue."""
        vox1 = ["vox1_dev"] if self.needs_vox1_dev else []
        return (*vox1, "vox1_test", *(["vox2_dev"] if "vox2_dev" in self.train_sets else []))

    @property
    def files(self) -> tuple[str, ...]:
        """The files of the trial lists, by the names of the catalogue."""
        return tuple(LISTS[name] for name in self.lists)


@dataclass(frozen=True)
class Count:
    """Speakers and utterances of some sets."""

    num_speakers: int
    num_utts: int


def _spans_all(name: str) -> bool:
    return name.startswith(("vox1_e", "vox1_h"))


def _speaker_folder(path: str) -> str:
    return path.split("/", 1)[0]


def make_request(train_sets: Sequence[str], lists: Sequence[str]) -> Request:
    """Check what is asked for.

    Args:
        train_sets: one or both of ``TRAIN_SETS``.
        lists: of ``LISTS``; when empty, the cleaned ones whose speakers are not trained on.

    Returns:
        The request, each name once.

    Raises:
        ConfigError: if a name is unknown, if nothing is trained on, or if a list's speakers are.
    """
    for option, names, known in (("train_set", train_sets, TRAIN_SETS), ("trial_lists", lists, tuple(LISTS))):
        if unknown := [name for name in names if name not in known]:
            raise ConfigError(f"--{option}: expected some of {' '.join(known)}, found {unknown[0]!r}")
    if not train_sets:
        raise ConfigError(f"--train_set: expected one or both of {' '.join(TRAIN_SETS)}, found nothing")
    trains_vox1 = "vox1_dev" in train_sets
    if trains_vox1 and (both := [name for name in lists if _spans_all(name)]):
        raise ConfigError(
            f"--trial_lists {' '.join(both)}: these trials are of the speakers of vox1_dev, which are trained on; "
            "train on vox2_dev alone, or test on vox1_o_clean"
        )
    usual = [name for name in LISTS if name.endswith("_clean") and not (trains_vox1 and _spans_all(name))]
    return Request(tuple(name for name in TRAIN_SETS if name in train_sets), tuple(dict.fromkeys(lists or usual)))


def unpacked_places(corpora_dir: Path, request: Request, vox2_audio: str) -> list[Path]:
    """Where this recipe's own stage 1 puts the speech.

    Args:
        corpora_dir: the folder of unpacked corpora.
        request: what is asked for.
        vox2_audio: ``m4a`` for VoxCeleb2 as it was released, else it was converted.

    Returns:
        The folders that hold the speakers' folders.
    """
    vox2 = corpora_dir / "vox2_dev" / ("m4a" if vox2_audio == "m4a" else "wav")
    return [corpora_dir / "vox1" / "wav", *([vox2] if "vox2_dev" in request.train_sets else [])]


def search_places(top: Path) -> list[Path]:
    """Look for unpacked speech in whatever layout.

    Args:
        top: where to begin.

    Returns:
        The folders that hold speakers' folders, in C order; without VoxCeleb2's test part.

    Raises:
        DataError: if there is none.
    """
    found = [place for place in _places(top, _DEPTH) if not _is_vox2_test(top, place)]
    if not found:
        raise DataError(f"{top}: expected unpacked speech of VoxCeleb, {_LOOKED_FOR}; found none")
    return sorted(found)


def _places(folder: Path, depth: int) -> Iterator[Path]:
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if any(map(_SPEAKER.fullmatch, names)):
        yield folder
    elif depth:
        for name in names:
            if not _OTHER_CORPUS.match(name):
                yield from _places(folder / name, depth - 1)


def _is_vox2_test(top: Path, place: Path) -> bool:
    is_vox2 = any(re.fullmatch(r"id0\d{4}", name) for name in os.listdir(place))  # noqa: PTH208  (names alone)
    return is_vox2 and any("test" in part.lower() for part in place.relative_to(top).parts)


def find_speakers(places: Sequence[Path]) -> dict[str, Path]:
    """The folder of each speaker.

    Args:
        places: folders that hold speakers' folders.

    Returns:
        The folder of each speaker, in C order; where a speaker has two, one of m4a files is the one left out.

    Raises:
        DataError: if a place does not exist, or a speaker has two folders of the same kind.
    """
    found: dict[str, Path] = {}
    if missing := [place for place in places if not place.is_dir()]:
        raise DataError(f"{missing[0]}: expected unpacked speech of VoxCeleb, found no such folder; run stage 1")
    is_m4a = {place: _is_m4a(place) for place in places}
    for place in sorted(places, key=is_m4a.__getitem__):
        for name in sorted(filter(_SPEAKER.fullmatch, os.listdir(place))):  # noqa: PTH208
            other = found.setdefault(name, place / name)
            if other.parent != place and is_m4a[other.parent] == is_m4a[place]:
                raise DataError(f"{other} and {place / name} are folders of one speaker; name the one that is meant")
    return dict(sorted(found.items()))


def _is_m4a(place: Path) -> bool:
    """Whether the first utterance found is there as m4a and in no other format."""
    for speaker in sorted(filter(_SPEAKER.fullmatch, os.listdir(place))):  # noqa: PTH208
        for _, file in _speaker_files(speaker, str(place / speaker)):
            return file.lower().endswith(".m4a")
    return False


def choose_speakers(found: Mapping[str, Path], request: Request, tested: Iterable[str]) -> dict[str, dict[str, Path]]:
    """Leave out speakers that the request does not need.

    Args:
        found: the folder of each speaker.
        request: what is asked for.
        tested: the speakers that the trial lists name.

    Returns:
        The folders of the speakers of the roots ``vox1`` and, if it is trained on, ``vox2``.

    Raises:
        DataError: if a speaker of the trial lists has no folder, or a root would be empty.
    """
    tested = set(tested)
    if missing := sorted(tested.difference(found)):
        shown = " ".join(missing[:SHOWN]) + (f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else "")
        raise DataError(
            f"vox1: no folder for {count(len(missing), 'speaker')} of the trial lists: {shown}; add vox1_test"
        )
    vox1 = {name: folder for name, folder in found.items() if name.startswith("id1")}
    if not request.needs_vox1_dev:
        vox1 = {name: folder for name, folder in vox1.items() if name in tested}
    if "vox2_dev" not in request.train_sets:
        return {"vox1": vox1}
    vox2 = {name: folder for name, folder in found.items() if name.startswith("id0")}
    if not vox2:
        raise DataError(f"vox2_dev: expected {_LOOKED_FOR} with id0..., found only VoxCeleb1; unpack vox2_dev too")
    return {"vox1": vox1, "vox2": vox2}


def list_files(speakers: Mapping[str, Path], num_workers: int) -> dict[str, str]:
    """Find the utterances of speakers.

    Args:
        speakers: the folder of each speaker.
        num_workers: threads; a network file system answers several at once.

    Returns:
        The place of each file by ``<speaker>/<video>/<number>.wav``, whatever its true extension: the trial lists
        call them so.
    """
    with ThreadPoolExecutor(num_workers) as pool:
        found = pool.map(_speaker_files, speakers, map(str, speakers.values()))
        bar = tqdm(found, "listing speakers", len(speakers), unit=" speakers", delay=2.0)
        return {path: file for files in bar for path, file in files}


def _speaker_files(speaker: str, folder: str) -> list[tuple[str, str]]:
    files: dict[str, str] = {}
    for video in sorted(os.listdir(folder)):  # noqa: PTH208  (a million paths)
        place = f"{folder}/{video}"
        if video.startswith(".") or not os.path.isdir(place):  # noqa: PTH112
            continue
        for name in os.listdir(place):  # noqa: PTH208
            stem, extension = os.path.splitext(name)  # noqa: PTH122
            if extension.lower() in EXTENSIONS and not name.startswith("."):
                path = f"{speaker}/{video}/{stem}.wav"
                files[path] = min(files.get(path, f"{place}/{name}"), f"{place}/{name}", key=_rank)
    return sorted(files.items())


def _rank(file: str) -> int:
    return PREFERENCE.index(os.path.splitext(file)[1].lower())  # noqa: PTH122


def read_list(archives: Path, name: str, entry: TrialListFile) -> list[str]:
    """Read a published trial list and count it.

    Args:
        archives: the folder that holds it.
        name: its name, for the message.
        entry: its file and counts.

    Returns:
        Its lines ``1|0 <path> <path>``.

    Raises:
        DataError: if the file is missing or has other counts.
    """
    path = archives / entry.name
    if not path.is_file():
        raise DataError(f"{path}: expected the trial list {name} ({entry.title}), found no such file; put it there")
    lines = read_lines(path)
    num_target = sum(line.startswith("1") for line in lines)
    if (num_target, len(lines)) != (entry.num_target, entry.num_trials):
        raise DataError(
            f"{path}: expected {entry.num_trials} trials of {entry.title}, {entry.num_target} of them targets, "
            f"found {len(lines)} and {num_target}; fetch it again"
        )
    return lines


def listed_speakers(lines: Iterable[str]) -> set[str]:
    """The speakers of a trial list.

    Args:
        lines: ``1|0 <path> <path>``.

    Returns:
        The first folders of all paths.
    """
    return {_speaker_folder(path) for line in lines for path in line.split()[1:]}


def check_counts(
    files: Mapping[str, Iterable[str]],
    request: Request,
    catalogue: Catalogue,
    test_speakers: set[str],
    max_missing_files: int,
) -> None:
    """Hold the files against the owners' counts and say every difference.

    Args:
        files: the paths of each root, ``<speaker>/<video>/<file>``.
        request: what is asked for.
        catalogue: the counts; one that is not known is not checked.
        test_speakers: VoxCeleb1's test speakers, if a list O names them; else its two parts are counted together.
        max_missing_files: utterances that a set may have too few (or too many).

    Raises:
        DataError: if a set differs by more.
    """
    problems = []
    for sets, paths in _by_sets(files, request, test_speakers):
        found = Count(len(set(map(_speaker_folder, paths))), len(paths))
        expected = _expected(sets, catalogue)
        text = f"{' + '.join(sets)}: {count(found.num_speakers, 'speaker')}, {count(found.num_utts, 'utterance')}"
        if expected is None or expected == found:
            logger.info("%s", text)
            continue
        more = found.num_utts - expected.num_utts
        difference = f"{count(abs(more), 'utterance')} {'more' if more > 0 else 'fewer'}" if more else "other speakers"
        text += f"; expected {expected.num_speakers} and {expected.num_utts}: {difference}"
        if abs(more) > max_missing_files or (not more and not max_missing_files):
            problems.append(text)
        else:
            logger.warning("%s, within --max_missing_files %d", text, max_missing_files)
    if problems:
        cure = f"complete the speech, or allow the difference (--max_missing_files, now {max_missing_files})"
        raise DataError(f"{summarise(problems)}; {cure}")


def _by_sets(
    files: Mapping[str, Iterable[str]], request: Request, test_speakers: set[str]
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """The sets that can be told apart, each with its paths."""
    vox1 = list(files["vox1"])
    if not request.needs_vox1_dev:
        yield ("vox1_test",), vox1
    elif not test_speakers:
        yield ("vox1_dev", "vox1_test"), vox1
    else:
        yield ("vox1_dev",), [path for path in vox1 if _speaker_folder(path) not in test_speakers]
        yield ("vox1_test",), [path for path in vox1 if _speaker_folder(path) in test_speakers]
    if "vox2" in files:
        yield ("vox2_dev",), list(files["vox2"])


def _expected(sets: Iterable[str], catalogue: Catalogue) -> Count | None:
    """What the catalogue says of some sets together; None if it does not."""
    total = Count(0, 0)
    for name in sets:
        entry = catalogue.sets.get(name)
        if entry is None or entry.num_speakers is None or entry.num_utts is None:
            return None
        total = Count(total.num_speakers + entry.num_speakers, total.num_utts + entry.num_utts)
    return total
