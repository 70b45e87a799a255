"""Kaldi data directories: ``wav.scp utt2spk spk2utt utt2dur [trials [enrol] [notes]]``, checked and written whole.

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

import codecs
import gc
import math
import operator
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, pairwise, zip_longest
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ham.data.names import quoted
from ham.data.ownership import check_ours, move_in, write_mark
from ham.errors import DataError, summarise

FILES = ("wav.scp", "utt2spk", "spk2utt", "utt2dur", "trials", "enrol", "notes", "segments", "utt2session")
"""The files of a data directory; only the first four must be there."""

STAGE = 2
"""The stage of run.sh that writes them."""

_LABELS = {"nontarget": 0, "target": 1}
_PREPARE = "prepare it again (stage 2)"
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as the mark of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_Value = TypeVar("_Value")


class Segment(NamedTuple):
    """The part of a recording that is an utterance, in seconds from its beginning."""

    start_s: float
    end_s: float


@dataclass(frozen=True, eq=False)
class Trials:
    """A list of trials in its file's order; a repeated trial is kept.

    ``labels`` is int8, shape ``(num_trials,)``: 1 where the two utterances are one speaker's (target), else 0. A
    name on the enrolment side is an utterance or one of ``models``, which maps it to its recordings. ``notes`` are
    sentences about what the list cannot tell.
    """

    enrol: tuple[str, ...]
    test: tuple[str, ...]
    labels: NDArray[np.int8]
    models: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.enrol)

    @property
    def num_target(self) -> int:
        """Number of target trials."""
        return int(np.count_nonzero(self.labels))

    @property
    def num_nontarget(self) -> int:
        """Number of non-target trials."""
        return len(self) - self.num_target

    @property
    def one_kind(self) -> bool:
        """Whether there are only targets or only non-targets: no error rate is defined then."""
        return not 0 < self.num_target < len(self)

    @cached_property
    def utts(self) -> frozenset[str]:
        """Every utterance that scoring needs: both sides of the trials, and the recordings of the models."""
        recordings = chain.from_iterable(self.models.values())
        return frozenset(self.enrol).difference(self.models).union(self.test, recordings)


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
    """Group utterances by speaker.

    Args:
        utt2spk: the speaker of each utterance.

    Returns:
        Speakers in C order, each with its utterances in C order.
    """
    spk2utt: dict[str, list[str]] = {}
    for utt in sorted(utt2spk):
        spk2utt.setdefault(utt2spk[utt], []).append(utt)
    return dict(sorted(spk2utt.items()))


def read_lines(path: Path) -> list[str]:
    """Read a text file: UTF-8, or UTF-16 or UTF-32 with the byte-order mark that Windows writes; any line ends.

    Args:
        path: the file.

    Returns:
        The lines without their ends; empty last lines are dropped.

    Raises:
        DataError: if the file is missing or in another encoding.
    """
    return list(_lines(path))


def _lines(path: Path) -> Iterator[str]:
    """The lines of ``read_lines`` one by one, so that a large file is never in memory as a whole."""
    blank: list[str] = []  # they count only once another line follows
    try:
        with path.open(encoding=_encoding(path)) as stream:  # \n, \r\n and \r end lines
            for number, content in enumerate(stream, 1):
                if "\0" in content:
                    cure = "if it is UTF-16 without a mark, `iconv -f UTF-16LE -t UTF-8 OLD > NEW`"
                    raise DataError(f"{path}:{number}: expected text, found a byte 0; {cure}")
                line = content.removesuffix("\n")
                blank.append(line)
                if line.strip():
                    yield from blank
                    blank.clear()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except UnicodeError as error:
        raise _encoding_error(path) from error


def _encoding(path: Path) -> str:
    """What the first bytes say."""
    with path.open("rb") as stream:
        start = stream.read(4)
    return next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")


def _encoding_error(path: Path) -> DataError:
    """Where the first wrong byte is, which a decoder that reads ahead cannot say."""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            line.decode(_encoding(path) if number == 1 else "utf-8")
        except UnicodeError as error:
            found = f"byte 0x{error.object[error.start]:02x}" if isinstance(error, UnicodeDecodeError) else "others"
            return DataError(
                f"{path}:{number}: expected UTF-8, found {found}; convert it from its encoding, for example that of "
                "Windows in western Europe with `iconv -f CP1252 -t UTF-8 OLD > NEW`"
            )
    return DataError(f"{path}: expected UTF-8, found bytes that are not; save it as UTF-8")


def trial_dirs(base: Path) -> list[Path]:
    """Find the data directories of trial lists; hidden folders, left by a write that was killed, are none.

    Args:
        base: the folder that holds ``<root>/<list>/trials``.

    Returns:
        The folders ``<root>/<list>``, sorted.

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

    Args:
        path: the directory.

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
            f"{path}: expected the recordings of wav.scp, {different[0]!r} is in one of both only; {_PREPARE}"
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
    raise ValueError(f"expected '<recording> <start> <end>' with 0 <= start < end, found {text!r}; {_PREPARE}")


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
            raise DataError(f"{enrol}: expected trials of these models, found no {trials}; {_PREPARE}")
        return None
    found = read_trials(trials, utt2spk, read_models(enrol, utt2spk) if enrol.exists() else None)
    notes = path / "notes"
    return replace(found, notes=tuple(read_lines(notes))) if notes.exists() else found


