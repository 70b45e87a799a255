"""The small file that the pictures are drawn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ham.errors import DataError
from ham.score.curves import read_curves, summarise_scores, write_curves


@pytest.fixture
def trials() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    generator = np.random.default_rng(0)
    labels = np.arange(5000) % 2
    return generator.normal(size=5000) + 3 * labels, labels


def test_histogram_counts_every_trial(trials: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    scores, labels = trials
    curve = summarise_scores("mini/all", "cosine", scores, labels, num_bins=20)
    assert (sum(curve.target), sum(curve.nontarget)) == (2500, 2500)
    assert len(curve.edges) == 21
    counts = [sum(curve.edges[3] <= s < curve.edges[4] for s in scores[labels == k]) for k in (1, 0)]
    assert [curve.target[3], curve.nontarget[3]] == pytest.approx(counts, abs=1)  # edges are rounded


def test_threshold_makes_the_two_errors_equal(trials: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    scores, labels = trials
    threshold = summarise_scores("mini/all", "cosine", scores, labels).threshold
    miss = np.mean(scores[labels == 1] < threshold)
    false_alarm = np.mean(scores[labels == 0] >= threshold)
    assert miss == pytest.approx(false_alarm, abs=1e-3)


def test_scores_all_equal() -> None:
    curve = summarise_scores("x", "cosine", [1.0, 1.0, 1.0], [1, 0, 0])
    assert sum(curve.nontarget) == 2
    assert curve.threshold == 1.0


def test_round_trip_is_small(tmp_path: Path, trials: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    curves = [summarise_scores("mini/all", backend, *trials) for backend in ("cosine", "hyperbolic")]
    path = tmp_path / "curves.json"
    write_curves(path, curves)
    assert read_curves(path) == curves
    assert path.stat().st_size < 40_000


@pytest.mark.parametrize("text", ["", "[1]", '[{"trial_list": "a"}]', "{", "3"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "curves.json"
    path.write_text(text)
    with pytest.raises(DataError, match="stage 6"):
        read_curves(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found nothing"):
        read_curves(tmp_path / "curves.json")
