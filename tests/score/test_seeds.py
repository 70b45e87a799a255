"""Several trainings of several systems on one list."""

from __future__ import annotations

import numpy as np
import pytest

from ham.errors import DataError
from ham.score.intervals import (
    Estimate,
    difference_interval,
    eer_interval,
    influences,
    rate_interval,
    speaker_freedom,
    speaker_variance,
)
from ham.score.metrics import eer
from ham.score.seeds import summarise_seeds


def trials(num_speakers: int = 12, seed: int = 0) -> tuple[np.ndarray, list[str], list[str]]:
    rng = np.random.default_rng(seed)
    pairs = rng.integers(num_speakers, size=(600, 2))
    pairs[:200, 1] = pairs[:200, 0]
    names = [f"s{n}" for n in range(num_speakers)]
    return (pairs[:, 0] == pairs[:, 1]).astype(int), [names[a] for a, _ in pairs], [names[b] for _, b in pairs]


def scores(labels: np.ndarray, gap: float, seed: int) -> np.ndarray:
    return labels * gap + np.random.default_rng(seed).normal(size=len(labels))


def test_one_training_has_the_interval_of_its_list() -> None:
    labels, enrol, test = trials()
    values = scores(labels, 2.0, 1)
    (found,) = summarise_seeds({"a": [values]}, labels, enrol, test, reference="a")
    assert found.mean == eer(values, labels)
    assert found.interval == eer_interval(values, labels, enrol, test)
    assert found.difference is None


def logit(rate: float) -> float:
    return float(np.log(rate / (1 - rate)))


def test_trainings_add_the_variance_of_all_systems() -> None:
    labels, enrol, test = trials()
    sets = [scores(labels, gap, i) for i, gap in enumerate((2.0, 2.1, 1.4, 1.5, 1.2))]
    good, poor = summarise_seeds({"good": sets[:2], "poor": sets[2:]}, labels, enrol, test, reference="good")
    assert poor.eers == tuple(eer(one, labels) for one in sets[2:])
    assert poor.num_speakers == 12
    parts = [influences(one, labels, enrol, test) for one in sets]
    speakers, pairs = np.array([one.speakers for one in parts]), np.array([one.pairs for one in parts])
    logits = [logit(eer(one, labels)) for one in sets]
    scatter = (np.var(logits[:2], ddof=1) + 2 * np.var(logits[2:], ddof=1)) / 3

    def expected(of_speakers: float, freedom: float, *spreads: float) -> Estimate:
        variance = of_speakers + sum(spreads)
        return Estimate(variance, variance**2 / (of_speakers**2 / freedom + sum(spreads) ** 2 / 3))

    spread = [scatter * (one.mean * (1 - one.mean)) ** 2 / len(one.eers) for one in (good, poor)]
    own = speaker_variance(speakers[:2].mean(0), pairs[:2].mean(0))
    known = expected(own, speaker_freedom(speakers[:2].mean(0)), spread[0])
    assert good.interval == pytest.approx(rate_interval(good.mean, known, parts[0].half_error))
    both = speaker_variance(*(one[2:].mean(0) - one[:2].mean(0) for one in (speakers, pairs)))
    assert poor.difference is not None
    assert poor.difference.value == pytest.approx(poor.mean - good.mean)
    wanted = difference_interval(poor.difference.value, expected(both, 11, *spread))
    assert poor.difference.interval == pytest.approx(wanted)


def test_a_system_with_one_training_gets_nothing_from_the_trainings_of_others() -> None:
    labels, enrol, test = trials()
    sets = [scores(labels, gap, i) for i, gap in enumerate((2.0, 1.4, 1.6))]
    single, _ = summarise_seeds({"one": sets[:1], "two": sets[1:]}, labels, enrol, test, reference="one")
    assert single.interval == eer_interval(sets[0], labels, enrol, test)


def test_a_system_compared_with_its_twin_differs_by_nothing() -> None:
    labels, enrol, test = trials()
    values = scores(labels, 1.5, 3)
    _, twin = summarise_seeds({"a": [values], "b": [3 * values + 1]}, labels, enrol, test, reference="a")
    assert twin.difference is not None
    assert twin.difference.value == twin.difference.interval.low == twin.difference.interval.high == 0


def test_pairing_removes_what_hard_speakers_do_to_both() -> None:
    labels, enrol, test = trials()
    values = scores(labels, 1.5, 3)
    near = values + 0.05 * np.random.default_rng(5).normal(size=len(values))
    a, b = summarise_seeds({"a": [values], "b": [near]}, labels, enrol, test, reference="a")
    assert b.difference is not None
    width = b.difference.interval.high - b.difference.interval.low
    assert width < 0.3 * (a.interval.high - a.interval.low)


def test_unknown_reference_and_odd_lengths_are_refused() -> None:
    labels, enrol, test = trials()
    values = scores(labels, 1.5, 3)
    (alone,) = summarise_seeds({"a": [values]}, labels, enrol, test, reference="b")
    assert alone.difference is None
    with pytest.raises(DataError):
        summarise_seeds({"a": [values[:-1]]}, labels, enrol, test, reference="a")