def read_models(path: Path, utt2spk: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Read the recordings of enrolment models, lines ``<model> <utt> [<utt> ...]``.

    Args:
        path: the file.
        utt2spk: the utterances there are, with their speakers.

    Returns:
        The recordings of each model, in C order of the models.

    Raises:
        DataError: if a line has another form or is out of order, if a model has an utterance's name, names an
            unknown utterance or one twice, or has recordings of several speakers.
    """
    rows = [line.split() for line in read_lines(path)]
    problems = [
        f"{path}:{number}: {problem}"
        for number, row in enumerate(rows, 1)
        if (problem := model_problem(row[0], row[1:], utt2spk) if row else "expected a model, found an empty line")
    ]
    _raise_all(problems if rows else [f"{path}: is empty; {_PREPARE}"])
    _check_order(path, [row[0] for row in rows])
    return {row[0]: tuple(row[1:]) for row in rows}


def model_problem(model: str, utts: Sequence[str], utt2spk: Mapping[str, str]) -> str | None:
    """Say what is wrong with an enrolment model.

    Args:
        model: its name.
        utts: its recordings.
        utt2spk: the utterances there are, with their speakers.

    Returns:
        The problem; None if there is none.
    """
    if not utts:
        return f"expected '<model> <utt> [<utt> ...]', found {quoted(model)} alone; {_PREPARE}"
    if unknown := [utt for utt in utts if utt not in utt2spk]:
        return f"expected utterances of utt2spk, found {quoted(unknown[0])}; {_PREPARE}"
    if model in utt2spk:
        return f"the model {quoted(model)} has the name of an utterance; rename it"
    if len(set(utts)) != len(utts):
        return f"the model {quoted(model)} names a recording twice; name each once"
    if len({utt2spk[utt] for utt in utts}) > 1:
        return f"expected recordings of one speaker, found {quoted(utt2spk[utts[0]])} and others; correct the line"
    return None


@contextmanager
def _collector_paused() -> Iterator[None]:
    """A million objects are made here and none is garbage: looking for some meanwhile takes half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _check_complete(path: Path) -> None:
    if not path.is_dir():
        raise DataError(f"{path}: no such data directory; {_PREPARE}")
    missing = [name for name in FILES[:4] if not (path / name).is_file()]
    if missing:
        raise DataError(f"{path}: expected {', '.join(FILES[:4])}, found no {', '.join(missing)}; {_PREPARE}")


def _raise_all(problems: Sequence[str]) -> None:
    if problems:
        raise DataError(summarise(problems))


def _read_table(
    path: Path, form: str, parse: Callable[[str, str], _Value], keys: Iterable[str] = (), *, max_splits: int = -1
) -> dict[str, _Value]:
    """Read lines of a key and a value; ``parse(key, value)`` makes the value or says what is wrong with them.

    ``keys`` are those that are expected: their strings are taken, so that tables of one directory share them.
    """
    table: dict[str, _Value] = {}
    found, problems = [], []
    expected = iter(keys)
    for number, line in enumerate(_lines(path), 1):
        row = line.split(None, max_splits)
        try:
            if len(row) != 2:
                raise ValueError(_fields_problem(form, line))
            value = parse(row[0], row[1])
        except ValueError as error:
            problems.append(f"{path}:{number}: {error}")
            continue
        shared = next(expected, None)
        key = shared if shared == row[0] else row[0]
        found.append(key)
        table[key] = value
    _raise_all(problems if found or problems else [f"{path}: is empty; {_PREPARE}"])
    _check_order(path, found)
    return table


def _fields_problem(form: str, line: str) -> str:
    return f"expected {form!r}, found {len(line.split())} fields: {quoted(line)}"


def _speaker(utt: str, spk: str) -> str:
    if utt.startswith(spk):
        return sys.intern(spk)
    raise ValueError(
        f"expected an utterance that begins with its speaker {quoted(spk)}, found {quoted(utt)}; {_PREPARE}"
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
    raise ValueError(f"expected seconds above 0, found {quoted(text)}; {_PREPARE}")


def _check_order(path: Path, keys: Sequence[str]) -> None:
    """Each key comes after the one before; code points order like the bytes of UTF-8."""
    if all(map(operator.lt, keys, keys[1:])):
        return
    pairs = enumerate(pairwise(keys), 2)
    _raise_all([f"{path}:{number}: {_order_problem(path, *pair)}" for number, pair in pairs if pair[0] >= pair[1]])


def _order_problem(path: Path, before: str, key: str) -> str:
    if before == key:
        return f"expected one line for {quoted(key)}, found a second one; remove one"
    cure = f"`LC_ALL=C sort -u -o {path.name} {path.name}`"
    return f"expected C order, found {quoted(key)} after {quoted(before)}; sort it with {cure}"


def _check_speaker_order(path: Path, speakers: Sequence[str]) -> None:
    """The lines are in the order of the speakers too, as Kaldi's validator wants it."""
    if all(map(operator.le, speakers, speakers[1:])):
        return
    pairs = enumerate(pairwise(speakers), 2)
    _raise_all(
        [
            f"{path}:{number}: expected speakers in C order too, found {quoted(spk)} after {quoted(before)}; rename one"
            for number, (before, spk) in pairs
            if before > spk
        ]
    )


def _check_same_utts(path: Path, table: Mapping[str, object], utt2spk: Mapping[str, str]) -> None:
    if table.keys() == utt2spk.keys():
        return
    _raise_all(
        [
            f"{path}:{n}: {quoted(utt)} is not in utt2spk; {_PREPARE}"
            for n, utt in enumerate(table, 1)
            if utt not in utt2spk
        ]
        + [f"{path}: no line for {quoted(utt)} of utt2spk; {_PREPARE}" for utt in utt2spk if utt not in table]
    )


def _check_spk2utt(path: Path, spk2utt: Mapping[str, Sequence[str]]) -> None:
    """Report the first line that differs: the file says nothing of its own, so that one command mends it all."""
    for number, (line, pair) in enumerate(zip_longest(_lines(path), spk2utt.items()), 1):
        right = [pair[0], *pair[1]] if pair else []
        if line != " ".join(right) and (wrong := (line or "").split()) != right:
            raise DataError(
                f"{path}:{number}: expected what utt2spk says, {_shortened(right)}, found {_shortened(wrong)}; "
                "write it again (Kaldi: `utils/utt2spk_to_spk2utt.pl utt2spk > spk2utt`)"
            )


def _shortened(words: Sequence[str]) -> str:
    return quoted(" ".join(words[:4]) + (f" ... ({len(words) - 4} more)" if len(words) > 4 else ""))


def read_trials(
    path: Path, utts: Iterable[str] | None = None, models: Mapping[str, tuple[str, ...]] | None = None
) -> Trials:
    """Read a list of trials ``<enrol> <test> target|nontarget``.

    Args:
        path: the file.
        utts: the utterances there are; when missing, any name will do.
        models: the recordings of the models that the left side may name.

    Returns:
        The trials in the order of the file.

    Raises:
        DataError: if a line has another form or names an unknown utterance, if a repeated trial changes its
            label, or if there is none.
    """
    names: dict[str, str] = {}  # one string for each name: a million trials name few utterances
    enrol, test, labels = [], [], []
    problems = []
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if len(fields) != 3 or fields[2] not in _LABELS:
            problems.append(f"{path}:{number}: expected '<enrol> <test> target|nontarget', found {quoted(line)}")
            continue
        enrol.append(names.setdefault(fields[0], fields[0]))
        test.append(names.setdefault(fields[1], fields[1]))
        labels.append(_LABELS[fields[2]])
    _raise_all(problems if problems or labels else [f"{path}: is empty; {_PREPARE}"])
    trials = Trials(tuple(enrol), tuple(test), np.array(labels, dtype=np.int8), models or {})
    if utts is not None:
        _check_known(path, trials, frozenset(names).difference(utts))
    _raise_all(label_problems(path, trials))
    return trials


def _check_known(path: Path, trials: Trials, unknown: frozenset[str]) -> None:
    wrong = unknown.difference(trials.models), unknown.intersection(trials.test)
    if any(wrong):
        expected = "utterances of utt2spk" + (" (or, on the left, models of enrol)" if trials.models else "")
        _raise_all(
            [
                f"{path}:{number}: expected {expected}, found {quoted(' '.join(pair))}; {_PREPARE}"
                for number, pair in enumerate(zip(trials.enrol, trials.test, strict=True), 1)
                if pair[0] in wrong[0] or pair[1] in wrong[1]
            ]
        )


def label_problems(path: Path, trials: Trials) -> list[str]:
    """Say which lines contradict each other: the same two utterances, in any order, with another label.

    Args:
        path: the file, for the message.
        trials: its trials, one a line.

    Returns:
        The problems, one for each line that contradicts an earlier one.
    """
    return [
        f"{path}:{second + 1}: {quoted(trials.enrol[second])} and {quoted(trials.test[second])} have the other label "
        f"in line {first + 1}; correct one of them"
        for first, second in _contradictions(trials)
    ]


def pair_keys(trials: Trials) -> NDArray[np.int64]:
    """A number for each trial, equal for the same two names in any order, shape ``(num_trials,)``."""
    codes = {name: code for code, name in enumerate(dict.fromkeys(trials.enrol + trials.test))}
    pairs = np.array([[codes[name] for name in side] for side in (trials.enrol, trials.test)], dtype=np.int64)
    keys: NDArray[np.int64] = pairs.min(axis=0) * len(codes) + pairs.max(axis=0)
    return keys


def _contradictions(trials: Trials) -> list[tuple[int, int]]:
    """Positions of an earlier and a later trial of the same two utterances, in any order, with other labels."""
    keys = pair_keys(trials)
    order = np.argsort(keys, kind="stable")
    same = (np.diff(keys[order]) == 0) & (np.diff(trials.labels[order]) != 0)
    return [(int(order[n]), int(order[n + 1])) for n in np.flatnonzero(same)]


def all_models(base: Path) -> dict[str, tuple[str, ...]]:
    """The enrolment models of all trial lists below a folder.

    Args:
        base: the folder that holds ``<root>/<list>/trials``.

    Returns:
        The recordings of each model, in C order.

    Raises:
        DataError: if two lists give a model different recordings.
    """
    together: dict[str, tuple[str, ...]] = {}
    for folder in trial_dirs(base):
        trials = read_data_dir(folder).trials if (folder / "enrol").exists() else None
        for model, utts in trials.models.items() if trials else ():
            if together.setdefault(model, utts) != utts:
                raise DataError(f"{folder}/enrol: {quoted(model)} has other recordings in another list; {_PREPARE}")
    return dict(sorted(together.items()))


def write_trials(path: Path, trials: Trials) -> None:
    """Write a list of trials.

    Args:
        path: the file.
        trials: what to write, in this order.
    """
    words = tuple(_LABELS)
    rows = zip(trials.enrol, trials.test, trials.labels.tolist(), strict=True)
    _write_lines(path, (f"{enrol} {test} {words[label]}" for enrol, test, label in rows))


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
    new = place.with_name(f".{place.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        if segments:
            _write_segments(new, wav, segments)
        else:
            _write_table(new / "wav.scp", wav)
        _write_table(new / "utt2spk", utt2spk)
        _write_table(new / "spk2utt", {spk: " ".join(utts) for spk, utts in invert(utt2spk).items()})
        _write_lines(new / "utt2dur", (f"{utt} {utt2dur[utt]:.6f}" for utt in sorted(utt2dur)))
        if sessions:
            _write_table(new / "utt2session", sessions)
        if trials is not None:
            write_trials(new / "trials", trials)
            if trials.models:
                _write_table(new / "enrol", {model: " ".join(utts) for model, utts in trials.models.items()})
            if trials.notes:
                _write_lines(new / "notes", trials.notes)
        written = read_data_dir(new)
        write_mark(new, STAGE, name)
        move_in(new, place)
    finally:
        shutil.rmtree(new, ignore_errors=True)
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
    """Delete a data directory.

    Args:
        path: the directory; nothing happens if there is none.
        name: as in :func:`write_data_dir`.

    Raises:
        DataError: if it holds what stage 2 did not write.
    """
    if path.exists():
        place = path.resolve()
        check_replaceable(place, name or place.name)
        shutil.rmtree(place)


def check_replaceable(path: Path, name: str) -> None:
    """Refuse to replace a directory that stage 2 did not write, or that somebody has worked on since.

    Args:
        path: the directory; there need not be one.
        name: as in :func:`write_data_dir`.

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
    _write_lines(path, (f"{key} {table[key]}" for key in sorted(table)))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(line + "\n" for line in lines)
