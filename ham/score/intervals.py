r"""Confidence intervals of equal error rates, and of their differences, for speakers who were drawn by chance.

The trials of a list are not independent: every speaker takes part in many of them, and a hard speaker makes many
errors at once. It is the speakers who are drawn from a population; formulas for independent trials give intervals that
are much too narrow. Here the variance is the one that is robust to everything that trials with a common speaker share
("dyadic cluster-robust": Fafchamps and Gubert, J. of Development Economics 83, 2007; Aronow, Samii, Assenova, Political
Analysis 23, 2015), the quantile is Student's for as many speakers as there are, fewer where a few of them make most of
the errors, and the scale is the logit.

``python -m benchmarks.intervals`` holds all of it against simulated lists whose true rates are known.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from ham.errors import DataError
from ham.score.metrics import Numbers, validated

ENOUGH_SPEAKERS = 20
"""With fewer speakers an interval is a rough guide, and says so: its own width is then uncertain by a third or more."""

CONFIDENCE = 0.95
"""Probability that an interval holds the true rate."""

MOST_SHIFT = 0.5
"""Most that s^2 counts in the correction for skewness, which is the first term of a series and wrong where large."""

MOST_KURTOSIS = 7.0
"""Most that the kurtosis counts in the degrees of freedom, see :func:`speaker_freedom`."""

Speakers = Sequence[Hashable] | NDArray[np.generic]
Row = NDArray[np.float64]


class Interval(NamedTuple):
    """Ends of an interval, fractions."""

    low: float
    high: float


@dataclass(frozen=True)
class Influences:
    """An EER, and how much of it comes from whom.

    Attributes:
        eer: the (interpolated) equal error rate.
        speakers: what each speaker contributes, shape ``(S,)``: about the EER minus that without the speaker.
        pairs: what the trials between two speakers contribute, one number for each pair that has some.
        half_error: rate that half an error would make, of misses and false alarms alike.
    """

    eer: float
    speakers: Row
    pairs: Row
    half_error: float


class Estimate(NamedTuple):
    """A variance, and the degrees of freedom that it is known with."""

    variance: float
    freedom: float


def few_speakers(num_speakers: int) -> str:
    """What has to be said of the intervals of a short list of speakers.

    Args:
        num_speakers: of the list.

    Returns:
        A sentence without its stop; empty where there are enough.
    """
    if num_speakers >= ENOUGH_SPEAKERS:
        return ""
    return f"{num_speakers} speakers: intervals are a rough guide below {ENOUGH_SPEAKERS}"


def eer_interval(scores: Numbers, labels: Numbers, enrol_speakers: Speakers, test_speakers: Speakers) -> Interval:
    r"""95 % interval of the (interpolated) equal error rate over draws of the speakers.

    .. math:: \operatorname{logit} e + (1 - 2 e) s^2 \pm t_f s, \qquad s = \frac{\sqrt{V}}{e (1 - e)}

    with the variance V of :func:`speaker_variance` and the degrees of freedom f of :func:`speaker_freedom`. The middle
    term makes up for the skewness of an estimated rate, whose logit lies too low on average; s^2 counts up to
    ``MOST_SHIFT`` there. For few errors, e is at least what half an error would make, and V at least twice its square:
    a list without any error then has an interval from 0 to the highest rate that so few trials leave possible.

    It covers the choice of speakers; what further trainings would do is in
    :func:`ham.score.seeds.summarise_seeds`. Other recording conditions are covered by neither.

    Args:
        scores: one score a trial, higher for "same speaker".
        labels: 1 for a target trial, 0 for a non-target trial.
        enrol_speakers: the speaker of each trial's enrolment side: names or numbers.
        test_speakers: the speaker of each trial's test side.

    Returns:
        Low and high end, fractions; it holds the EER.

    Raises:
        DataError: as :func:`ham.score.metrics.validated`, or if the speakers do not fit the trials.
    """
    found = influences(scores, labels, enrol_speakers, test_speakers)
    estimate = Estimate(speaker_variance(found.speakers, found.pairs), speaker_freedom(found.speakers))
    return rate_interval(found.eer, estimate, found.half_error)


def rate_interval(rate: float, estimate: Estimate, half_error: float) -> Interval:
    """95 % interval of a rate on the logit scale, see :func:`eer_interval`.

    Args:
        rate: the estimated rate, a fraction.
        estimate: its variance.
        half_error: rate that half an error would make.

    Returns:
        Low and high end.
    """
    middle = min(max(rate, half_error), 1 - half_error)
    deviation = math.sqrt(max(estimate.variance, 2 * half_error**2)) / (middle * (1 - middle))
    reach = _quantile(estimate.freedom) * deviation
    centre = math.log(middle / (1 - middle)) + (1 - 2 * middle) * min(deviation**2, MOST_SHIFT)
    low, high = (1 / (1 + math.exp(-max(-700.0, min(700.0, centre + sign * reach)))) for sign in (-1, 1))
    return Interval(min(low, rate), max(high, rate))


def difference_interval(value: float, estimate: Estimate) -> Interval:
    """95 % interval of a difference of rates, ``value`` plus and minus Student's quantile times the standard error.

    Args:
        value: the difference.
        estimate: its variance.

    Returns:
        Low and high end; without width where the variance is 0.
    """
    reach = _quantile(estimate.freedom) * math.sqrt(estimate.variance)
    return Interval(value - reach, value + reach)


def _quantile(freedom: float) -> float:
    """Student's two-sided quantile."""
    return float(student.ppf((1 + CONFIDENCE) / 2, freedom))


