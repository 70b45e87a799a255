r"""Choose thresholds on trials of known speakers: operating points with their error rates and intervals.

The interval of a threshold is over draws of the speakers, as that of an EER (:mod:`ham.score.intervals`), but by the
bootstrap, since a quantile has no useful influence of one speaker: S speakers are drawn with replacement, a target
trial then counts as often as its speaker was drawn, a non-target trial as often as its two speakers were, multiplied
(the vertex bootstrap: Snijders and Borgatti, Connections 22, 1999). The ends are percentiles, moved outwards to
Student's for few speakers (Hesterberg, The American Statistician 69, 2015); the one that is farther from the threshold
is taken on both sides. In simulations with 16 and 40 speakers whose thresholds are known, 91 to 98 of 100 such
intervals held them, where the two percentiles as they are held 74 to 97.

A false-alarm rate r gets a threshold only where the trials can tell it:

- at least 30 false alarms are expected: the measured rate is then within 30 % of the true one nine times in ten
  (Doddington et al., Speech Communication 31, 2000), if trials were independent;
- they are not, the speakers are what was drawn: among P pairs of speakers there must be 3 / r. Of fewer, none may
  be as alike as the most alike share r of all pairs, with a probability above 5 % (the "rule of three": Hanley and
  Lippman-Hand, JAMA 249, 1983).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import norm
from scipy.stats import t as student

from ham.score.calibration import fit
from ham.score.decisions import FALSE_ALARMS, Decisions, OperatingPoint
from ham.score.intervals import CONFIDENCE
from ham.score.metrics import ErrorRates, Numbers, det_points, error_rates, validated
from ham.words import count

PRIORS = {"min_dcf_p01": 0.01, "min_dcf_p05": 0.05}
"""Points of least detection cost, with the prior probability of a target trial."""

LEAST_ERRORS = 30
"""False alarms that must be expected; a point of another kind with fewer errors says so."""

LEAST_PAIRS = 3
"""Pairs of speakers, times the rate, that there must be."""

NUM_DRAWS = 1000
"""Draws of the speakers."""

NUM_LEVELS = 2000
"""Thresholds that a draw chooses from, spread over the whole curve."""

_DRAWS_AT_ONCE = 100

Row = NDArray[np.float64]
Index = NDArray[np.int64]


class _Cuts(NamedTuple):
    """Thresholds, each midway between the scores that it separates, and whatever the point names choose by."""

    threshold: Row
    miss: Row
    false_alarm: Row


def make_decisions(
    backend: str,
    scores: Numbers,
    labels: Numbers,
    enrol_speakers: Sequence[str],
    test_speakers: Sequence[str],
    whose: str,
    *,
    p_target: float = 0.01,
) -> Decisions:
    r"""Choose every operating point of a back-end, and train its log-likelihood ratios.

    The ratios are those of a calibration by :func:`ham.score.calibration.fit` of the score alone.

    Args:
        backend: what made the scores.
        scores: one score a trial, higher for "same speaker".
        labels: 1 for a target trial, 0 for a non-target trial.
        enrol_speakers: the speaker of each trial's enrolment side.
        test_speakers: the speaker of each trial's test side.
        whose: sentence that says whose trials they are.
        p_target: prior that the ratios are trained for.

    Returns:
        The decisions.

    Raises:
        DataError: as :func:`ham.score.metrics.validated`, or if the calibration finds no weights.
    """
    values, targets = validated(scores, labels)
    number = {speaker: at for at, speaker in enumerate(sorted({*enrol_speakers, *test_speakers}))}
    first, second = (np.array([number[one] for one in side], np.int64) for side in (enrol_speakers, test_speakers))
    cuts = _cuts(error_rates(values, targets))
    pairs = len(np.unique((np.minimum(first, second) * len(number) + np.maximum(first, second))[~targets]))
    reach = _reach(values, targets, (first, second), len(number))
    ratios = fit({"score": values}, targets.astype(np.int8), p_target)
    counts = int(targets.sum()), int((~targets).sum())
    points = [
        _none(name, note) if (note := too_few(name, counts[1], pairs)) else _point(name, cuts, reach[name], counts)
        for name in POINTS
    ]
    weight, offset = ratios.weights["score"], ratios.bias
    return Decisions(backend, weight, offset, tuple(points), whose, len(number), *counts)


POINTS = ("eer", *PRIORS, *FALSE_ALARMS)
"""The operating points, in the order in which they are shown."""


def too_few(name: str, num_nontarget: int, num_pairs: int) -> str:
    """Why trials cannot tell the threshold of a false-alarm rate.

    Args:
        name: of an operating point.
        num_nontarget: non-target trials.
        num_pairs: pairs of speakers that they are between.

    Returns:
        A sentence without its stop; empty where they can, and for points of another kind.
    """
    rate = FALSE_ALARMS.get(name)
    if rate is None:
        return ""
    if rate * num_pairs < LEAST_PAIRS - 1e-9:
        needed = math.ceil((1 + math.sqrt(1 + 8 * LEAST_PAIRS / rate)) / 2)
        return f"needs {needed} speakers, who make {round(LEAST_PAIRS / rate):,} pairs; found {num_pairs:,} pairs"
    if rate * num_nontarget < LEAST_ERRORS - 1e-9:
        return f"needs {round(LEAST_ERRORS / rate):,} non-target trials, found {num_nontarget:,}"
    return ""


def rates_at(threshold: float, scores: Numbers, labels: Numbers) -> tuple[float, float]:
    """Miss rate and false-alarm rate of a list at a threshold.

    Args:
        threshold: scores from it on are accepted.
        scores: one score a trial.
        labels: 1 for a target trial, 0 for a non-target trial; there are both.

    Returns:
        Two fractions.

    Raises:
        DataError: as :func:`ham.score.metrics.validated`.
    """
    values, targets = validated(scores, labels)
    accepted = values >= threshold
    return float((~accepted[targets]).mean()), float(accepted[~targets].mean())


def _none(name: str, note: str) -> OperatingPoint:
    return OperatingPoint(name, None, None, None, None, None, note)


def _point(name: str, cuts: _Cuts, reach: tuple[float, float], counts: tuple[int, int]) -> OperatingPoint:
    at = int(_chosen(name, cuts.miss, cuts.false_alarm))
    threshold, miss, false_alarm = (float(values[at]) for values in cuts)
    far = max(threshold - reach[0], reach[1] - threshold)
    note = "" if name in FALSE_ALARMS else _few_errors(round(miss * counts[0]), round(false_alarm * counts[1]))
    return OperatingPoint(name, threshold, threshold - far, threshold + far, miss, false_alarm, note)


def _few_errors(misses: int, alarms: int) -> str:
    if min(misses, alarms) >= LEAST_ERRORS:
        return ""
    return f"a rough guide: {count(misses, 'miss', 'misses')} and {count(alarms, 'false alarm')}"


def _chosen(name: str, miss: Row, false_alarm: Row) -> Index:
    """Which of the thresholds, along the last axis, a point takes."""
    if name in FALSE_ALARMS:  # the lowest at which there are no more
        return np.asarray(np.argmax(false_alarm <= FALSE_ALARMS[name] + 1e-12, axis=-1))
    if name in PRIORS:
        return np.asarray(np.argmin(PRIORS[name] * miss + (1 - PRIORS[name]) * false_alarm, axis=-1))
    return np.asarray(np.argmin(np.abs(miss - false_alarm), axis=-1))


def _cuts(rates: ErrorRates) -> _Cuts:
    """Midpoints, so that classes which do not overlap are cut in the middle; beyond the highest score, just above."""
    scores = rates.threshold[:-1]
    middle = np.concatenate([scores[:1], 0.5 * (scores[1:] + scores[:-1]), [np.nextafter(scores[-1], np.inf)]])
    return _Cuts(middle, rates.miss, rates.false_alarm)


def _reach(
    values: Row, targets: NDArray[np.bool_], sides: tuple[Index, Index], num_speakers: int
) -> dict[str, tuple[float, float]]:
    """Between which ends the threshold of every point lies in most draws."""
    rates = error_rates(values, targets)
    kept = np.searchsorted(rates.threshold, det_points(rates, NUM_LEVELS).threshold)
    threshold = _cuts(rates).threshold[kept]
    level = np.searchsorted(rates.threshold[kept[:-1]], values, side="right") - 1
    found: dict[str, list[Row]] = {name: [] for name in POINTS}
    for miss, false_alarm in _drawn(level, targets, sides, num_speakers, len(kept) - 1):
        for name, chosen in found.items():
            chosen.append(threshold[_chosen(name, miss, false_alarm)])
    tail = _tail(num_speakers)
    ends = {name: np.quantile(np.concatenate(chosen), [tail, 1 - tail]) for name, chosen in found.items()}
    return {name: (float(low), float(high)) for name, (low, high) in ends.items()}


def _tail(num_speakers: int) -> float:
    """Share of the draws beyond either end."""
    freedom = max(1, num_speakers - 1)
    reach = math.sqrt((freedom + 1) / freedom) * student.ppf((1 + CONFIDENCE) / 2, freedom)
    return float(norm.cdf(-reach))


def _drawn(
    level: Index, targets: NDArray[np.bool_], sides: tuple[Index, Index], num_speakers: int, num_levels: int
) -> Iterator[tuple[Row, Row]]:
    """Miss and false-alarm rates at every level, shape ``(draws, num_levels + 1)``, of some draws after others."""
    low, high = np.minimum(*sides), np.maximum(*sides)
    pairs, pair = np.unique((low * num_speakers + high)[~targets], return_inverse=True)
    of_speakers = _counts(low[targets], level[targets], (num_speakers, num_levels))
    of_pairs = _counts(pair, level[~targets], (len(pairs), num_levels))
    generator = np.random.default_rng(0)
    for _ in range(0, NUM_DRAWS, _DRAWS_AT_ONCE):
        drawn = generator.multinomial(num_speakers, np.full(num_speakers, 1 / num_speakers), _DRAWS_AT_ONCE)
        together = drawn[:, pairs // num_speakers] * drawn[:, pairs % num_speakers]
        below = [_share_below(counts, weights) for counts, weights in ((of_speakers, drawn), (of_pairs, together))]
        usable = np.isfinite(below[0][:, -1]) & np.isfinite(below[1][:, -1])
        yield below[0][usable], 1 - below[1][usable]


def _counts(group: Index, level: Index, shape: tuple[int, int]) -> csr_array:
    """Trials of each group at each level."""
    return csr_array((np.ones(len(group)), (group, level)), shape=shape)


def _share_below(counts: csr_array, weights: Index) -> Row:
    """Share of the weighted trials below each level, and 1; NaN where no trial has a weight."""
    at_level = (counts.T @ weights.T.astype(np.float64)).T
    below = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(at_level, axis=1)], axis=1)
    with np.errstate(invalid="ignore"):
        share: Row = below / below[:, -1:]
    return share
