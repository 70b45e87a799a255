r"""Error rates of a trial list: the ROC, the equal error rate, the minimum detection cost, points of a DET curve.

A trial is accepted when its score is at least the threshold. With ``T`` target and ``N`` non-target trials,

.. math::
    P_{miss}(t) = \frac{|\{target: s < t\}|}{T}, \qquad P_{fa}(t) = \frac{|\{nontarget: s \ge t\}|}{N}

Everything here needs one sort of the scores. Rates are fractions, not per cent.

``act_dcf`` and ``cllr`` judge scores as natural logarithms of likelihood ratios, which :mod:`ham.score.calibration`
makes; all else sees only their order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression
from scipy.special import rel_entr

from ham.errors import DataError

Numbers: TypeAlias = NDArray[np.generic] | torch.Tensor | Sequence[float] | Sequence[int]
"""What scores and labels may be given as: an array, a tensor on any device, or a list."""

Method: TypeAlias = Literal["interpolated", "published", "convex_hull"]

STRAIGHT = 1e-10
"""Second differences of rates below are rounding: rates of a billion trials differ by more."""

DET_POINTS = 400
"""Points that :func:`det_points` keeps: finer than a line of one pixel on a plot 400 pixels wide."""


@dataclass(frozen=True)
class ErrorRates:
    """Every operating point of a trial list, from "accept everything" to "reject everything".

    Attributes:
        threshold: the distinct scores in ascending order, then infinity, shape ``(K + 1,)``.
        miss: share of target trials below each threshold, rising from 0 to 1, shape ``(K + 1,)``.
        false_alarm: share of non-target trials at or above each threshold, falling from 1 to 0, shape ``(K + 1,)``.
    """

    threshold: NDArray[np.float64]
    miss: NDArray[np.float64]
    false_alarm: NDArray[np.float64]


def validated(scores: Numbers, labels: Numbers) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Check scores and labels and turn them into arrays.

    Args:
        scores: one score a trial, higher for "same speaker"; infinities are allowed, NaN is not.
        labels: 1 for a target trial, 0 for a non-target trial.

    Returns:
        The scores in float64 and whether each trial is a target, both of shape ``(M,)``.

    Raises:
        DataError: if the two do not fit each other, a score is NaN, a label is neither 0 nor 1, or there are no
            target or no non-target trials.
    """
    values, classes = _as_vector(scores, "scores"), _as_vector(labels, "labels")
    if len(values) != len(classes):
        raise DataError(f"expected as many labels as scores, found {len(values)} scores and {len(classes)} labels")
    bad = np.flatnonzero(np.isnan(values))
    if len(bad):
        raise DataError(f"scores: expected numbers, found NaN {len(bad)} times, first at trial {bad[0] + 1}")
    bad = np.flatnonzero((classes != 0) & (classes != 1))
    if len(bad):
        found = f"{classes[bad[0]]:g} at trial {bad[0] + 1} ({len(bad)} of {len(classes)} labels are wrong)"
        raise DataError(f"labels: expected 1 (target) or 0 (non-target), found {found}")
    targets = classes == 1
    _require_both(int(targets.sum()), len(targets))
    return values, targets


def _as_vector(values: Numbers, name: str) -> NDArray[np.float64]:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().to(torch.float64).numpy()
    try:
        vector = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: expected one number a trial, found something else ({error})") from error
    if vector.ndim != 1:
        raise DataError(f"{name}: expected one number a trial, found an array of shape {vector.shape}")
    return vector


def _require_both(num_target: int, num_trials: int) -> None:
    if not 0 < num_target < num_trials:
        found = f"{num_target} target and {num_trials - num_target} non-target trials"
        raise DataError(f"labels: expected target and non-target trials, found {found}; no error rate is defined")


def error_rates(scores: Numbers, labels: Numbers) -> ErrorRates:
    """Miss and false-alarm rate at every threshold that changes a decision.

    Trials of equal score are accepted or rejected together: they make one operating point.

    Args:
        scores: one score a trial, higher for "same speaker".
        labels: 1 for a target trial, 0 for a non-target trial.

    Returns:
        The operating points in the order of rising thresholds.

    Raises:
        DataError: as :func:`validated`.
    """
    values, targets = validated(scores, labels)
    order = np.argsort(values)
    values, targets = values[order], targets[order]
    starts = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])
    below = np.append(starts, len(values))
    targets_below = np.concatenate([[0], np.cumsum(targets)])[below]
    num_target = targets_below[-1]
    num_nontarget = len(values) - num_target
    return ErrorRates(
        threshold=np.append(values[starts], np.inf),
        miss=targets_below / num_target,
        false_alarm=(num_nontarget - (below - targets_below)) / num_nontarget,
    )


