"""Reading and writing Kaldi data directories, which are checked in full and written whole or not at all.

===========  =====================================  =====================================================
file         line                                   rule
===========  =====================================  =====================================================
wav.scp      ``<utt> <path>``                       a path, which may hold spaces; no pipe
segments     ``<utt> <recording> <start> <end>``    optional; seconds; wav.scp then has the recordings
utt2spk      ``<utt> <spk>``                        the utterance begins with the speaker; sorted by both at once
spk2utt      ``<spk> <utt> <utt> ...``              says what utt2spk says
utt2dur      ``<utt> <seconds>``                    a number above 0
utt2session  ``<utt> <session>``                    optional; where the folders of the files do not tell it
trials       ``<enrol> <test> target|nontarget``    utterances of utt2spk, or models of ``enrol`` on the left; a
                                                    repeated trial repeats its label
enrol        ``<model> <utt> [<utt> ...]``          a model's recordings, of one speaker; no utterance has its name
notes        a sentence                             what the numbers of these trials cannot tell
===========  =====================================  =====================================================

Identifiers have no white space; all files but ``trials`` and ``notes`` are sorted in C order; all but ``trials``,
``enrol``, ``notes`` and, with ``segments``, ``wav.scp`` hold the same utterances. A recording is named by the first
utterance that is a part of it. A hidden mark says that stage 2 wrote the directory (:mod:`ham.data.ownership`).
"""

from __future__ import annotations

import gc
import math
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise, zip_longest
from pathlib import Path
from typing import NamedTuple, TypeVar

from ham.data.names import quoted
from ham.data.ownership import check_ours, write_mark
from ham.data.text_lines import check_sorted, each_line, raise_all, read_lines, write_lines
from ham.data.trials import PREPARE, Trials, read_models, read_trials, write_trials
from ham.errors import DataError
from ham.files import replacing_folder

FILES = ("wav.scp", "utt2spk", "spk2utt", "utt2dur", "trials", "enrol", "notes", "segments", "utt2session")
"""The files of a data directory; only the first four must be there."""

STAGE = 2
"""The stage of run.sh that writes them."""

_Value = TypeVar("_Value")


class Segment(NamedTuple):
    """The part of a recording that is an utterance, in seconds from its beginning."""

    start_s: float
    end_s: float


class Paths(Mapping[str, Path]):
    """The files of many utterances; a ``Path`` is made when it is asked for, since a million of them take 0.4 GB.

    Args:
        texts: the paths as text.
    """

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts

    def __getitem__(self, utt: str) -> Path:
        return Path(self._texts[utt])

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


@dataclass(frozen=True, eq=False)
class DataDir:
    """A data directory in memory; all mappings have the same utterances in C order, durations are seconds.

    ``wav`` is the file of each utterance; where there are ``segments``, the utterance is that part of it.
    ``segments`` and ``sessions`` are empty where the directory has no such file.
    """

    path: Path
    wav: Mapping[str, Path]
    utt2spk: dict[str, str]
    utt2dur: dict[str, float]
    trials: Trials | None = None
    segments: Mapping[str, Segment] = field(default_factory=dict)
    sessions: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def spk2utt(self) -> dict[str, list[str]]:
        """The utterances of each speaker, both in C order."""
        return invert(self.utt2spk)


def invert(utt2spk: Mapping[str, str]) -> dict[str, list[str]]:
    """Group utterances by speaker: speakers in C order, each with its utterances in C order."""
    spk2utt: dict[str, list[str]] = {}
    for utt in sorted(utt2spk):
        spk2utt.setdefault(utt2spk[utt], []).append(utt)
    return dict(sorted(spk2utt.items()))


def trial_dirs(base: Path) -> list[Path]:
    """Find the data directories of trial lists below a folder, ``<root>/<list>``, sorted; hidden ones are left aside.

    Raises:
        DataError: if there is none.
    """
    found = sorted(path.parent for path in base.glob("*/*/trials"))
    folders = [f for f in found if not any(part.startswith(".") for part in f.relative_to(base).parts)]
    if not folders:
        raise DataError(f"{base}: expected trial lists <root>/<list>/trials, found none; prepare the data (stage 2)")
    return folders


