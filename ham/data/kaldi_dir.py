"""Kaldi data directories: ``wav.scp utt2spk spk2utt utt2dur [trials]``, read with every rule checked, written whole.

=======  =====================================  =========================================================
file     line                                   rule
=======  =====================================  =========================================================
wav.scp  ``<utt> <path>``                       a path, which may hold spaces; no pipe
utt2spk  ``<utt> <spk>``                        the utterance begins with the speaker
spk2utt  ``<spk> <utt> <utt> ...``              says what utt2spk says
utt2dur  ``<utt> <seconds>``                    a number above 0
trials   ``<enrol> <test> target|nontarget``    utterances of utt2spk; both labels occur; a repeated trial
                                                repeats its label
=======  =====================================  =========================================================

Identifiers have no white space; all files but ``trials`` are sorted in C order and hold the same utterances.
"""

from __future__ import annotations

import gc
import math
import operator
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ham.errors import DataError, summarise

FILES = ("wav.scp", "utt2spk", "spk2utt", "utt2dur", "trials")
"""The files of a data directory; only ``trials`` may be missing."""

_LABELS = {"nontarget": 0, "target": 1}
_PREPARE = "prepare it again (stage 2)"


@dataclass(frozen=True, eq=False)
class Trials:
    """A list of trials in its file's order; a repeated trial is kept.

    ``labels`` is int8, shape ``(num_trials,)``: 1 where the two utterances are one speaker's (target), else 0.
    """

    enrol: tuple[str, ...]
    test: tuple[str, ...]
    labels: NDArray[np.int8]

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


