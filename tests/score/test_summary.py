"""Several trainings of several systems on one list."""

from __future__ import annotations

import numpy as np
import pytest

from ham.errors import DataError
from ham.score.intervals import eer_interval, resampled_eers
from ham.score.metrics import eer
from ham.score.summary import summarise_seeds, summary_table


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
    (found,) = summarise_seeds({"a": [values]}, labels, enrol, test, reference="a", num_resamples=200)
    assert found.mean == eer(values, labels)
    assert found.interval == eer_interval(values, labels, enrol, test, num_resamples=200)
    assert found.difference is None


def test_means_and_differences_are_taken_draw_by_draw() -> None:
    labels, enrol, test = trials()
    sets = [scores(labels, gap, i) for i, gap in enumerate((2.0, 2.1, 1.4, 1.5))]
    draws = resampled_eers(sets, labels, enrol, test, num_resamples=300)
    good, poor = summarise_seeds(
        {"good": sets[:2], "poor": sets[2:]}, labels, enrol, test, reference="good", num_resamples=300
    )
    assert poor.eers == (eer(sets[2], labels), eer(sets[3], labels))
    expected = draws[:, 2:].mean(1) - draws[:, :2].mean(1)
    assert poor.difference is not None
    np.testing.assert_allclose(poor.difference.interval, np.quantile(expected, [0.025, 0.975]))
    np.testing.assert_allclose(good.interval, np.quantile(draws[:, :2].mean(1), [0.025, 0.975]))
    assert poor.difference.value == pytest.approx(poor.mean - good.mean)
    assert poor.difference.value > 0
    assert poor.difference.better == (expected < 0).mean()


def test_a_system_compared_with_its_twin_differs_by_nothing() -> None:
    labels, enrol, test = trials()
    values = scores(labels, 1.5, 3)
    _, twin = summarise_seeds(
        {"a": [values], "b": [3 * values + 1]}, labels, enrol, test, reference="a", num_resamples=50
    )
    assert twin.difference is not None
    assert twin.difference.value == twin.difference.interval.low == twin.difference.interval.high == 0
    assert twin.difference.better == 0.5


def test_pairing_removes_what_hard_speakers_do_to_both() -> None:
    labels, enrol, test = trials()
    values = scores(labels, 1.5, 3)
    near = values + 0.05 * np.random.default_rng(5).normal(size=len(values))
    a, b = summarise_seeds({"a": [values], "b": [near]}, labels, enrol, test, reference="a", num_resamples=300)
    assert b.difference is not None
    width = b.difference.interval.high - b.difference.interval.low
    assert width < 0.3 * (a.interval.high - a.interval.low)


def test_the_table_shows_mean_interval_spread_and_difference() -> None:
    labels, enrol, test = trials()
    sets = [scores(labels, gap, i) for i, gap in enumerate((2.0, 2.1, 1.4))]
    found = summarise_seeds({"a": sets[:2], "b": sets[2:]}, labels, enrol, test, reference="a", num_resamples=50)
    head, rows = summary_table({"x/all cosine": found, "x/all hyperbolic": found[:1]}, "a")
    assert head == ["system", "x/all cosine", "minus a", "x/all hyperbolic"]
    low, high = sorted(100 * eer(values, labels) for values in sets[:2])
    assert rows[0][1].startswith(f"{100 * found[0].mean:.2f} [")
    assert rows[0][1].endswith(f"({low:.2f} to {high:.2f})")
    assert rows[0][2] == "-"
    assert rows[1][1].endswith("]")
    assert rows[1][2].startswith("+")
    assert rows[1][3:] == ["-"]
    with pytest.raises(DataError, match="at least one list"):
        summary_table({}, "a")


def test_unknown_reference_and_odd_lengths_are_refused() -> None:
    labels, enrol, test = trials()
    values = scores(labels, 1.5, 3)
    (alone,) = summarise_seeds({"a": [values]}, labels, enrol, test, reference="b", num_resamples=5)
    assert alone.difference is None
    with pytest.raises(DataError):
        summarise_seeds({"a": [values[:-1]]}, labels, enrol, test, reference="a", num_resamples=5)
    with pytest.raises(ValueError, match="num_resamples"):
        resampled_eers([values], labels, enrol, test, num_resamples=0)