def speaker_variance(speakers: Row, pairs: Row) -> float:
    r"""Variance of a rate (or of a difference of rates) over draws of the speakers.

    .. math:: V = \frac{S - 1}{S} \sum_a (J_a - \bar J)^2 - \sum_p d_p^2

    J is what each speaker contributes, as in the jackknife that leaves out one speaker with all trials. A trial between
    two speakers is in the sum of both, so that what belongs to the pair alone is counted twice there; the second sum
    takes it away once. V is at least half of the first sum.

    Args:
        speakers: :attr:`Influences.speakers`, or differences of those of two systems.
        pairs: :attr:`Influences.pairs`, likewise.

    Returns:
        The variance, at least 0.
    """
    num_speakers = len(speakers)
    first = (num_speakers - 1) / num_speakers * float(np.square(speakers - speakers.mean()).sum())
    return max(first - float(np.square(pairs).sum()), first / 2)


def speaker_freedom(speakers: Row) -> float:
    r"""Degrees of freedom of :func:`speaker_variance`, for the interval of a rate.

    .. math:: f = \frac{2 (S - 1)}{\min(\max(\kappa, 3), 7) - 1}, \quad \mathrm{Var}\,s^2 \approx (\kappa - 1) s^4 / S

    with the kurtosis :math:`\kappa` of what the speakers contribute: 3 where they are normal, which gives S - 1, and
    more where a few speakers make most of the errors; the variance is then known less well than their number suggests.
    The kurtosis of some tens of numbers is itself poorly known: beyond 7, a third of S - 1, it counts no further.

    Args:
        speakers: :attr:`Influences.speakers`.

    Returns:
        At least 1.
    """
    squares = np.square(speakers - speakers.mean())
    middle = float(squares.mean())
    kurtosis = float(np.square(squares).mean()) / middle**2 if middle else 3.0
    return max(1.0, 2 * (len(speakers) - 1) / (min(max(kurtosis, 3.0), MOST_KURTOSIS) - 1))


def influences(scores: Numbers, labels: Numbers, enrol_speakers: Speakers, test_speakers: Speakers) -> Influences:
    r"""Take an EER apart into what each speaker contributes.

    The EER e is the common value of miss rate m and false-alarm rate f at the threshold where they meet. To first
    order, where the list changes a little,

    .. math:: \Delta e = w \Delta m + (1 - w) \Delta f, \qquad w = \frac{|f'|}{|m'| + |f'|}

    with the slopes of both rates at that threshold. A trial's part is 1 - e if it is an error there and -e if not, over
    the number of trials of its kind; a speaker's part is the sum over the speaker's trials, scaled to what leaving the
    speaker out would change.

    Args:
        scores: one score a trial, higher for "same speaker".
        labels: 1 for a target trial, 0 for a non-target trial.
        enrol_speakers: the speaker of each trial's enrolment side.
        test_speakers: the speaker of each trial's test side.

    Returns:
        The EER and its parts; speakers in the order in which they first occur.

    Raises:
        DataError: as :func:`ham.score.metrics.validated`, or if the speakers do not fit the trials.
    """
    values, targets = validated(scores, labels)
    first, second, num_speakers = _numbered(enrol_speakers, test_speakers, len(values))
    rate, errors, weight = _crossing(values, targets)
    parts = errors - rate
    speakers = np.zeros(num_speakers)
    for kind, share in ((targets, weight), (~targets, 1 - weight)):
        total, count = _by_speaker(parts, kind, first, second, num_speakers)
        speakers += share * total / np.maximum(int(kind.sum()) - count, 1)
    num_targets, num_others = int(targets.sum()), int((~targets).sum())
    scaled = parts * np.where(targets, weight / num_targets, (1 - weight) / num_others)
    return Influences(
        rate, speakers, _by_pair(scaled, first, second, num_speakers), 0.125 * (1 / num_targets + 1 / num_others)
    )


