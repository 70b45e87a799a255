"""Lists of trials in the form that the recipe itself writes and scores, and the models that they enrol.

A trial asks whether two recordings are of one speaker. Lists as people write them are read by
:mod:`ham.prepare.trial_list`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ham.data.names import quoted
from ham.data.text_lines import check_sorted, raise_all, read_lines, write_lines

PREPARE = "prepare it again (stage 2)"
"""The cure for a file that stage 2 writes."""

_LABELS = {"nontarget": 0, "target": 1}


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

    def equal(self, other: Trials | None) -> bool:
        """Whether another list has the same trials in the same order, models and notes."""
        if other is None or not np.array_equal(self.labels, other.labels):
            return False
        rest = [(trials.enrol, trials.test, trials.models, trials.notes) for trials in (self, other)]
        return rest[0] == rest[1]

    @cached_property
    def utts(self) -> frozenset[str]:
        """Every utterance that scoring needs: both sides of the trials, and the recordings of the models."""
        recordings = chain.from_iterable(self.models.values())
        return frozenset(self.enrol).difference(self.models).union(self.test, recordings)


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
    raise_all(problems if rows else [f"{path}: is empty; {PREPARE}"])
    check_sorted(path, [row[0] for row in rows])
    return {row[0]: tuple(row[1:]) for row in rows}


def model_problem(model: str, utts: Sequence[str], utt2spk: Mapping[str, str]) -> str | None:
    """What is wrong with an enrolment model and its recordings, given the speakers of all utterances there are."""
    if not utts:
        return f"expected '<model> <utt> [<utt> ...]', found {quoted(model)} alone; {PREPARE}"
    if unknown := [utt for utt in utts if utt not in utt2spk]:
        return f"expected utterances of utt2spk, found {quoted(unknown[0])}; {PREPARE}"
    if model in utt2spk:
        return f"the model {quoted(model)} has the name of an utterance; rename it"
    if len(set(utts)) != len(utts):
        return f"the model {quoted(model)} names a recording twice; name each once"
    if len({utt2spk[utt] for utt in utts}) > 1:
        return f"expected recordings of one speaker, found {quoted(utt2spk[utts[0]])} and others; correct the line"
    return None


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
    raise_all(problems if problems or labels else [f"{path}: is empty; {PREPARE}"])
    trials = Trials(tuple(enrol), tuple(test), np.array(labels, dtype=np.int8), models or {})
    if utts is not None:
        _check_known(path, trials, frozenset(names).difference(utts))
    raise_all(label_problems(path, trials))
    return trials


def _check_known(path: Path, trials: Trials, unknown: frozenset[str]) -> None:
    wrong = unknown.difference(trials.models), unknown.intersection(trials.test)
    if any(wrong):
        expected = "utterances of utt2spk" + (" (or, on the left, models of enrol)" if trials.models else "")
        raise_all(
            [
                f"{path}:{number}: expected {expected}, found {quoted(' '.join(pair))}; {PREPARE}"
                for number, pair in enumerate(zip(trials.enrol, trials.test, strict=True), 1)
                if pair[0] in wrong[0] or pair[1] in wrong[1]
            ]
        )


def label_problems(path: Path, trials: Trials, numbers: Sequence[int] | None = None) -> list[str]:
    """A problem for each line of a file that has the two utterances of an earlier line with the other label.

    Args:
        path: the file.
        trials: its trials.
        numbers: the line of each trial; None where every line is one.
    """
    lines = numbers or range(1, len(trials) + 1)
    keys = pair_keys(trials)
    order = np.argsort(keys, kind="stable")
    contradict = (np.diff(keys[order]) == 0) & (np.diff(trials.labels[order]) != 0)
    return [
        f"{path}:{lines[second]}: {quoted(trials.enrol[second])} and {quoted(trials.test[second])} have the other "
        f"label in line {lines[first]}; correct one of them"
        for first, second in zip(order[:-1][contradict].tolist(), order[1:][contradict].tolist(), strict=True)
    ]


def pair_keys(trials: Trials) -> NDArray[np.int64]:
    """A number for each trial, equal for the same two names in any order, shape ``(num_trials,)``."""
    codes = {name: code for code, name in enumerate(dict.fromkeys(trials.enrol + trials.test))}
    pairs = np.array([[codes[name] for name in side] for side in (trials.enrol, trials.test)], dtype=np.int64)
    keys: NDArray[np.int64] = pairs.min(axis=0) * len(codes) + pairs.max(axis=0)
    return keys


def write_trials(path: Path, trials: Trials) -> None:
    """Write a list of trials in its own order."""
    words = tuple(_LABELS)
    rows = zip(trials.enrol, trials.test, trials.labels.tolist(), strict=True)
    write_lines(path, (f"{enrol} {test} {words[label]}" for enrol, test, label in rows))
