"""Several speakers against embeddings whose groups are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ham.model.several import MOST_WINDOWS, halves_cosine, several_speakers, windows
from tests.speaking import thresholds

RATE = 1000


def group(centre: NDArray[np.float64], number: int, spread: float = 0.1, seed: int = 0) -> NDArray[np.float32]:
    rows = centre + np.random.default_rng(seed).normal(0, spread, (number, len(centre)))
    return (3 * rows).astype(np.float32)


ONE, OTHER = np.eye(8)[0], np.eye(8)[1]


@pytest.mark.parametrize(
    ("seconds", "number"), [(1, 0), (4.9, 0), (5, 4), (10.5, 9), (61, 60), (200, MOST_WINDOWS), (3600, MOST_WINDOWS)]
)
def test_windows_cover_the_recording(seconds: float, number: int) -> None:
    samples = np.arange(int(seconds * RATE), dtype=np.float32)
    found = windows(samples, RATE)
    assert len(found) == number
    assert {len(window) for window in found} <= {2 * RATE}
    if found:
        assert found[0][0] == 0
        assert len(samples) - found[-1][-1] <= RATE


def test_the_cosine_of_the_halves_is_that_of_the_groups_in_any_order() -> None:
    rows = np.concatenate([group(ONE, 6), group(OTHER, 4, seed=1)])
    one, other = (
        (rows[part] / np.linalg.norm(rows[part], axis=1)[:, None]).mean(0) for part in (slice(6), slice(6, 10))
    )
    expected = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    for seed in range(3):
        assert halves_cosine(np.random.default_rng(seed).permutation(rows)) == pytest.approx(expected, abs=1e-6)


def test_a_single_odd_window_is_not_a_speaker() -> None:
    assert halves_cosine(np.concatenate([group(ONE, 9, 0.01), group(OTHER, 1)])) == 1.0


def test_two_speakers_are_told_and_one_is_not() -> None:
    decisions = thresholds()  # llr = 10 cosine - 4, which is -8 at -0.4
    assert several_speakers(group(ONE, 10), decisions) is None
    assert several_speakers(np.concatenate([group(ONE, 5), group(OTHER, 5)]), decisions) is None  # not unlike enough
    problem = several_speakers(np.concatenate([group(ONE, 5), group(-ONE - OTHER, 5)]), decisions)
    assert problem is not None
    assert (problem.name, problem.severity) == ("several_speakers", "warn")
