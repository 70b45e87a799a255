"""Error rates against loops over thresholds, and the laws that any error rate obeys."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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
    return max(min(reversed(naive_points(scores, labels)), key=lambda point: abs(point[0] - point[1])))


def naive_min_dcf(scores: list[float], labels: list[int], p: float, c_miss: float, c_fa: float) -> float:
    costs = [c_miss * p * miss + c_fa * (1 - p) * fa for miss, fa in naive_points(scores, labels)]
    return min(costs) / min(c_miss * p, c_fa * (1 - p))


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


@pytest.mark.parametrize("method", ["interpolated", "published"])
def test_perfect_and_reversed(method: metrics.Method) -> None:
    assert metrics.eer([3, 4, 1, 2], [1, 1, 0, 0], method) == 0.0
    assert metrics.eer([1, 2, 3, 4], [1, 1, 0, 0], method) == 1.0
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
    for metric in (metrics.eer, metrics.min_dcf):
        with pytest.raises(DataError, match=message):
            metric(scores, labels)


@pytest.mark.parametrize("settings_", [{"p_target": 0.0}, {"p_target": 1.0}, {"c_miss": 0.0}, {"c_fa": -1.0}])
def test_min_dcf_refuses_settings_out_of_range(settings_: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        metrics.min_dcf([0.1, 0.2], [0, 1], **settings_)


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="interpolated, published"):
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