def eer(scores: Numbers, labels: Numbers, method: Method = "interpolated") -> float:
    """Equal error rate: where the miss rate and the false-alarm rate meet.

    ``interpolated`` joins neighbouring operating points by straight lines and takes the point where the two rates
    are equal. Nothing but the order of the scores matters: perfect separation gives 0, the reverse 1, equal
    scores 0.5. ``published`` is the rule behind the released HAM-Softmax numbers: the larger of the two rates
    at the corner of the ROC where they are nearest (of two equally near ones, the one with the higher threshold);
    corners only, because scikit-learn's ``roc_curve`` leaves out what lies on a straight line between two others. It
    is never below ``interpolated``. ``convex_hull`` joins the corners of :func:`convex_hull` instead of all points:
    never above ``interpolated``, nor above 0.5.

    Args:
        scores: one score a trial, higher for "same speaker".
        labels: 1 for a target trial, 0 for a non-target trial.
        method: ``interpolated``, ``published`` or ``convex_hull``.

    Returns:
        A fraction in 0..1, not per cent.

    Raises:
        DataError: as :func:`validated`.
        ValueError: if ``method`` has another name.
    """
    if method not in _METHODS:
        raise ValueError(f"unknown EER method {method!r}: expected one of {', '.join(_METHODS)}")
    return _METHODS[method](error_rates(scores, labels))


def _crossing(rates: ErrorRates) -> float:
    gap = rates.miss - rates.false_alarm
    after = int(np.searchsorted(gap, 0.0))  # never 0: the first gap is -1
    share = gap[after - 1] / (gap[after - 1] - gap[after])
    return float(rates.miss[after - 1] + share * (rates.miss[after] - rates.miss[after - 1]))


def _nearest(rates: ErrorRates) -> float:
    """At a corner of the ROC, as scikit-learn finds them.

    Left out are points on a straight line between their neighbours, but the first, the last, and the one that accepts
    the highest score only.
    """
    corner = np.ones(len(rates.miss), bool)
    bends = [np.abs(np.diff(side[:-1], 2)) > STRAIGHT for side in (rates.miss, rates.false_alarm)]
    corner[1:-2] = bends[0] | bends[1]
    rates = ErrorRates(rates.threshold[corner], rates.miss[corner], rates.false_alarm[corner])
    gap = np.abs(rates.miss - rates.false_alarm)
    nearest = int(np.flatnonzero(gap <= gap.min() + STRAIGHT)[-1])
    return float(max(rates.miss[nearest], rates.false_alarm[nearest]))


def convex_hull(rates: ErrorRates) -> ErrorRates:
    """Corners of the lower convex hull of miss over false alarm: the best that any rescoring in order can reach.

    Between two corners the trials are pooled, as pool-adjacent-violators does it: in terms of the thresholds a
    segment's share of targets rises from one to the next. Linear time.

    Args:
        rates: all operating points.

    Returns:
        The corners, in the same order; the two ends are among them.
    """
    targets, nontargets = np.diff(rates.miss), -np.diff(rates.false_alarm)
    weight = targets + nontargets
    corners = isotonic_regression(targets / weight, weights=weight).blocks
    return ErrorRates(rates.threshold[corners], rates.miss[corners], rates.false_alarm[corners])


_METHODS: Mapping[str, Callable[[ErrorRates], float]] = {
    "interpolated": _crossing,
    "published": _nearest,
    "convex_hull": lambda rates: _crossing(convex_hull(rates)),
}


