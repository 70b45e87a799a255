"""Systems over several trainings: mean EER, its interval, the spread of the trainings, difference to one system."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ham.errors import DataError
from ham.score.intervals import NUM_RESAMPLES, Interval, Speakers, percentile_interval, resampled_eers
from ham.score.metrics import Numbers, eer


@dataclass(frozen=True)
class Difference:
    """Mean EER of a system minus that of the reference; fractions.

    Attributes:
        value: the difference; negative where the system errs less.
        interval: its 95 % interval over the same draws of speakers.
        better: share of the draws in which the system errs less.
    """

    value: float
    interval: Interval
    better: float


@dataclass(frozen=True)
class SeedSummary:
    """One system on one list under one back-end, over its trainings; fractions.

    Attributes:
        system: its name.
        eers: EER of each training.
        interval: 95 % interval of their mean: bootstrap over the speakers, the trainings held fixed.
        difference: to the reference; None for the reference itself.
    """

    system: str
    eers: tuple[float, ...]
    interval: Interval
    difference: Difference | None

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
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> list[SeedSummary]:
    """Summarise systems on one list, all on the same draws of speakers.

    The interval says how the mean over these trainings depends on who was recorded. How much further trainings would
    differ is another matter: the spread over the seeds shows some of it, and three seeds show little.

    Args:
        systems: by name, for each training one score a trial.
        labels: 1 for a target trial, 0 for a non-target trial.
        enrol_speakers: the speaker of each trial's enrolment side.
        test_speakers: the speaker of each trial's test side.
        reference: the system that the others are compared with; where it is not among them there is no comparison.
        num_resamples: draws of the bootstrap.
        seed: of the draws.

    Returns:
        One summary a system, in their order.

    Raises:
        DataError: if scores, labels and speakers do not fit each other.
    """
    sets = [scores for trainings in systems.values() for scores in trainings]
    draws = resampled_eers(sets, labels, enrol_speakers, test_speakers, num_resamples=num_resamples, seed=seed)
    ends = np.cumsum([0, *(len(trainings) for trainings in systems.values())])
    means = {name: draws[:, ends[i] : ends[i + 1]].mean(axis=1) for i, name in enumerate(systems)}
    eers = {name: tuple(eer(scores, labels) for scores in trainings) for name, trainings in systems.items()}
    against = reference if reference is not None and reference in systems else None
    return [
        SeedSummary(
            name,
            eers[name],
            percentile_interval(means[name]),
            None
            if against is None or against == name
            else _difference(eers[name], eers[against], means[name] - means[against]),
        )
        for name in systems
    ]


def _difference(eers: Sequence[float], reference: Sequence[float], draws: NDArray[np.float64]) -> Difference:
    value = float(np.mean(eers)) - float(np.mean(reference))
    better = float((draws < 0).mean() + 0.5 * (draws == 0).mean())
    return Difference(value, percentile_interval(draws), better)


def summary_table(columns: Mapping[str, Sequence[SeedSummary]], reference: str) -> tuple[list[str], list[list[str]]]:
    """Head and rows of a table in per cent: mean [95 %] (lowest to highest training), difference [95 %].

    Args:
        columns: for each list and back-end the summaries of its systems; a system may be missing in some.
        reference: name of the system that differences are taken to.

    Returns:
        The head, and a row for each system, ``-`` where it is missing.

    Raises:
        DataError: if there is nothing to show.
    """
    if not columns:
        raise DataError("expected at least one list and back-end to summarise, found none")
    names = list(dict.fromkeys(summary.system for found in columns.values() for summary in found))
    compared = {name: any(summary.difference for summary in found) for name, found in columns.items()}
    head = ["system"]
    for name in columns:
        head += [name, f"minus {reference}"] if compared[name] else [name]
    rows = []
    for system in names:
        row = [system]
        for name, found in columns.items():
            row += _cells(next((s for s in found if s.system == system), None))[: 1 + compared[name]]
        rows.append(row)
    return head, rows


def _cells(summary: SeedSummary | None) -> tuple[str, str]:
    if summary is None:
        return "-", "-"
    low, high = (f"{100 * end:.2f}" for end in summary.interval)
    spread = f" ({100 * min(summary.eers):.2f} to {100 * max(summary.eers):.2f})" if len(summary.eers) > 1 else ""
    mean = f"{100 * summary.mean:.2f} [{low}, {high}]{spread}"
    if summary.difference is None:
        return mean, "-"
    low, high = (f"{100 * end:+.2f}" for end in summary.difference.interval)
    return mean, f"{100 * summary.difference.value:+.2f} [{low}, {high}]"
