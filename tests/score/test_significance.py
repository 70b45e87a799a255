"""p, Holm's correction and power against simulations and worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from ham.score.intervals import Estimate, difference_interval
from ham.score.significance import holm, least_seen, wald_p


def test_p_is_that_of_a_t_test_and_agrees_with_the_interval() -> None:
    sample = np.random.default_rng(0).normal(0.4, 1, 12)
    estimate = Estimate(float(sample.var(ddof=1) / 12), 11)
    assert wald_p(float(sample.mean()), estimate) == pytest.approx(ttest_1samp(sample, 0).pvalue)
    edge = difference_interval(0.0, estimate).high
    assert wald_p(edge, estimate) == pytest.approx(0.05)
    assert wald_p(-edge, estimate) == pytest.approx(0.05)


def test_p_without_a_variance() -> None:
    assert wald_p(0.0, Estimate(0.0, 3)) == 1
    assert wald_p(0.1, Estimate(0.0, 3)) == 0


def test_the_least_difference_is_seen_in_four_of_five() -> None:
    generator = np.random.default_rng(1)
    freedom, variance = 12, 0.25
    true = least_seen(Estimate(variance, freedom))
    errors = np.sqrt(variance * generator.chisquare(freedom, 20000) / freedom)
    values = generator.normal(true, np.sqrt(variance), 20000)
    seen = np.mean([wald_p(v, Estimate(e**2, freedom)) < 0.05 for v, e in zip(values, errors, strict=True)])
    assert seen == pytest.approx(0.8, abs=0.03)


def test_holm_as_worked_by_hand() -> None:
    assert holm([0.04, 0.001, 0.03, 0.2]) == pytest.approx([0.09, 0.004, 0.09, 0.2])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([0.01]) == [0.01]
    assert holm([]) == []


def test_holm_keeps_the_share_of_families_with_a_false_finding() -> None:
    generator = np.random.default_rng(2)
    found = [min(holm(generator.uniform(size=8).tolist())) < 0.05 for _ in range(2000)]
    assert np.mean(found) == pytest.approx(0.05, abs=0.015)
