"""The bootstrap over speakers against lists of repeated trials, and its statistical behaviour."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ham.errors import DataError
from ham.score.intervals import _SortedTrials, eer_interval
from ham.score.metrics import eer


def make(
    num_speakers: int = 12, num_trials: int = 400, seed: int = 0, spread: float = 0.0, digits: int = 1
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Trials with tied scores; ``spread`` makes some speakers harder than others."""
    generator = np.random.default_rng(seed)
    enrol = generator.integers(num_speakers, size=num_trials)
    labels = generator.integers(2, size=num_trials)
    other = (enrol + generator.integers(1, num_speakers, size=num_trials)) % num_speakers
    test = np.where(labels == 1, enrol, other)
    hardness = spread * generator.normal(size=num_speakers)
    scores = generator.normal(size=num_trials) + labels * (2 + hardness[enrol])
    return scores.round(digits), labels, enrol, test


@pytest.mark.parametrize("seed", range(20))
def test_weighted_eer_equals_the_eer_of_repeated_trials(seed: int) -> None:
    scores, labels, enrol, test = make(seed=seed, num_trials=60)
    times = np.bincount(np.random.default_rng(seed).integers(12, size=12), minlength=12)
    repeats = [
        int(times[a]) if a == b else int(times[a] * times[b])
        for a, b in zip(enrol.tolist(), test.tolist(), strict=True)
    ]
    trials = _SortedTrials(scores, labels, enrol, test)
    # The bootstrap numbers speakers in the order of their first trial.
    first_seen = list(dict.fromkeys([*enrol.tolist(), *test.tolist()]))
    expected = eer(np.repeat(scores, repeats), np.repeat(labels, repeats))
    assert trials.weighted_eer(times[first_seen]) == pytest.approx(expected, abs=1e-12)


def test_weights_of_one_give_the_eer_itself() -> None:
    scores, labels, enrol, test = make()
    weighted = _SortedTrials(scores, labels, enrol, test).weighted_eer(np.ones(12, dtype=np.int64))
    assert weighted == pytest.approx(eer(scores, labels), abs=1e-12)


def test_no_targets_or_no_nontargets_give_no_eer() -> None:
    trials = _SortedTrials([0.1, 0.2, 0.3], [1, 0, 1], ["a", "a", "b"], ["a", "b", "b"])
    assert trials.weighted_eer(np.array([2, 0])) is None
    assert trials.weighted_eer(np.array([0, 0])) is None


def test_same_seed_same_interval_and_names_serve_as_well_as_numbers() -> None:
    scores, labels, enrol, test = make()
    first = eer_interval(scores, labels, enrol, test, num_resamples=50)
    named = eer_interval(scores, labels, [f"spk{a}" for a in enrol], [f"spk{b}" for b in test], num_resamples=50)
    assert first == named
    assert eer_interval(scores, labels, enrol, test, num_resamples=50, seed=1) != first


def test_interval_holds_the_eer_and_grows_with_confidence() -> None:
    scores, labels, enrol, test = make(num_trials=2000)
    narrow = eer_interval(scores, labels, enrol, test, num_resamples=300, confidence=0.5)
    wide = eer_interval(scores, labels, enrol, test, num_resamples=300, confidence=0.99)
    assert wide.low < narrow.low < eer(scores, labels) < narrow.high < wide.high


def test_speakers_that_differ_widen_the_interval() -> None:
    """The point of clustering: the same number of trials tells less when errors come from few speakers."""
    alike = eer_interval(*make(40, 8000, spread=0.0, digits=6), num_resamples=200)
    differing = eer_interval(*make(40, 8000, spread=1.0, digits=6), num_resamples=200)
    assert differing.high - differing.low > 1.5 * (alike.high - alike.low)


def test_coverage_of_the_true_rate() -> None:
    """Of 60 lists of 40 speakers, at least 50 intervals of 95 % hold the rate of a million speakers."""
    truth = eer(*make(1_000_000, 1_000_000, seed=99, spread=0.7, digits=6)[:2])
    held = 0
    for seed in range(60):
        low, high = eer_interval(*make(40, 1500, seed=seed, spread=0.7, digits=6), num_resamples=100)
        held += low <= truth <= high
    assert held >= 50


def test_two_speakers_still_give_numbers() -> None:
    interval = eer_interval([0.9, 0.8, 0.3], [1, 1, 0], ["a", "b", "a"], ["a", "b", "b"], num_resamples=20)
    assert interval == (0.0, 0.0)


def test_refused() -> None:
    scores, labels, enrol, test = make()
    with pytest.raises(DataError, match="400 trials, 399 enrolment speakers"):
        eer_interval(scores, labels, enrol[1:], test)
    with pytest.raises(ValueError, match="confidence"):
        eer_interval(scores, labels, enrol, test, confidence=1.0)
    with pytest.raises(ValueError, match="num_resamples"):
        eer_interval(scores, labels, enrol, test, num_resamples=0)
    with pytest.raises(DataError, match="no error rate"):
        eer_interval([0.1], [1], ["a"], ["a"])