@dataclass(frozen=True, eq=False)
class DataDir:
    """A data directory in memory; all mappings have the same utterances in C order, durations are seconds."""

    path: Path
    wav: dict[str, Path]
    utt2spk: dict[str, str]
    utt2dur: dict[str, float]
    trials: Trials | None = None

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
    """Read a text file; Windows line ends, a byte-order mark and empty last lines are dropped.

    Args:
        path: a UTF-8 file.

    Returns:
        The lines without their ends.

    Raises:
        DataError: if the file is missing or in another encoding.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}:{number}: expected UTF-8, found byte 0x{content[error.start]:02x}; "
            "convert it, for example with `iconv -f LATIN1 -t UTF-8`"
        ) from error
    lines = text.replace("\r\n", "\n").split("\n")
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


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
        utt2spk = _read_table(path / "utt2spk", "<utt> <spk>", _speaker_problem)
        wav = _read_table(path / "wav.scp", "<utt> <path>", _path_problem, max_splits=1)
        utt2dur = _read_table(path / "utt2dur", "<utt> <seconds>", _duration_problem)
        _check_same_utts(path / "wav.scp", wav, utt2spk)
        _check_same_utts(path / "utt2dur", utt2dur, utt2spk)
        _check_spk2utt(path / "spk2utt", invert(utt2spk))
        trials = path / "trials"
        return DataDir(
            path=path,
            wav={utt: Path(text) for utt, text in wav.items()},
            utt2spk=utt2spk,
            utt2dur={utt: float(text) for utt, text in utt2dur.items()},
            trials=read_trials(trials, utt2spk) if trials.exists() else None,
        )


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
    path: Path, form: str, problem: Callable[[str, str], str | None], max_splits: int = -1
) -> dict[str, str]:
    """Read lines of a key and a value; ``problem(key, value)`` says what is wrong with them, if anything."""
    table: dict[str, str] = {}
    keys, problems = [], []
    for number, line in enumerate(read_lines(path), 1):
        row = line.split(None, max_splits)
        found = problem(*row) if len(row) == 2 else _fields_problem(form, line)
        if found:
            problems.append(f"{path}:{number}: {found}")
            continue
        keys.append(row[0])
        table[row[0]] = row[1]
    _raise_all(problems if keys or problems else [f"{path}: is empty; {_PREPARE}"])
    _check_order(path, keys)
    return table


def _fields_problem(form: str, line: str) -> str:
    return f"expected {form!r}, found {len(line.split())} fields: {line!r}"


def _speaker_problem(utt: str, spk: str) -> str | None:
    if utt.startswith(spk):
        return None
    return f"expected an utterance that begins with its speaker {spk!r}, found {utt!r}; {_PREPARE}"


def _path_problem(_: str, text: str) -> str | None:
    if not text.rstrip().endswith("|"):
        return None
    return (
        f"expected the path of an audio file, found a pipe: {text!r}; "
        "run its command once, keep the output in a file and name that"
    )


def _duration_problem(_: str, text: str) -> str | None:
    try:
        duration_s = float(text)
    except ValueError:
        duration_s = math.nan
    return None if 0 < duration_s < math.inf else f"expected seconds above 0, found {text!r}; {_PREPARE}"


def _check_order(path: Path, keys: Sequence[str]) -> None:
    """Each key comes after the one before; code points order like the bytes of UTF-8."""
    if all(map(operator.lt, keys, keys[1:])):
        return
    pairs = enumerate(pairwise(keys), 2)
    _raise_all([f"{path}:{number}: {_order_problem(path, *pair)}" for number, pair in pairs if pair[0] >= pair[1]])


def _order_problem(path: Path, before: str, key: str) -> str:
    if before == key:
        return f"expected one line for {key!r}, found a second one; remove one"
    cure = f"`LC_ALL=C sort -u -o {path.name} {path.name}`"
    return f"expected C order, found {key!r} after {before!r}; sort it with {cure}"


def _check_same_utts(path: Path, table: Mapping[str, str], utt2spk: Mapping[str, str]) -> None:
    if table.keys() == utt2spk.keys():
        return
    _raise_all(
        [f"{path}:{n}: {utt!r} is not in utt2spk; {_PREPARE}" for n, utt in enumerate(table, 1) if utt not in utt2spk]
        + [f"{path}: no line for {utt!r} of utt2spk; {_PREPARE}" for utt in utt2spk if utt not in table]
    )


def _check_spk2utt(path: Path, spk2utt: Mapping[str, Sequence[str]]) -> None:
    """Report the first line that differs: the file says nothing of its own, so that one command mends it all."""
    found = [line.split() for line in read_lines(path)]
    expected = [[spk, *utts] for spk, utts in spk2utt.items()]
    if expected == found:
        return
    nothing: list[str] = []
    pairs = enumerate(zip_longest(expected, found, fillvalue=nothing), 1)
    number, (right, wrong) = next(item for item in pairs if item[1][0] != item[1][1])
    raise DataError(
        f"{path}:{number}: expected what utt2spk says, {_shortened(right)}, found {_shortened(wrong)}; "
        "write it again (Kaldi: `utils/utt2spk_to_spk2utt.pl utt2spk > spk2utt`)"
    )


def _shortened(words: Sequence[str]) -> str:
    return repr(" ".join(words[:4]) + (f" ... ({len(words) - 4} more)" if len(words) > 4 else ""))


def read_trials(path: Path, utts: Iterable[str] | None = None) -> Trials:
    """Read a list of trials ``<enrol> <test> target|nontarget``.

    Args:
        path: the file.
        utts: the utterances there are; when missing, any name will do.

    Returns:
        The trials in the order of the file.

    Raises:
        DataError: if a line has another form or names an unknown utterance, if a repeated trial changes its
            label, or if one of the labels does not occur.
    """
    names: dict[str, str] = {}  # one string for each name: a million trials name few utterances
    enrol, test, labels = [], [], []
    problems = []
    for number, line in enumerate(read_lines(path), 1):
        fields = line.split()
        if len(fields) != 3 or fields[2] not in _LABELS:
            problems.append(f"{path}:{number}: expected '<enrol> <test> target|nontarget', found {line!r}")
            continue
        enrol.append(names.setdefault(fields[0], fields[0]))
        test.append(names.setdefault(fields[1], fields[1]))
        labels.append(_LABELS[fields[2]])
    _raise_all(problems)
    trials = Trials(tuple(enrol), tuple(test), np.array(labels, dtype=np.int8))
    _check_known(path, trials, frozenset() if utts is None else frozenset(names).difference(utts))
    _raise_all(label_problems(path, trials))
    return trials


def _check_known(path: Path, trials: Trials, unknown: frozenset[str]) -> None:
    if unknown:
        _raise_all(
            [
                f"{path}:{number}: expected utterances of utt2spk, found {' '.join(pair)!r}; {_PREPARE}"
                for number, pair in enumerate(zip(trials.enrol, trials.test, strict=True), 1)
                if not unknown.isdisjoint(pair)
            ]
        )


def label_problems(path: Path, trials: Trials) -> list[str]:
    """Say what is wrong with the labels as a whole: one does not occur, or two lines of a pair disagree.

    Args:
        path: the file, for the message.
        trials: its trials, one a line.

    Returns:
        The problems, one for each line that contradicts an earlier one.
    """
    if trials.num_target == 0 or trials.num_nontarget == 0:
        counts = f"{trials.num_target} target and {trials.num_nontarget} non-target"
        return [f"{path}: expected trials of both kinds, found {counts}; an error rate needs both"]
    return [
        f"{path}:{second + 1}: {trials.enrol[second]!r} and {trials.test[second]!r} have the other label in line "
        f"{first + 1}; correct one of them"
        for first, second in _contradictions(trials)
    ]


def _contradictions(trials: Trials) -> list[tuple[int, int]]:
    """Positions of an earlier and a later trial of the same two utterances, in any order, with other labels."""
    codes = {name: code for code, name in enumerate(dict.fromkeys(trials.enrol + trials.test))}
    pairs = np.array([[codes[name] for name in side] for side in (trials.enrol, trials.test)], dtype=np.int64)
    keys = pairs.min(axis=0) * len(codes) + pairs.max(axis=0)
    order = np.argsort(keys, kind="stable")
    same = (np.diff(keys[order]) == 0) & (np.diff(trials.labels[order]) != 0)
    return [(int(order[n]), int(order[n + 1])) for n in np.flatnonzero(same)]


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
) -> DataDir:
    """Write a data directory beside its place, validate it there, and move it in; an older one is replaced.

    Args:
        path: the directory; its parents are made.
        wav: audio file of each utterance.
        utt2spk: speaker of each utterance.
        utt2dur: duration of each utterance in seconds.
        trials: the trials, if the directory is a trial list.

    Returns:
        The directory as :func:`read_data_dir` has read it back.

    Raises:
        DataError: if the content breaks a rule, or if ``path`` holds files that are not those of a data
            directory; ``path`` is then as it was.
    """
    place = path.resolve()
    _check_replaceable(place)
    new = place.with_name(f".{place.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        _write_table(new / "wav.scp", {utt: str(file) for utt, file in wav.items()})
        _write_table(new / "utt2spk", utt2spk)
        _write_table(new / "spk2utt", {spk: " ".join(utts) for spk, utts in invert(utt2spk).items()})
        _write_table(new / "utt2dur", {utt: f"{duration_s:.6f}" for utt, duration_s in utt2dur.items()})
        if trials is not None:
            write_trials(new / "trials", trials)
        written = read_data_dir(new)
        _swap(new, place)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return replace(written, path=path)


def remove_data_dir(path: Path) -> None:
    """Delete a data directory.

    Args:
        path: the directory; nothing happens if there is none.

    Raises:
        DataError: if it holds files that are not those of a data directory.
    """
    if path.exists():
        _check_replaceable(path)
        shutil.rmtree(path.resolve())


def _check_replaceable(path: Path) -> None:
    others = [entry.name for entry in path.iterdir() if entry.name not in FILES] if path.is_dir() else []
    if others or (path.exists() and not path.is_dir()):
        held = f"it also holds {min(others)!r}" if others else "it is a file"
        raise DataError(f"{path}: expected a data directory to replace, but {held}; move it away")


def _swap(new: Path, place: Path) -> None:
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def _write_table(path: Path, table: Mapping[str, str]) -> None:
    _write_lines(path, (f"{key} {table[key]}" for key in sorted(table)))


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(line + "\n" for line in lines)