def read_data_dir(path: Path) -> DataDir:
    """Read a data directory and check every rule of this module.

    Whether the audio files exist is not checked: that costs a disk access each and shows when they are read.

    Returns:
        Its content; ``trials`` is None where there is no such file.

    Raises:
        DataError: naming the first file that breaks a rule, with all problems of that file counted.
    """
    _check_complete(path)
    with _collector_paused():
        utt2spk = _read_table(path / "utt2spk", "<utt> <spk>", _speaker)
        _check_speaker_order(path / "utt2spk", list(utt2spk.values()))
        wav = _read_table(path / "wav.scp", "<utt> <path>", _path_text, utt2spk, max_splits=1)
        utt2dur = _read_table(path / "utt2dur", "<utt> <seconds>", _seconds, utt2spk)
        parts = _read_segments(path / "segments", wav, utt2spk)
        sessions = _read_sessions(path / "utt2session", utt2spk)
        wav = {utt: wav[recording] for utt, (recording, _) in parts.items()} if parts else wav
        _check_same_utts(path / "wav.scp", wav, utt2spk)
        _check_same_utts(path / "utt2dur", utt2dur, utt2spk)
        _check_spk2utt(path / "spk2utt", invert(utt2spk))
        return DataDir(
            path=path,
            wav=Paths(wav),
            utt2spk=utt2spk,
            utt2dur=utt2dur,
            trials=_read_trials(path, utt2spk),
            segments={utt: segment for utt, (_, segment) in parts.items()},
            sessions=sessions,
        )


def _read_segments(path: Path, wav: Mapping[str, str], utt2spk: Mapping[str, str]) -> dict[str, tuple[str, Segment]]:
    """The recording of each utterance and the part of it that it is; nothing without the file."""
    if not path.exists():
        return {}
    parts = _read_table(path, "<utt> <recording> <start> <end>", _segment, utt2spk, max_splits=1)
    _check_same_utts(path, parts, utt2spk)
    used = {recording for recording, _ in parts.values()}
    if different := sorted(used ^ wav.keys()):
        raise DataError(
            f"{path}: expected the recordings of wav.scp, {different[0]!r} is in one of both only; {PREPARE}"
        )
    return parts


def _segment(_: str, text: str) -> tuple[str, Segment]:
    fields = text.split()
    try:
        recording, start_s, end_s = fields[0], *map(float, fields[1:])
    except ValueError:
        recording, start_s, end_s = "", math.nan, math.nan
    if 0 <= start_s < end_s < math.inf:
        return sys.intern(recording), Segment(start_s, end_s)
    raise ValueError(f"expected '<recording> <start> <end>' with 0 <= start < end, found {text!r}; {PREPARE}")


def _read_sessions(path: Path, utt2spk: Mapping[str, str]) -> dict[str, str]:
    """The session of each utterance; nothing without the file."""
    if not path.exists():
        return {}
    sessions = _read_table(path, "<utt> <session>", lambda _, session: session, utt2spk)
    _check_same_utts(path, sessions, utt2spk)
    return sessions


def _read_trials(path: Path, utt2spk: Mapping[str, str]) -> Trials | None:
    """The trials of a directory with their models, if it is a trial list."""
    trials, enrol = path / "trials", path / "enrol"
    if not trials.exists():
        if enrol.exists():
            raise DataError(f"{enrol}: expected trials of these models, found no {trials}; {PREPARE}")
        return None
    found = read_trials(trials, utt2spk, read_models(enrol, utt2spk) if enrol.exists() else None)
    notes = path / "notes"
    return replace(found, notes=tuple(read_lines(notes))) if notes.exists() else found


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Switch garbage collection off: a million objects are made here, none is garbage, and the search takes as long."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _check_complete(path: Path) -> None:
    if not path.is_dir():
        raise DataError(f"{path}: no such data directory; {PREPARE}")
    missing = [name for name in FILES[:4] if not (path / name).is_file()]
    if missing:
        raise DataError(f"{path}: expected {', '.join(FILES[:4])}, found no {', '.join(missing)}; {PREPARE}")