def min_dcf(scores: Numbers, labels: Numbers, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    r"""Minimum normalised detection cost.

    .. math::
        \min_t \frac{c_{miss}\, p\, P_{miss}(t) + c_{fa} (1 - p) P_{fa}(t)}
                    {\min(c_{miss}\, p,\; c_{fa} (1 - p))}

    as in the NIST speaker recognition evaluations. The minimum runs over all thresholds, "accept everything" and
    "reject everything" included, so that the result is at most 1.

    Args:
        scores: one score a trial, higher for "same speaker".
        labels: 1 for a target trial, 0 for a non-target trial.
        p_target: prior probability ``p`` of a target trial, strictly between 0 and 1.
        c_miss: cost of a miss, positive.
        c_fa: cost of a false alarm, positive.

    Returns:
        A cost in 0..1.

    Raises:
        DataError: as :func:`validated`.
        ValueError: if ``p_target`` or a cost is out of range.
    """
    cost_miss, cost_fa = _costs(p_target, c_miss, c_fa)
    rates = error_rates(scores, labels)
    cost = cost_miss * rates.miss + cost_fa * rates.false_alarm
    return float(cost.min() / min(cost_miss, cost_fa))


def _costs(p_target: float, c_miss: float, c_fa: float) -> tuple[float, float]:
    """Expected cost of missing every target, and of accepting every non-target."""
    if not 0 < p_target < 1:
        raise ValueError(f"expected p_target strictly between 0 and 1, found {p_target}")
    if not (c_miss > 0 and c_fa > 0):
        raise ValueError(f"expected positive costs, found c_miss {c_miss} and c_fa {c_fa}")
    return c_miss * p_target, c_fa * (1 - p_target)


def act_dcf(llrs: Numbers, labels: Numbers, p_target: float = 0.01, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    r"""Actual normalised detection cost: at the threshold that Bayes' rule gives, not at the best one.

    A trial is accepted when its log-likelihood ratio is at least
    :math:`\log\frac{c_{fa} (1 - p)}{c_{miss}\, p}`. The cost is that of :func:`min_dcf`; it exceeds it by what
    the calibration loses, and may exceed 1.

    Args:
        llrs: one log-likelihood ratio a trial, natural logarithm.
        labels: 1 for a target trial, 0 for a non-target trial.
        p_target: prior probability ``p`` of a target trial, strictly between 0 and 1.
        c_miss: cost of a miss, positive.
        c_fa: cost of a false alarm, positive.

    Returns:
        A cost, at least 0.

    Raises:
        DataError: as :func:`validated`.
        ValueError: if ``p_target`` or a cost is out of range.
    """
    cost_miss, cost_fa = _costs(p_target, c_miss, c_fa)
    values, targets = validated(llrs, labels)
    accepted = values >= np.log(cost_fa / cost_miss)
    cost = cost_miss * (~accepted[targets]).mean() + cost_fa * accepted[~targets].mean()
    return float(cost / min(cost_miss, cost_fa))


def cllr(llrs: Numbers, labels: Numbers) -> float:
    r"""Cost of log-likelihood ratios, in bits: the detection cost averaged over all priors.

    .. math::
        \frac{1}{2} \left( \operatorname{mean}_{target} \log_2 (1 + e^{-\ell})
                           + \operatorname{mean}_{nontarget} \log_2 (1 + e^{\ell}) \right)

    (Bruemmer and du Preez, "Application-independent evaluation of speaker detection", CSL 20, 2006.) Ratios of 1
    throughout give 1 bit; more than that is worse than to say nothing.

    Args:
        llrs: one log-likelihood ratio a trial, natural logarithm.
        labels: 1 for a target trial, 0 for a non-target trial.

    Returns:
        Bits, at least 0; infinite if a trial is wrong with certainty.

    Raises:
        DataError: as :func:`validated`.
    """
    values, targets = validated(llrs, labels)
    miss, false_alarm = np.logaddexp(0.0, -values[targets]).mean(), np.logaddexp(0.0, values[~targets]).mean()
    return float(0.5 * (miss + false_alarm) / np.log(2.0))


def min_cllr(scores: Numbers, labels: Numbers) -> float:
    r"""The least :func:`cllr` that any non-decreasing map of the scores reaches: what discrimination alone costs.

    The best map gives each segment of :func:`convex_hull`, with the share :math:`t` of all targets and :math:`n` of
    all non-targets, the ratio :math:`t / n`, so that with no map in sight the cost is

    .. math:: \frac{1}{2} \sum \left( t \log_2 \frac{t + n}{t} + n \log_2 \frac{t + n}{n} \right)

    Args:
        scores: one score a trial, higher for "same speaker"; only their order matters.
        labels: 1 for a target trial, 0 for a non-target trial.

    Returns:
        Bits in 0..1.

    Raises:
        DataError: as :func:`validated`.
    """
    hull = convex_hull(error_rates(scores, labels))
    targets, nontargets = np.diff(hull.miss), -np.diff(hull.false_alarm)
    both = targets + nontargets
    # No term is above 0; the absolute value turns the -0.0 of classes that do not overlap into 0.0 as well.
    return float(abs(0.5 * (rel_entr(targets, both) + rel_entr(nontargets, both)).sum() / np.log(2.0)))


def det_points(rates: ErrorRates, num_points: int = DET_POINTS) -> ErrorRates:
    """Choose the operating points that a DET curve needs, so that it can be drawn from a small file.

    The points are spread evenly along the curve as it looks on logarithmic-odds axes (close to the probit axes of a
    DET plot). Each kept point is a true operating point; the two ends are kept.

    Args:
        rates: all operating points.
        num_points: the most points to keep, at least 2.

    Returns:
        The kept points, in the same order.
    """
    if len(rates.miss) <= num_points:
        return rates
    step = np.abs(np.diff(_log_odds(rates.miss))) + np.abs(np.diff(_log_odds(rates.false_alarm)))
    along = np.concatenate([[0.0], np.cumsum(step)])
    kept = np.unique(np.searchsorted(along, np.linspace(0.0, along[-1], num_points)))
    kept = np.union1d(np.minimum(kept, len(along) - 1), [0, len(along) - 1])[-num_points:]
    return ErrorRates(rates.threshold[kept], rates.miss[kept], rates.false_alarm[kept])


def _log_odds(rate: NDArray[np.float64]) -> NDArray[np.float64]:
    least = 0.5 * min(
        rate[rate > 0].min(), 1 - rate[rate < 1].max()
    )  # 0 and 1 have none: half an error stands for them
    inside = np.clip(rate, least, 1 - least)
    odds: NDArray[np.float64] = np.log(inside / (1 - inside))
    return odds
