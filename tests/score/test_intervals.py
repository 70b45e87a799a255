"""Intervals of equal error rates against naive computations, and their behaviour on lists of known rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kurtosis, t

from benchmarks.intervals import Population, outcomes
from ham.errors import DataError
from ham.score.intervals import (
    ENOUGH_SPEAKERS,
    Estimate,
    difference_interval,
    eer_interval,
    few_speakers,
    influences,
    rate_interval,
    speaker_freedom,
    speaker_variance,
)
from ham.score.metrics import eer

Ints = NDArray[np.int64]


def make(
    num_speakers: int = 12, num_trials: int = 400, seed: int = 0, spread: float = 0.0, digits: int = 1
) -> tuple[NDArray[np.float64], Ints, Ints, Ints]:
    """Trials with tied scores; ``spread`` makes some speakers harder than others."""
    generator = np.random.default_rng(seed)
    enrol = generator.integers(num_speakers, size=num_trials)
    labels = generator.integers(2, size=num_trials)
    other = (enrol + generator.integers(1, num_speakers, size=num_trials)) % num_speakers
    test = np.where(labels == 1, enrol, other)
    hardness = spread * generator.normal(size=num_speakers)
    scores = generator.normal(size=num_trials) + labels * (2 + hardness[enrol])
    return scores.round(digits), labels, enrol, test


@pytest.mark.parametrize("digits", [1, 6])
@pytest.mark.parametrize("seed", range(8))
def test_the_parts_belong_to_the_eer(seed: int, digits: int) -> None:
    scores, labels, enrol, test = make(seed=seed, digits=digits)
    found = influences(scores, labels, enrol, test)
    assert found.eer == pytest.approx(eer(scores, labels), abs=1e-12)
    assert found.half_error == pytest.approx(0.125 / labels.sum() + 0.125 / (1 - labels).sum())
    assert len(found.speakers) == 12


def test_a_speakers_part_is_about_what_leaving_it_out_changes() -> None:
    scores, labels, enrol, test = make(num_speakers=30, num_trials=40_000, spread=0.6, digits=6)
    found = influences(scores, labels, enrol, test)
    order = list(dict.fromkeys([*enrol.tolist(), *test.tolist()]))
    changes = []
    for speaker in order:
        kept = (enrol != speaker) & (test != speaker)
        changes.append(eer(scores, labels) - eer(scores[kept], labels[kept]))
    np.testing.assert_allclose(found.speakers, changes, atol=0.3 * float(np.std(changes)))


def test_the_parts_are_sums_over_the_trials_of_speakers_and_pairs() -> None:
    scores, labels, enrol, test = make(seed=3, digits=6)
    found = influences(scores, labels, enrol, test)
    threshold = next(
        s for s in np.sort(scores) if (scores[labels == 1] <= s).mean() >= (scores[labels == 0] > s).mean()
    )
    wrong = np.where(labels == 1, scores <= threshold, scores > threshold).astype(float)
    wrong[scores == threshold] = np.nan  # whose share of an error is between
    pairs: dict[tuple[int, int], list[float]] = {}
    for error, label, a, b in zip(wrong, labels, enrol, test, strict=True):
        if not label:
            pairs.setdefault((min(a, b), max(a, b)), []).append(error - found.eer)
    naive = np.array([sum(own) for _, own in sorted(pairs.items())])
    codes = {name: at for at, name in enumerate(dict.fromkeys([*enrol.tolist(), *test.tolist()]))}
    ranked = sorted(range(len(pairs)), key=lambda i: tuple(sorted(codes[name] for name in sorted(pairs)[i])))
    ratio = found.pairs / naive[ranked]
    ratio = ratio[np.isfinite(ratio)]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)  # one weight, the same for all


def naive_parts(scores: list[float], labels: list[int], enrol: list[int], test: list[int]) -> dict[int, float]:
    """What each speaker contributes, by loops over the definitions."""
    rates, classes = (
        [],
        {kind: [s for s, label in zip(scores, labels, strict=True) if label == kind] for kind in (0, 1)},
    )
    thresholds = [*sorted(set(scores)), math.inf]
    for threshold in thresholds:  # rejected is what is below
        misses, alarms = (sum(s < threshold for s in classes[1]), sum(s >= threshold for s in classes[0]))
        rates.append((misses / len(classes[1]), alarms / len(classes[0])))
    at = next(i for i, (miss, alarm) in enumerate(rates) if miss >= alarm)
    (miss, alarm), (next_miss, next_alarm) = rates[at - 1], rates[at]
    share = (alarm - miss) / (alarm - miss + next_miss - next_alarm)
    rate = miss + share * (next_miss - miss)

    most = min(2 * max(rate, 1 / len(classes[1]), 1 / len(classes[0])), 0.5 + rate / 2)
    left = max(i for i, (_, alarm) in enumerate(rates) if alarm >= most)
    right = min(i for i, (miss, _) in enumerate(rates) if miss >= most)

    def odds(share: float, count: int) -> float:
        return math.log((share * count + 0.5) / ((1 - share) * count + 0.5))

    rise = odds(rates[right][0], len(classes[1])) - odds(rates[left][0], len(classes[1]))
    fall = odds(rates[left][1], len(classes[0])) - odds(rates[right][1], len(classes[0]))
    weight = {1: fall / (rise + fall), 0: rise / (rise + fall)}

    parts = {}
    for speaker in {*enrol, *test}:
        parts[speaker] = 0.0
        for kind in (0, 1):
            own = [
                s
                for s, label, a, b in zip(scores, labels, enrol, test, strict=True)
                if label == kind and speaker in (a, b)
            ]
            rejected = sum(1.0 if s < thresholds[at - 1] else share if s == thresholds[at - 1] else 0.0 for s in own)
            errors = rejected if kind else len(own) - rejected
            parts[speaker] += weight[kind] * (errors - rate * len(own)) / max(len(classes[kind]) - len(own), 1)
    return parts


@pytest.mark.parametrize("digits", [1, 6])
@pytest.mark.parametrize(("num_trials", "shift"), [(400, 0.0), (60, 0.0), (400, 1.5), (40, 2.0), (400, -2.5)])
def test_each_speakers_part_is_that_of_the_definition(num_trials: int, shift: float, digits: int) -> None:
    """Many errors, few, and on some lists hardly one: the slopes are then taken over what a single error makes."""
    for seed in range(6):
        scores, labels, enrol, test = make(num_trials=num_trials, seed=seed, spread=0.5, digits=digits)
        scores = scores + shift * labels
        found = influences(scores, labels, enrol, test)
        naive = naive_parts(*(one.tolist() for one in (scores, labels, enrol, test)))
        order = list(dict.fromkeys([*enrol.tolist(), *test.tolist()]))
        np.testing.assert_allclose(found.speakers, [naive[speaker] for speaker in order], rtol=1e-9, atol=1e-12)


def test_the_variance_is_the_jackknifes_less_what_pairs_count_twice() -> None:
    speakers, pairs = np.array([0.01, -0.02, 0.03, 0.0]), np.array([0.002, -0.001])
    mean = sum(speakers) / 4
    first = 3 / 4 * sum((one - mean) ** 2 for one in speakers)
    assert speaker_variance(speakers, pairs) == pytest.approx(first - 0.002**2 - 0.001**2)
    assert speaker_variance(speakers, 10 * pairs) == pytest.approx(first / 2)


def test_the_interval_is_students_on_the_logit_scale() -> None:
    interval = rate_interval(0.05, Estimate(0.01**2, 11), 1e-4)
    deviation = 0.01 / (0.05 * 0.95)
    centre = math.log(0.05 / 0.95) + 0.9 * deviation**2
    for end, sign in zip(interval, (-1, 1), strict=True):
        assert math.log(end / (1 - end)) == pytest.approx(centre + sign * t.ppf(0.975, 11) * deviation)
    low, high = difference_interval(0.01, Estimate(0.02**2, 5))
    assert (low, high) == (pytest.approx(0.01 - 0.02 * t.ppf(0.975, 5)), pytest.approx(0.01 + 0.02 * t.ppf(0.975, 5)))
    assert difference_interval(0.0, Estimate(0.0, 5)) == (0.0, 0.0)


def test_no_error_is_no_proof_of_perfection() -> None:
    scores, labels, enrol, test = make(digits=6)
    interval = eer_interval(scores + 20 * labels, labels, enrol, test)
    assert interval.low == 0.0
    assert 0.002 < interval.high < 0.05
    more = eer_interval(*(np.concatenate([one] * 10) for one in (scores + 20 * labels, labels, enrol, test)))
    assert more.high < interval.high / 5


def test_the_order_of_trials_and_the_names_of_speakers_do_not_matter() -> None:
    scores, labels, enrol, test = make()
    first = eer_interval(scores, labels, enrol, test)
    order = np.random.default_rng(1).permutation(len(scores))
    named = [f"spk{a}" for a in enrol[order]], [f"spk{b}" for b in test[order]]
    assert eer_interval(scores[order], labels[order], *named) == pytest.approx(first, rel=1e-9)
    assert eer_interval(3 * scores - 1, labels, test, enrol) == pytest.approx(first, rel=1e-9)


def test_the_interval_holds_the_eer() -> None:
    scores, labels, enrol, test = make(num_trials=2000)
    low, high = eer_interval(scores, labels, enrol, test)
    assert low < eer(scores, labels) < high


def test_speakers_that_differ_widen_the_interval() -> None:
    """The point of clustering: the same number of trials tells less when errors come from few speakers."""
    alike = eer_interval(*make(40, 8000, spread=0.0, digits=6))
    differing = eer_interval(*make(40, 8000, spread=1.0, digits=6))
    assert differing.high - differing.low > 1.5 * (alike.high - alike.low)


@pytest.mark.parametrize(("case", "speakers"), [("mild", 20), ("strong", 48), ("few", 6)])
def test_coverage_and_size_on_lists_of_known_rates(case: str, speakers: int) -> None:
    """A part of ``benchmarks.intervals``; of 300 lists a true 95 % gives 274 to 295, and a true 5 % at most 27."""
    found = np.array(list(outcomes(Population(case, speakers), 300, before=False)))
    assert 272 <= found[:, 0].sum() <= 298
    assert found[:, 1].sum() <= 27


def test_few_speakers_are_said() -> None:
    assert few_speakers(6) == f"6 speakers: intervals are a rough guide below {ENOUGH_SPEAKERS}"
    assert few_speakers(19)
    assert few_speakers(20) == ""


def test_two_speakers_still_give_numbers() -> None:
    low, high = eer_interval([0.9, 0.8, 0.3], [1, 1, 0], ["a", "b", "a"], ["a", "b", "b"])
    assert low == 0.0
    assert 0 < high <= 1


def test_refused() -> None:
    scores, labels, enrol, test = make()
    with pytest.raises(DataError, match="400 trials, 399 enrolment speakers"):
        eer_interval(scores, labels, enrol[1:], test)
    with pytest.raises(DataError, match="no error rate"):
        eer_interval([0.1], [1], ["a"], ["a"])


def test_degrees_of_freedom_are_those_that_the_variance_has() -> None:
    rng = np.random.default_rng(3)
    count = 40
    for draw, heavy in ((rng.standard_normal, False), (lambda size: rng.exponential(size=size) - 1, True)):
        samples = draw((4000, count))
        variances = samples.var(axis=1, ddof=1)
        wanted = 2 * variances.mean() ** 2 / variances.var()  # of the chi-squared law with the same spread
        found = np.median([speaker_freedom(sample) for sample in samples])
        assert found <= count - 1
        # The kurtosis of so few numbers is estimated too small where tails are heavy: between the truth and S - 1.
        assert (0.8 * wanted < found < 0.7 * (count - 1)) if heavy else found > 0.8 * wanted


def test_degrees_of_freedom_follow_the_kurtosis_up_to_7() -> None:
    rng = np.random.default_rng(5)
    for sample in (3 + rng.laplace(size=60), -2 + rng.exponential(size=12), 1 + rng.uniform(size=30)):
        counted = max(float(kurtosis(sample, fisher=False)), 3.0)
        assert counted < 7
        assert speaker_freedom(sample) == pytest.approx(2 * (len(sample) - 1) / (counted - 1))
    assert speaker_freedom(np.eye(1, 40)[0]) == pytest.approx(39 / 3)  # one of 40 makes all errors: a kurtosis of 37


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.3, 0.5])
def test_an_interval_of_hits_is_that_of_errors_from_the_other_end(rate: float) -> None:
    estimate = Estimate(0.02**2, 9)
    low, high = rate_interval(rate, estimate, 1e-3)
    assert rate_interval(1 - rate, estimate, 1e-3) == (pytest.approx(1 - high), pytest.approx(1 - low))


def test_one_speaker_and_equal_speakers_have_the_freedom_of_their_number() -> None:
    assert speaker_freedom(np.zeros(9)) == 8
    assert speaker_freedom(np.ones(1)) == 1