def _read_table(
    path: Path, form: str, parse: Callable[[str, str], _Value], keys: Iterable[str] = (), *, max_splits: int = -1
) -> dict[str, _Value]:
    """Read lines of a key and a value; ``parse(key, value)`` makes the value or says what is wrong with them.

    ``keys`` are those that are expected: their strings are taken, so that tables of one directory share them.
    """
    table: dict[str, _Value] = {}
    found, problems = [], []
    expected = iter(keys)
    for number, line in enumerate(each_line(path), 1):
        row = line.split(None, max_splits)
        try:
            if len(row) != 2:
                raise ValueError(f"expected {form!r}, found {len(line.split())} fields: {quoted(line)}")
            value = parse(row[0], row[1])
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
            continue
        shared = next(expected, None)
        key = shared if shared == row[0] else row[0]
        found.append(key)
        table[key] = value
    raise_all(problems if found or problems else [f"{path}: is empty; {PREPARE}"])
    check_sorted(path, found)
    return table


def _speaker(utt: str, spk: str) -> str:
    if utt.startswith(spk):
        return sys.intern(spk)
    raise ValueError(
        f"expected an utterance that begins with its speaker {quoted(spk)}, found {quoted(utt)}; {PREPARE}"
    )


def _path_text(_: str, text: str) -> str:
    if not text.rstrip().endswith("|"):
        return text
    raise ValueError(
        f"expected the path of an audio file, found a pipe: {quoted(text)}; "
        "run its command once, keep the output in a file and name that"
    )


def _seconds(_: str, text: str) -> float:
    try:
        duration_s = float(text)
    except ValueError:
        duration_s = math.nan
    if 0 < duration_s < math.inf:
        return duration_s
    raise ValueError(f"expected seconds above 0, found {quoted(text)}; {PREPARE}")


def _check_speaker_order(path: Path, speakers: Sequence[str]) -> None:
    """The lines are in the order of the speakers too, as Kaldi's validator wants it."""
    raise_all(
        [
            f"{path}:{number}: expected speakers in C order too, found {quoted(spk)} after {quoted(before)}; rename one"
            for number, (before, spk) in enumerate(pairwise(speakers), 2)
            if before > spk
        ]
    )


def _check_same_utts(path: Path, table: Mapping[str, object], utt2spk: Mapping[str, str]) -> None:
    if table.keys() == utt2spk.keys():
        return
    raise_all(
        [
            f"{path}:{n}: {quoted(utt)} is not in utt2spk; {PREPARE}"
            for n, utt in enumerate(table, 1)
            if utt not in utt2spk
        ]
        + [f"{path}: no line for {quoted(utt)} of utt2spk; {PREPARE}" for utt in utt2spk if utt not in table]
    )


def _check_spk2utt(path: Path, spk2utt: Mapping[str, Sequence[str]]) -> None:
    """Report the first line that differs: spk2utt says nothing that utt2spk does not, so that one command mends it."""
    for number, (line, pair) in enumerate(zip_longest(each_line(path), spk2utt.items()), 1):
        right = [pair[0], *pair[1]] if pair else []
        if line != " ".join(right) and (wrong := (line or "").split()) != right:
            raise DataError(
                f"{path}:{number}: expected what utt2spk says, {_shortened(right)}, found {_shortened(wrong)}; "
                "write it again (Kaldi: `utils/utt2spk_to_spk2utt.pl utt2spk > spk2utt`)"
            )


def _shortened(words: Sequence[str]) -> str:
    return quoted(" ".join(words[:4]) + (f" ... ({len(words) - 4} more)" if len(words) > 4 else ""))


