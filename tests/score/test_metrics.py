"""Error rates against loops over thresholds, and the laws that any error rate obeys."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_curve

from ham.errors import DataError
from ham.score import metrics

TrialLists = tuple[list[float], list[int]]


def naive_points(scores: list[float], labels: list[int]) -> list[tuple[float, float]]:
    """(miss, false alarm) at every distinct score and above all of them, counted one by one."""
    targets = [s for s, label in zip(scores, labels, strict=True) if label == 1]
    others = [s for s, label in zip(scores, labels, strict=True) if label == 0]
    return [
        (sum(s < t for s in targets) / len(targets), sum(s >= t for s in others) / len(others))
        for t in [*sorted(set(scores)), float("inf")]
    ]


def naive_eer(scores: list[float], labels: list[int]) -> float:
    points = naive_points(scores, labels)
    for (miss, fa), (next_miss, next_fa) in itertools.pairwise(points):
        if miss - fa <= 0 <= next_miss - next_fa:
            share = (fa - miss) / ((next_miss - next_fa) - (miss - fa))
            return miss + share * (next_miss - miss)
    raise AssertionError("the rates never meet")


def naive_published(scores: list[float], labels: list[int]) -> float:
    """As the released scripts have it, but that equal gaps stay equal: rates are fractions."""
    num_target, num_nontarget = sum(labels), len(labels) - sum(labels)
    false_alarm, hits, _ = roc_curve(labels, scores)
    fa = [Fraction(round(rate * num_nontarget), num_nontarget) for rate in false_alarm]
    miss = [1 - Fraction(round(rate * num_target), num_target) for rate in hits]
    at = min(range(len(fa)), key=lambda i: abs(miss[i] - fa[i]))
    return float(max(miss[at], fa[at]))


def naive_min_dcf(scores: list[float], labels: list[int], p: float, c_miss: float, c_fa: float) -> float:
    costs = [c_miss * p * miss + c_fa * (1 - p) * fa for miss, fa in naive_points(scores, labels)]
    return min(costs) / min(c_miss * p, c_fa * (1 - p))


def naive_hull_eer(scores: list[float], labels: list[int]) -> float:
    """The lowest crossing of the diagonal by a line between any two operating points."""
    found = []
    for (miss, fa), (next_miss, next_fa) in itertools.combinations(naive_points(scores, labels), 2):
        gap, next_gap = miss - fa, next_miss - next_fa
        if gap <= 0 <= next_gap and gap < next_gap:
            found.append(miss + gap / (gap - next_gap) * (next_miss - miss))
    return min(found)


def naive_act_dcf(llrs: list[float], labels: list[int], p: float, c_miss: float, c_fa: float) -> float:
    threshold = math.log(c_fa * (1 - p) / (c_miss * p))
    misses = [llr < threshold for llr, label in zip(llrs, labels, strict=True) if label == 1]
    alarms = [llr >= threshold for llr, label in zip(llrs, labels, strict=True) if label == 0]
    cost = c_miss * p * sum(misses) / len(misses) + c_fa * (1 - p) * sum(alarms) / len(alarms)
    return cost / min(c_miss * p, c_fa * (1 - p))


def naive_cllr(llrs: list[float], labels: list[int]) -> float:
    costs: dict[int, list[float]] = {0: [], 1: []}
    for llr, label in zip(llrs, labels, strict=True):
        costs[label].append(math.log2(1 + math.exp(-llr if label else llr)))
    return sum(sum(cost) / len(cost) for cost in costs.values()) / 2


def naive_min_cllr(scores: list[float], labels: list[int]) -> float:
    """Pool neighbours until the share of targets rises; each pool gets its own ratio as its score."""
    blocks: list[list[int]] = []  # non-targets, targets
    for score in sorted(set(scores)):
        own = [label for s, label in zip(scores, labels, strict=True) if s == score]
        blocks.append([own.count(0), own.count(1)])
        while len(blocks) > 1 and blocks[-2][1] * sum(blocks[-1]) >= blocks[-1][1] * sum(blocks[-2]):
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    num_target, num_nontarget = labels.count(1), labels.count(0)
    total = 0.0
    for nontargets, targets in blocks:
        if nontargets and targets:
            odds = (targets / num_target) / (nontargets / num_nontarget)
            total += targets / num_target * math.log2(1 + 1 / odds) + nontargets / num_nontarget * math.log2(1 + odds)
    return total / 2


@st.composite
def trial_lists(draw: st.DrawFn) -> TrialLists:
    """Few distinct scores, so that ties within and between the classes are common."""
    targets = draw(st.lists(st.integers(-4, 6), min_size=1, max_size=12))
    others = draw(st.lists(st.integers(-6, 4), min_size=1, max_size=12))
    trials = draw(st.permutations([(s, 1) for s in targets] + [(s, 0) for s in others]))
    return [float(s) for s, _ in trials], [label for _, label in trials]


@settings(max_examples=200, deadline=None)
@given(trial_lists())
def test_metrics_equal_a_loop_over_thresholds(trials: TrialLists) -> None:
    scores, labels = trials
    rates = metrics.error_rates(scores, labels)
    points = np.stack([rates.miss, rates.false_alarm], axis=1)
    assert points == pytest.approx(np.array(naive_points(scores, labels)), abs=1e-12)
    assert metrics.eer(scores, labels) == pytest.approx(naive_eer(scores, labels), abs=1e-12)
    assert metrics.eer(scores, labels, "published") == pytest.approx(naive_published(scores, labels), abs=1e-12)
    for p, c_miss, c_fa in [(0.01, 1.0, 1.0), (0.05, 10.0, 1.0), (0.9, 1.0, 2.0)]:
        expected = naive_min_dcf(scores, labels, p, c_miss, c_fa)
        assert metrics.min_dcf(scores, labels, p, c_miss, c_fa) == pytest.approx(expected, abs=1e-12)
        actual = naive_act_dcf(scores, labels, p, c_miss, c_fa)
        assert metrics.act_dcf(scores, labels, p, c_miss, c_fa) == pytest.approx(actual, abs=1e-12)
    assert metrics.eer(scores, labels, "convex_hull") == pytest.approx(naive_hull_eer(scores, labels), abs=1e-12)
    assert metrics.cllr(scores, labels) == pytest.approx(naive_cllr(scores, labels), abs=1e-12)
    assert metrics.min_cllr(scores, labels) == pytest.approx(naive_min_cllr(scores, labels), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(trial_lists())
def test_laws(trials: TrialLists) -> None:
    scores, labels = np.array(trials[0]), np.array(trials[1])
    rate = metrics.eer(scores, labels)
    assert metrics.eer(np.exp(scores / 3), labels) == pytest.approx(rate, abs=1e-12)  # only the order matters
    assert metrics.eer(-scores, 1 - labels) == pytest.approx(rate, abs=1e-12)  # the classes change places
    assert metrics.eer(-scores, labels) == pytest.approx(1 - rate, abs=1e-12)
    assert metrics.eer(np.tile(scores, 2), np.tile(labels, 2)) == pytest.approx(rate, abs=1e-12)
    assert metrics.eer(scores, labels, "published") >= rate - 1e-12
    assert 0 <= metrics.min_dcf(scores, labels) <= 1
    assert metrics.eer(scores, labels, "convex_hull") <= min(rate, 0.5) + 1e-12


@settings(max_examples=100, deadline=None)
@given(trial_lists())
def test_laws_of_calibration(trials: TrialLists) -> None:
    scores, labels = np.array(trials[0]), np.array(trials[1])
    least = metrics.min_cllr(scores, labels)
    assert 0 <= least <= 1 + 1e-12
    assert metrics.min_cllr(np.exp(scores / 3), labels) == pytest.approx(least, abs=1e-12)  # only the order matters
    assert metrics.min_cllr(-scores, 1 - labels) == pytest.approx(least, abs=1e-12)
    assert metrics.cllr(-scores, 1 - labels) == pytest.approx(metrics.cllr(scores, labels), abs=1e-12)
    for llrs in (scores, scores / 5, scores + 2):  # monotone maps: none beats the best one
        assert metrics.cllr(llrs, labels) >= least - 1e-12
        for p_target in (0.01, 0.3, 0.9):
            bound = metrics.min_dcf(scores, labels, p_target)
            assert metrics.act_dcf(llrs, labels, p_target) >= bound - 1e-12
    hull = metrics.convex_hull(metrics.error_rates(scores, labels))
    for p_target in (0.01, 0.3, 0.9):  # the least cost is at a corner
        at_corners = (p_target * hull.miss + (1 - p_target) * hull.false_alarm).min() / min(p_target, 1 - p_target)
        assert at_corners == pytest.approx(metrics.min_dcf(scores, labels, p_target), abs=1e-12)


def test_costs_of_saying_nothing_and_of_certainty() -> None:
    labels = [1, 0, 0, 1, 0]
    assert metrics.cllr([0.0] * 5, labels) == pytest.approx(1.0, abs=1e-15)
    assert metrics.min_cllr([0.3] * 5, labels) == pytest.approx(1.0, abs=1e-15)
    assert metrics.act_dcf([0.0] * 5, labels, 0.01) == 1.0  # all rejected
    assert metrics.act_dcf([100.0] * 5, labels, 0.01) == pytest.approx(99.0)  # all accepted
    sure = [np.inf, -np.inf, -np.inf, np.inf, -np.inf]
    assert metrics.cllr(sure, labels) == metrics.min_cllr(sure, labels) == metrics.act_dcf(sure, labels) == 0.0
    assert metrics.cllr([-s for s in sure], labels) == np.inf
    assert metrics.min_cllr([-s for s in sure], labels) == pytest.approx(1.0, abs=1e-15)


def test_the_threshold_of_bayes_accepts_its_own_score() -> None:
    """At even odds the threshold is 0; costs move it as the prior does."""
    assert metrics.act_dcf([0.0, -1e-9], [1, 0], 0.5) == 0.0
    assert metrics.act_dcf([2.0, 1.0], [1, 0], 0.5, 1.0, np.exp(1.5)) == 0.0
    assert metrics.act_dcf([2.0, 1.0], [1, 0], 1 / (1 + np.exp(1.5))) == 0.0


def test_cllr_of_true_ratios() -> None:
    """Ratios of two normal distributions: what is measured is near the integral, and no map improves it by much."""
    generator = np.random.default_rng(2)
    labels = np.arange(200_000) % 2
    centre = 2.0
    llrs = generator.normal(size=len(labels)) * np.sqrt(2 * centre) + np.where(labels == 1, centre, -centre)
    grid = np.linspace(-20, 24, 40_001)
    density = np.exp(-np.square(grid - centre) / (4 * centre)) / np.sqrt(4 * np.pi * centre)
    expected = float((density * np.logaddexp(0, -grid)).sum() * (grid[1] - grid[0]) / np.log(2))
    assert metrics.cllr(llrs, labels) == pytest.approx(expected, abs=0.004)
    assert 0 <= metrics.cllr(llrs, labels) - metrics.min_cllr(llrs, labels) < 0.002
    assert metrics.act_dcf(llrs, labels, 0.05) - metrics.min_dcf(llrs, labels, 0.05) < 0.01
    for spoilt in (3 * llrs, llrs + 2):
        assert metrics.cllr(spoilt, labels) > metrics.cllr(llrs, labels) + 0.1
        assert metrics.min_cllr(spoilt, labels) == pytest.approx(metrics.min_cllr(llrs, labels), abs=1e-9)


@pytest.mark.parametrize(("method", "reverse"), [("interpolated", 1.0), ("published", 1.0), ("convex_hull", 0.5)])
def test_perfect_and_reversed(method: metrics.Method, reverse: float) -> None:
    assert metrics.eer([3, 4, 1, 2], [1, 1, 0, 0], method) == 0.0
    assert metrics.eer([1, 2, 3, 4], [1, 1, 0, 0], method) == reverse
    assert metrics.min_dcf([3, 4, 1, 2], [1, 1, 0, 0]) == 0.0
    assert metrics.min_dcf([1, 2, 3, 4], [1, 1, 0, 0]) == 1.0


def test_equal_scores_are_a_coin() -> None:
    assert metrics.eer([0.3] * 7, [1, 0, 0, 0, 0, 0, 0]) == 0.5


def test_eer_of_two_normal_distributions() -> None:
    """Means 2 apart, deviation 1: the rates meet at Phi(-1) = 0.158655."""
    generator = np.random.default_rng(0)
    labels = np.arange(200_000) % 2
    assert metrics.eer(generator.normal(size=len(labels)) + 2 * labels, labels) == pytest.approx(0.158655, abs=0.003)


@pytest.mark.parametrize(
    "convert",
    [list, np.asarray, torch.tensor, lambda x: torch.tensor(x, dtype=torch.bfloat16), lambda x: np.float32(x)],
)
def test_kinds_of_input(convert: Callable[[list[float]], Any]) -> None:
    scores, labels = [0.5, 0.25, 0.75, 0.125], [1, 0, 0, 0]
    assert metrics.eer(convert(scores), labels) == metrics.eer(scores, labels) == pytest.approx(1 / 3)


def test_labels_may_be_truth_values_and_scores_may_need_a_gradient() -> None:
    scores = torch.tensor([0.5, 0.25], requires_grad=True)
    assert metrics.eer(scores, torch.tensor([True, False])) == 0.0


def test_infinite_scores_keep_their_order() -> None:
    assert metrics.eer([np.inf, 1.0, -np.inf, 0.0], [1, 1, 0, 0]) == 0.0


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([0.1, float("nan")], [1, 0], "NaN 1 times, first at trial 2"),
        ([0.1, 0.2], [1, 1], "2 target and 0 non-target"),
        ([0.1, 0.2], [0, 0], "0 target and 2 non-target"),
        ([], [], "0 target and 0 non-target"),
        ([0.1, 0.2], [1], "2 scores and 1 labels"),
        ([0.1, 0.2], [1, 2], "found 2 at trial 2"),
        ([0.1, 0.2], [1, -1], "found -1 at trial 2"),
        ([0.1, 0.2], [1, float("nan")], "found nan at trial 2"),
        ([[0.1], [0.2]], [1, 0], r"shape \(2, 1\)"),
        (["a", "b"], [1, 0], "scores: expected one number a trial"),
        ([[0.1], [0.2, 0.3]], [1, 0], "scores: expected one number a trial"),
    ],
)
def test_refused(scores: list[float], labels: list[int], message: str) -> None:
    for metric in (metrics.eer, metrics.min_dcf, metrics.act_dcf, metrics.cllr, metrics.min_cllr):
        with pytest.raises(DataError, match=message):
            metric(scores, labels)


@pytest.mark.parametrize("settings_", [{"p_target": 0.0}, {"p_target": 1.0}, {"c_miss": 0.0}, {"c_fa": -1.0}])
def test_detection_costs_refuse_settings_out_of_range(settings_: dict[str, float]) -> None:
    for metric in (metrics.min_dcf, metrics.act_dcf):
        with pytest.raises(ValueError, match="expected"):
            metric([0.1, 0.2], [0, 1], **settings_)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="interpolated, published, convex_hull"):
        metrics.eer([0.1, 0.2], [0, 1], "median")


def test_det_points_are_operating_points_close_together() -> None:
    generator = np.random.default_rng(1)
    labels = np.arange(20_000) % 2
    rates = metrics.error_rates(generator.normal(size=len(labels)) + 3 * labels, labels)
    kept = metrics.det_points(rates, 300)
    everywhere = set(zip(rates.miss, rates.false_alarm, strict=True))
    assert 200 < len(kept.miss) <= 300
    assert set(zip(kept.miss, kept.false_alarm, strict=True)) <= everywhere
    assert (kept.miss[0], kept.false_alarm[0], kept.miss[-1], kept.false_alarm[-1]) == (0, 1, 1, 0)
    line = np.interp(rates.miss, kept.miss, kept.false_alarm)
    assert np.abs(line - rates.false_alarm)[(rates.miss > 0.001) & (rates.miss < 0.5)].max() < 0.03
    assert np.all(np.diff(kept.miss) >= 0)
    assert metrics.det_points(kept, 300) is kept


@pytest.mark.parametrize("seed", range(5))
def test_published_rule_on_a_long_list_equals_scikit_learn(seed: int) -> None:
    generator = np.random.default_rng(seed)
    labels = (generator.random(40_000) < 0.5).astype(int)
    scores = generator.normal(size=40_000) + 4.6 * labels
    false_alarm, hits, _ = roc_curve(labels, scores)
    at = np.nanargmin(np.absolute(1 - hits - false_alarm))
    expected = max(false_alarm[at], 1 - hits[at])
    assert metrics.eer(scores, labels, "published") == pytest.approx(expected, abs=1e-12)
