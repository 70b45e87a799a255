"""Systems over several trainings: mean EER, its interval, the spread of the trainings, difference to one system."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ham.score.intervals import (
    Estimate,
    Influences,
    Interval,
    Speakers,
    difference_interval,
    influences,
    rate_interval,
    speaker_freedom,
    speaker_variance,
)
from ham.score.metrics import Numbers


@dataclass(frozen=True)
class Difference:
    """Mean EER of a system minus that of the reference; fractions.

    Attributes:
        value: the difference; negative where the system errs less.
        interval: its 95 % interval, over draws of the speakers (the same for both systems) and over trainings.
        estimate: its variance, likewise.
    """

    value: float
    interval: Interval
    estimate: Estimate


@dataclass(frozen=True)
class SeedSummary:
    """One system on one list under one back-end, over its trainings; fractions.

    Attributes:
        system: its name.
        eers: EER of each training.
        interval: 95 % interval of their mean, over draws of the speakers and, for several trainings, over trainings.
        difference: to the reference; None for the reference itself.
        num_speakers: speakers of the list.
    """

    system: str
    eers: tuple[float, ...]
    interval: Interval
    difference: Difference | None
    num_speakers: int

    @property
    def mean(self) -> float:
        """Mean EER."""
        return float(np.mean(self.eers))


def summarise_seeds(
    systems: Mapping[str, Sequence[Numbers]],
    labels: Numbers,
    enrol_speakers: Speakers,
    test_speakers: Speakers,
    *,
    reference: str | None,
) -> list[SeedSummary]:
    r"""Summarise systems on one list.

    The variance of the mean over K trainings is that of the speakers' draw and that of the trainings,

    .. math:: V = V_S + \frac{(e (1 - e) s)^2}{K}

    with the mean EER e, the speakers' variance :math:`V_S` of the mean (:func:`ham.score.intervals.speaker_variance`),
    and the variance s^2 of a training's logit EER, which is pooled over all systems: two or three trainings of one tell
    little of it, those of all together more. The assumption is that trainings of all systems scatter alike on the logit
    scale; a system whose trainings scatter more than the others' gets too short an interval. The degrees of freedom are
    those of Welch and Satterthwaite, V^2 / (V_S^2 / f_S + (V - V_S)^2 / f) with f_S of
    :func:`ham.score.intervals.speaker_freedom` (for a difference S - 1) and f = sum (K - 1) over the systems. A
    difference of two systems has the speakers' variance of the difference, in which what a hard speaker does to both
    cancels, and the trainings' variances of both. A system that was trained once is taken as it is: the interval holds
    that training fixed.

    Args:
        systems: by name, for each training one score a trial.
        labels: 1 for a target trial, 0 for a non-target trial.
        enrol_speakers: the speaker of each trial's enrolment side.
        test_speakers: the speaker of each trial's test side.
        reference: the system that the others are compared with; where it is not among them there is no comparison.

    Returns:
        One summary a system, in their order.

    Raises:
        DataError: if scores, labels and speakers do not fit each other.
    """
    found = {
        name: [influences(scores, labels, enrol_speakers, test_speakers) for scores in trainings]
        for name, trainings in systems.items()
    }
    return summarise(found, reference)


def summarise(found: Mapping[str, Sequence[Influences]], reference: str | None) -> list[SeedSummary]:
    """The same for any rate of which each speaker's part is known.

    Args:
        found: by system, the rate of each training; all over the same speakers in one order.
        reference: as in :func:`summarise_seeds`.

    Returns:
        One summary a system, in their order.
    """
    scatter = _pooled_scatter(found.values())
    against = found.get(reference) if reference is not None else None
    return [
        SeedSummary(
            name,
            tuple(training.eer for training in trainings),
            rate_interval(_mean(trainings), _estimate(trainings, scatter), trainings[0].half_error),
            None if against is None or name == reference else _difference(trainings, against, scatter),
            len(trainings[0].speakers),
        )
        for name, trainings in found.items()
    ]


def _mean(trainings: Sequence[Influences]) -> float:
    return float(np.mean([training.eer for training in trainings]))


def _pooled_scatter(systems: Iterable[Sequence[Influences]]) -> Estimate:
    """Variance of the logit EER over trainings of one system, the same for all systems; freedom 0 if each has one."""
    squares, freedom = 0.0, 0
    for trainings in systems:
        logits = [_logit(training) for training in trainings]
        squares += float(np.square(np.subtract(logits, np.mean(logits))).sum())
        freedom += len(trainings) - 1
    return Estimate(squares / max(1, freedom), freedom)


def _logit(training: Influences) -> float:
    rate = min(max(training.eer, training.half_error), 1 - training.half_error)
    return math.log(rate / (1 - rate))


def _estimate(trainings: Sequence[Influences], scatter: Estimate) -> Estimate:
    speakers = np.mean([training.speakers for training in trainings], axis=0)
    pairs = np.mean([training.pairs for training in trainings], axis=0)
    return _joint(Estimate(speaker_variance(speakers, pairs), speaker_freedom(speakers)), [trainings], scatter)


def _joint(of_speakers: Estimate, systems: Sequence[Sequence[Influences]], scatter: Estimate) -> Estimate:
    """The speakers' variance with that of the trainings of one system, or of two that are compared."""
    of_trainings = 0.0
    for trainings in systems:
        if len(trainings) > 1:
            middle = min(max(_mean(trainings), trainings[0].half_error), 1 - trainings[0].half_error)
            of_trainings += scatter.variance * (middle * (1 - middle)) ** 2 / len(trainings)
    if not of_trainings:
        return of_speakers
    variance = of_speakers.variance + of_trainings
    parts = of_speakers.variance**2 / of_speakers.freedom + of_trainings**2 / scatter.freedom
    return Estimate(variance, variance**2 / parts)


def _difference(system: Sequence[Influences], reference: Sequence[Influences], scatter: Estimate) -> Difference:
    speakers, pairs = (
        np.mean([getattr(one, name) for one in system], axis=0)
        - np.mean([getattr(one, name) for one in reference], axis=0)
        for name in ("speakers", "pairs")
    )
    value = _mean(system) - _mean(reference)
    of_speakers = Estimate(speaker_variance(speakers, pairs), max(1, len(speakers) - 1))
    estimate = _joint(of_speakers, [system, reference], scatter)
    return Difference(value, difference_interval(value, estimate), estimate)
