"""Whether a difference is more than chance, among several tested at once, and which one could have been seen."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

from ham.score.intervals import CONFIDENCE, Estimate

POWER = 0.8
"""Share of repetitions in which a difference must come out for it to count as one that is seen."""


def wald_p(value: float, estimate: Estimate) -> float:
    """Two-sided p of a difference: Student's t of the difference over its standard error.

    With the estimate of :func:`ham.score.seeds.summarise` speakers and trainings are crossed random effects, whose
    variances are estimated by moments, and the degrees of freedom are Satterthwaite's.

    Args:
        value: the difference.
        estimate: its variance.

    Returns:
        Between 0 and 1; 1 where neither the difference nor its variance is above 0.
    """
    error = math.sqrt(estimate.variance)
    if not error:
        return float(value == 0)
    return float(2 * student.sf(abs(value) / error, estimate.freedom))


def least_seen(estimate: Estimate) -> float:
    """The smallest true difference that comes out at the level of 5 % in ``POWER`` of the repetitions.

    Args:
        estimate: the variance of the difference.

    Returns:
        The sum of Student's quantiles for both, times the standard error.
    """
    quantiles = student.ppf([(1 + CONFIDENCE) / 2, POWER], estimate.freedom)
    return float(quantiles.sum() * math.sqrt(estimate.variance))


def holm(values: Sequence[float]) -> list[float]:
    """Correct the p of a family, so that one false finding among all of them has at most the probability asked for.

    Args:
        values: p of each test, of any dependence (Holm, Scandinavian J. of Statistics 6, 1979).

    Returns:
        The corrected p, in the same order.
    """
    number = len(values)
    order = np.argsort(values, kind="stable")
    stepped = np.asarray(values, np.float64)[order] * np.arange(number, 0, -1)
    found = np.empty(number)
    found[order] = np.minimum(np.maximum.accumulate(stepped), 1.0) if number else stepped
    return [float(value) for value in found]