def _by_speaker(
    parts: Row, kind: NDArray[np.bool_], first: NDArray[np.int64], second: NDArray[np.int64], num_speakers: int
) -> tuple[Row, NDArray[np.int64]]:
    """Sums and numbers of the trials of a kind that each speaker is in, a trial within a speaker once."""
    across = kind & (first != second)
    sides = np.concatenate([first[kind], second[across]])
    weights = np.concatenate([parts[kind], parts[across]])
    totals: Row = np.bincount(sides, weights, num_speakers).astype(np.float64)
    return totals, np.bincount(sides, minlength=num_speakers).astype(np.int64)


def _by_pair(parts: Row, first: NDArray[np.int64], second: NDArray[np.int64], num_speakers: int) -> Row:
    """Sums over the trials between the same two speakers, whichever side they are on."""
    across = first != second
    low, high = np.minimum(first, second)[across], np.maximum(first, second)[across]
    pairs, places = np.unique(low * num_speakers + high, return_inverse=True)
    sums: Row = np.bincount(places, parts[across], len(pairs)).astype(np.float64)
    return sums


def _crossing(values: Row, targets: NDArray[np.bool_]) -> tuple[float, Row, float]:
    """The EER, each trial's share of an error at its threshold, and the weight of the miss rate."""
    order = np.argsort(values, kind="stable")
    ordered, kinds = values[order], targets[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    below = np.append(starts, len(ordered))  # trials rejected at each threshold
    num_targets, num_others = int(kinds.sum()), int((~kinds).sum())
    missed = np.concatenate([[0], np.cumsum(kinds)])[below]
    miss, alarm = missed / num_targets, (num_others - (below - missed)) / num_others
    gap = miss - alarm
    at = int(np.searchsorted(gap, 0.0))
    share = float(gap[at - 1] / (gap[at - 1] - gap[at]))
    rate = float(miss[at - 1] + share * (miss[at] - miss[at - 1]))
    rejected = np.zeros(len(values))
    rejected[order[: below[at - 1]]] = 1.0
    rejected[order[below[at - 1] : below[at]]] = share
    return rate, np.where(targets, rejected, 1 - rejected), _miss_weight(miss, alarm, rate, num_targets, num_others)


def _miss_weight(miss: Row, alarm: Row, rate: float, num_targets: int, num_others: int) -> float:
    """The weight w: both slopes taken of logits, between the two thresholds at which a rate is twice the EER."""
    limit = min(2 * max(rate, 1 / num_targets, 1 / num_others), 0.5 + 0.5 * rate)
    left = max(int(np.searchsorted(-alarm, -limit, side="right")) - 1, 0)
    right = min(int(np.searchsorted(miss, limit)), len(miss) - 1)
    rise = _logit(miss[right], num_targets) - _logit(miss[left], num_targets)
    fall = _logit(alarm[left], num_others) - _logit(alarm[right], num_others)
    return fall / (rise + fall) if rise + fall > 0 else 0.5


def _logit(rate: float, count: int) -> float:
    """Of a rate of ``count`` trials, half an error added on either side."""
    return math.log((rate * count + 0.5) / (count - rate * count + 0.5))


def _numbered(enrol: Speakers, test: Speakers, num_trials: int) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    if len(enrol) != num_trials or len(test) != num_trials:
        found = f"{num_trials} trials, {len(enrol)} enrolment speakers, {len(test)} test speakers"
        raise DataError(f"expected the two speakers of every trial, found {found}")
    number: dict[Hashable, int] = {}
    codes = [
        np.fromiter((number.setdefault(speaker, len(number)) for speaker in side), np.int64, num_trials)
        for side in (_plain(enrol), _plain(test))
    ]
    return codes[0], codes[1], len(number)


def _plain(side: Speakers) -> Sequence[Hashable]:
    return side.tolist() if isinstance(side, np.ndarray) else side
