"""What a trial list cannot tell, although it looks as if it could: found before anything is scored.

A list is refused when every target compares a recording with itself, or when every label says the opposite of the
speakers' folders. Anything else is scored as it is, and remarked on with its numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ham.data.trials import Trials, pair_keys

FEW = 30
"""Trials of a kind below which an error rate moves in steps of more than 3 %."""

MOST = 0.5
"""Share of the targets from which on it is said that they are within sessions."""

NO_RATES = "trials of one kind are scored, but no error rate is defined"
"""What is said of a list of targets only, or of non-targets only."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Recording:
    """What a root knows of an utterance; ``sex`` is any word, None where it is unknown."""

    speaker: str
    session: str
    sex: str | None = None


class _Sides:
    """The recordings of both sides of every trial; a model has the speaker and the sex, but no session."""

    def __init__(self, trials: Trials, recordings: Mapping[str, Recording]) -> None:
        self._trials, self._recordings = trials, recordings
        self.target: Mask = trials.labels == 1

    def _compare(self, values: Mapping[str, object]) -> Mask:
        """Where both sides have the same value."""
        rows = zip(self._trials.enrol, self._trials.test, strict=True)
        return np.fromiter((values[one] == values[other] for one, other in rows), bool, len(self._trials))

    @cached_property
    def _of(self) -> dict[str, Recording]:
        models = self._trials.models
        firsts = {model: self._recordings[utts[0]] for model, utts in models.items()}
        alone = {model: Recording(first.speaker, f"model {model}", first.sex) for model, first in firsts.items()}
        return {**self._recordings, **alone}

    @cached_property
    def same_speaker(self) -> Mask:
        """Where the folders say that both sides are one speaker."""
        return self._compare({name: recording.speaker for name, recording in self._of.items()})

    @cached_property
    def itself(self) -> Mask:
        """Where the test recording is the enrolled one, or one of the model's."""
        models = {model: frozenset(utts) for model, utts in self._trials.models.items()}
        rows = zip(self._trials.enrol, self._trials.test, strict=True)
        same = (one == other or other in models.get(one, ()) for one, other in rows)
        return np.fromiter(same, bool, len(self._trials))

    @cached_property
    def same_session(self) -> Mask:
        """Where both sides are different recordings of one session."""
        sessions = {name: (recording.speaker, recording.session) for name, recording in self._of.items()}
        return self._compare(sessions) & ~self.itself

    @property
    def all_cross_sex(self) -> bool:
        """Whether every non-target compares speakers whose sexes are known and differ."""
        sexes = {name: recording.sex for name, recording in self._of.items()}
        rows = zip(self._trials.enrol, self._trials.test, self.target.tolist(), strict=True)
        pairs = {(sexes[one], sexes[other]) for one, other, is_target in rows if not is_target}
        return bool(pairs) and all(None not in pair and pair[0] != pair[1] for pair in pairs)

    @property
    def enrolled(self) -> set[str]:
        """The speakers of the enrolment side."""
        return {self._of[name].speaker for name in dict.fromkeys(self._trials.enrol)}


def refusals(trials: Trials, recordings: Mapping[str, Recording]) -> list[str]:
    """Why a list of at least one trial can tell nothing at all, with the cure; nothing if it may be scored."""
    sides = _Sides(trials, recordings)
    if trials.num_target and sides.itself[sides.target].all():
        count = trials.num_target
        return [f"all {count} targets compare a recording with itself; list pairs of two recordings of a speaker"]
    if not trials.one_kind and (sides.same_speaker != sides.target).all():
        return [
            f"all {len(trials)} labels say the opposite of the speakers' folders; 1 (target) means the same speaker: "
            "swap the labels"
        ]
    return []


def remarks(trials: Trials, recordings: Mapping[str, Recording]) -> list[str]:
    """What the numbers of a list of at least one trial will not mean.

    Returns:
        Sentences without a full stop, each with its numbers; none for a list that is what it seems to be.
    """
    return list(_remarks(trials, _Sides(trials, recordings)))


def _remarks(trials: Trials, sides: _Sides) -> Iterator[str]:
    num_target, num_nontarget = trials.num_target, trials.num_nontarget
    if trials.one_kind:
        yield f"{num_target} target and {num_nontarget} non-target trials: {NO_RATES}"
    if count := int(sides.itself.sum()):
        yield f"{count} of {len(trials)} trials compare a recording with itself, which is no test"
    if count := len(trials) - len(np.unique(pair_keys(trials))):
        yield f"{count} of {len(trials)} trials repeat another, in this or the other order, and count again"
    yield from _labels(trials, sides)
    if num_target and (count := int(sides.same_session[sides.target].sum())) >= MOST * num_target:
        yield (
            f"{count} of {num_target} targets are within a session: room and microphone tell them from non-targets "
            "as well as the voice does"
        )
    if sides.all_cross_sex:
        yield f"all {num_nontarget} non-targets compare speakers of two sexes, which is the easier part"
    if len(sides.enrolled) == 1:
        yield f"all {len(trials)} trials enrol one speaker: the numbers say nothing of others"
    if not trials.one_kind and min(num_target, num_nontarget) < FEW:
        yield (
            f"{num_target} target and {num_nontarget} non-target trials are few: one more or less is "
            f"{100 / min(num_target, num_nontarget):.1f} % of its kind"
        )


def _labels(trials: Trials, sides: _Sides) -> Iterator[str]:
    """Labels are believed, but they may not be what the writer of the list meant."""
    wrong = sides.same_speaker != sides.target
    if wrong.any():
        targets, first = int((wrong & sides.target).sum()), int(np.argmax(wrong))
        yield (
            f"{int(wrong.sum())} of {len(trials)} labels disagree with the speakers' folders (target of two speakers: "
            f"{targets}, non-target of one: {int(wrong.sum()) - targets}), the first for {trials.enrol[first]} and "
            f"{trials.test[first]}"
        )
