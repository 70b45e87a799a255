"""Thresholds against scikit-learn's ROC, and against distributions whose thresholds and ratios are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, norm
from sklearn.metrics import roc_curve

from ham.score.decisions import Decisions, OperatingPoint
from ham.score.thresholds import POINTS, PRIORS, make_decisions, rates_at, too_few

DISTANCE = 4.0
"""Of the means of two normal distributions of variance 1."""

TRUE = {
    "eer": DISTANCE / 2,
    "far_1": norm.isf(0.01),
    **{name: DISTANCE / 2 + np.log((1 - p) / p) / DISTANCE for name, p in PRIORS.items()},
}

Trials = tuple[NDArray[np.float64], NDArray[np.int64], list[str], list[str]]


def simulate(num_speakers: int, num_utts: int, seed: int, shared: float = 0.5) -> Trials:
    """Every pair of utterances; that share of the variance belongs to the speakers and to pairs of them."""
    generator = np.random.default_rng(seed)
    speaker = np.repeat(np.arange(num_speakers), num_utts)
    enrol, test = (speaker[side] for side in np.triu_indices(len(speaker), 1))
    own, target, noise = (generator.normal(size=size) for size in (num_speakers, num_speakers, len(enrol)))
    pair = generator.normal(size=(num_speakers, num_speakers))
    common = np.sqrt(shared / 4) * (own[enrol] + own[test]) + np.sqrt(shared / 2) * pair[enrol, test]
    same = enrol == test
    scores = np.where(same, DISTANCE + np.sqrt(shared) * target[enrol], common) + np.sqrt(1 - shared) * noise
    return scores, same.astype(np.int64), [f"s{s:03d}" for s in enrol], [f"s{s:03d}" for s in test]


def decide(trials: Trials) -> Decisions:
    return make_decisions("cosine", *trials, "nobody's")


def known(found: Decisions) -> dict[str, OperatingPoint]:
    return {point.name: point for point in found.points if point.threshold is not None}


def test_points_are_those_of_scikit_learn() -> None:
    trials = simulate(26, 5, 0)
    scores, labels = trials[:2]
    alarm, hit, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    miss = 1 - hit
    best = {
        "eer": np.argmin(np.abs(miss - alarm)),
        "far_1": np.flatnonzero(alarm <= 0.01)[-1],
        **{name: np.argmin(p * miss + (1 - p) * alarm) for name, p in PRIORS.items()},
    }
    found = known(decide(trials))
    assert list(found) == ["eer", "min_dcf_p01", "min_dcf_p05", "far_1"]
    assert found["far_1"].note == ""
    for name, at in best.items():
        point = found[name]
        assert (point.miss, point.false_alarm) == pytest.approx((miss[at], alarm[at]))
        assert thresholds[at + 1] < point.threshold <= thresholds[at]  # accepts the same trials, no other one
        assert rates_at(point.threshold, scores, labels) == pytest.approx((miss[at], alarm[at]))
        assert point.low < point.threshold < point.high


def test_intervals_hold_the_true_threshold_about_as_often_as_they_say() -> None:
    hits = dict.fromkeys(TRUE, 0)
    for seed in range(40):
        for name, point in known(decide(simulate(25, 4, 100 + seed))).items():
            hits[name] += point.low <= TRUE[name] <= point.high
    assert all(34 <= count <= 40 for count in hits.values()), hits
    assert sum(hits.values()) < 160  # not so wide that they say nothing


def test_an_interval_is_over_speakers_and_not_over_trials() -> None:
    scores, labels, enrol, test = simulate(25, 4, 1)
    once = decide((scores, labels, enrol, test))
    thrice = decide((np.repeat(scores, 3), np.repeat(labels, 3), np.repeat(enrol, 3), np.repeat(test, 3)))
    for point, other in zip(once.points, thrice.points, strict=True):
        assert (point.threshold, point.low, point.high) == (other.threshold, other.low, other.high)
    alike = known(decide(simulate(25, 4, 1, shared=0.0)))["eer"]
    apart = known(decide(simulate(25, 4, 1, shared=0.9)))["eer"]
    assert apart.high - apart.low > 1.5 * (alike.high - alike.low)


def test_ratios_are_those_of_the_distributions() -> None:
    found = decide(simulate(60, 8, 2, shared=0.0))
    assert found.scale == pytest.approx(DISTANCE, rel=0.1)
    assert found.llr(DISTANCE / 2) == pytest.approx(0.0, abs=0.6)  # as likely from either
    assert (found.num_speakers, found.num_target, found.num_nontarget) == (60, 60 * 28, 60 * 59 // 2 * 64)


def test_classes_that_do_not_overlap_are_cut_in_the_middle() -> None:
    labels = np.repeat([1, 0], [30, 300])
    scores = np.concatenate([np.linspace(0.8, 0.9, 30), np.linspace(0.0, 0.4, 300)])
    names = [f"s{number % 30}" for number in range(330)]
    others = [*names[:30], *(f"s{(number * 7 + 1 + number % 30) % 30}" for number in range(300))]
    found = known(decide((scores, labels, names, others)))
    for name in ("eer", *PRIORS):
        assert found[name].threshold == pytest.approx(0.6)
        assert (found[name].miss, found[name].false_alarm) == (0.0, 0.0)
        assert found[name].note == "a rough guide: 0 misses and 0 false alarms"


@pytest.mark.parametrize(
    ("name", "rate", "speakers"), [("far_1", 0.01, 25), ("far_0_1", 1e-3, 78), ("far_0_01", 1e-4, 246)]
)
def test_a_false_alarm_rate_needs_speakers_and_trials(name: str, rate: float, speakers: int) -> None:
    pairs, trials = speakers * (speakers - 1) // 2, round(30 / rate)
    assert too_few(name, trials, pairs) == ""
    assert f"needs {speakers} speakers" in too_few(name, trials, (speakers - 1) * (speakers - 2) // 2)
    assert too_few(name, trials - 1, pairs) == f"needs {trials:,} non-target trials, found {trials - 1:,}"
    assert binom.pmf(0, round(3 / rate), rate) < 0.05  # the rule of three: none of them alike is unlikely
    assert too_few("eer", 1, 1) == ""


def test_too_few_speakers_leave_a_point_without_threshold() -> None:
    found = decide(simulate(16, 5, 0))
    assert [point.name for point in found.points] == list(POINTS)
    point = found.point("far_1")
    assert (point.threshold, point.low, point.high, point.miss, point.false_alarm) == (None,) * 5
    assert point.note == "needs 25 speakers, who make 300 pairs; found 120 pairs"


def test_the_same_trials_give_the_same_decisions() -> None:
    assert decide(simulate(12, 3, 5)) == decide(simulate(12, 3, 5))