def all_models(base: Path) -> dict[str, tuple[str, ...]]:
    """The recordings of the enrolment models of all trial lists ``<root>/<list>`` below a folder, in C order.

    Raises:
        DataError: if two lists give a model different recordings.
    """
    together: dict[str, tuple[str, ...]] = {}
    for folder in trial_dirs(base):
        trials = read_data_dir(folder).trials if (folder / "enrol").exists() else None
        for model, utts in trials.models.items() if trials else ():
            if together.setdefault(model, utts) != utts:
                raise DataError(f"{folder}/enrol: {quoted(model)} has other recordings in another list; {PREPARE}")
    return dict(sorted(together.items()))


def write_data_dir(
    path: Path,
    wav: Mapping[str, Path],
    utt2spk: Mapping[str, str],
    utt2dur: Mapping[str, float],
    trials: Trials | None = None,
    name: str = "",
    segments: Mapping[str, Segment] | None = None,
    sessions: Mapping[str, str] | None = None,
) -> DataDir:
    """Write a data directory beside its place, validate it there, and move it in; an older one of ours is replaced.

    Args:
        path: the directory; its parents are made.
        wav: audio file of each utterance.
        utt2spk: speaker of each utterance.
        utt2dur: duration of each utterance in seconds.
        trials: the trials, if the directory is a trial list.
        name: what its mark calls it, ``train`` or ``test/<root>/<list>``; the folder's name where it is missing.
        segments: the part of its file that each utterance is, if some are not the whole.
        sessions: session of each utterance, if the folders of the files do not tell it.

    Returns:
        The directory as :func:`read_data_dir` has read it back.

    Raises:
        DataError: if the content breaks a rule, or if ``path`` holds what stage 2 did not write; it is then as it
            was.
    """
    place = path.resolve()
    name = name or place.name
    check_replaceable(place, name)
    with replacing_folder(place) as new:
        if segments:
            _write_segments(new, wav, segments)
        else:
            _write_table(new / "wav.scp", wav)
        _write_table(new / "utt2spk", utt2spk)
        _write_table(new / "spk2utt", {spk: " ".join(utts) for spk, utts in invert(utt2spk).items()})
        write_lines(new / "utt2dur", (f"{utt} {utt2dur[utt]:.6f}" for utt in sorted(utt2dur)))
        if sessions:
            _write_table(new / "utt2session", sessions)
        if trials is not None:
            write_trials(new / "trials", trials)
            if trials.models:
                _write_table(new / "enrol", {model: " ".join(utts) for model, utts in trials.models.items()})
            if trials.notes:
                write_lines(new / "notes", trials.notes)
        written = read_data_dir(new)
        write_mark(new, STAGE, name)
    return replace(written, path=path)


def _write_segments(folder: Path, wav: Mapping[str, Path], segments: Mapping[str, Segment]) -> None:
    """``segments`` and ``wav.scp``; a recording gets the name of the first utterance in it."""
    recordings: dict[Path, str] = {}
    for utt in sorted(segments):
        recordings.setdefault(wav[utt], utt)
    _write_table(folder / "wav.scp", {name: file for file, name in recordings.items()})
    lines = {utt: f"{recordings[wav[utt]]} {part.start_s:.6f} {part.end_s:.6f}" for utt, part in segments.items()}
    _write_table(folder / "segments", lines)


def remove_data_dir(path: Path, name: str = "") -> None:
    """Delete a data directory, if there is one; its name as in :func:`write_data_dir`.

    Raises:
        DataError: if it holds what stage 2 did not write.
    """
    if path.exists():
        place = path.resolve()
        check_replaceable(place, name or place.name)
        shutil.rmtree(place)


def check_replaceable(path: Path, name: str) -> None:
    """Refuse to replace a directory that stage 2 did not write, or that somebody has worked on since.

    Raises:
        DataError: saying what is in the way.
    """
    check_ours(path.resolve(), STAGE, name, _is_damaged)


def _is_damaged(path: Path) -> bool:
    """Whether a directory breaks a rule: the cure of that is to prepare it again."""
    try:
        read_data_dir(path)
    except DataError:
        return True
    return False


def _write_table(path: Path, table: Mapping[str, object]) -> None:
    write_lines(path, (f"{key} {table[key]}" for key in sorted(table)))
