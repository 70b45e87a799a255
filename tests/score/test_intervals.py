"""The bootstrap over speakers against lists of repeated trials, and its statistical behaviour."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from numpy.typing import NDArray

from ham.errors import DataError
from ham.score.intervals import _SortedTrials, eer_interval, percentile_interval, resampled_eers
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


def true_eer(noise: NDArray[np.float64], dim: int) -> float:
    """EER of the model below, by integration: squared distances of normal points are scaled chi-square."""
    spread = np.square(noise)

    def miss(squared: float) -> float:
        return float(scipy.stats.chi2.sf(squared / (2 * spread), dim).mean())

    def gap(squared: float) -> float:
        scale = 2 + spread[:, None] + spread
        return miss(squared) - float(scipy.stats.chi2.cdf(squared / scale, dim).mean())

    return miss(scipy.optimize.brentq(gap, 1e-6, 1e3))


def gaussian_speakers(
    seed: int, noise: NDArray[np.float64], worse: float, dim: int
) -> tuple[list[NDArray[np.float64]], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Trials of 40 speakers, 10 utterances each: a normal point for a speaker, normal noise for an utterance.

    Speakers differ in their noise. The second system sees the same, with the noise ``worse`` times as long.
    """
    generator, num_speakers, num_utts = np.random.default_rng(seed), 40, 10
    speakers, errors, more = (generator.normal(size=(num_speakers, n, dim)) for n in (1, num_utts, num_utts))
    level = generator.choice(noise, size=(num_speakers, 1, 1))
    systems = [speakers + level * errors, speakers + level * (errors + np.sqrt(worse**2 - 1) * more)]
    one, other = np.triu_indices(num_utts, 1)
    own = np.repeat(np.arange(num_speakers), len(one))
    a = generator.integers(num_speakers, size=2000)
    b = (a + generator.integers(1, num_speakers, size=2000)) % num_speakers
    enrol, test = np.concatenate([own, a]), np.concatenate([own, b])
    first, second = (
        np.concatenate([np.tile(utts, num_speakers), generator.integers(num_utts, size=2000)]) for utts in (one, other)
    )
    labels = (np.arange(len(enrol)) < len(own)).astype(np.int64)
    return [-np.square(x[enrol, first] - x[test, second]).sum(axis=1) for x in systems], labels, enrol, test


def test_coverage_of_the_true_rate_and_of_the_true_difference() -> None:
    """Intervals of 95 % over 200 lists; a true 95 % gives 183 to 197 of 200, but once in 70 tries.

    The interval of a difference may hold the truth more often: what two systems do not share is noise of single
    utterances and trials, whose part the product weights overstate (Owen 2007).
    """
    noise, worse, dim = np.array([0.4, 0.6]), 1.15, 8
    first, second = true_eer(noise, dim), true_eer(noise * worse, dim)
    held = held_difference = 0
    for seed in range(200):
        systems, labels, enrol, test = gaussian_speakers(seed, noise, worse, dim)
        draws = resampled_eers(systems, labels, enrol, test, num_resamples=100, seed=seed)
        low, high = percentile_interval(draws[:, 0])
        held += low <= first <= high
        low, high = percentile_interval(draws[:, 1] - draws[:, 0])
        held_difference += low <= second - first <= high
    assert 183 <= held <= 197
    assert 183 <= held_difference <= 199


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
