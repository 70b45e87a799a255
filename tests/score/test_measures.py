"""Scores of trials against loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ham.embeddings.table import EmbeddingTable
from ham.errors import DataError
from ham.score import measures
from ham.score.measures import cosine_scores, crop_scores, distance_scores

Rows = NDArray[np.int64]


@pytest.fixture
def table() -> EmbeddingTable:
    embeddings = np.random.default_rng(0).normal(size=(30, 19)).astype(np.float32)
    return EmbeddingTable(tuple(f"utt{i}" for i in range(30)), embeddings, "x.npz")


@pytest.fixture
def trials() -> tuple[Rows, Rows]:
    generator = np.random.default_rng(1)
    return generator.integers(30, size=500), generator.integers(30, size=500)


def test_cosine_equals_a_loop(table: EmbeddingTable, trials: tuple[Rows, Rows]) -> None:
    expected = []
    for a, b in zip(*trials, strict=True):
        x, y = (table.embeddings[row].astype(float).tolist() for row in (a, b))
        dot = sum(p * q for p, q in zip(x, y, strict=True))
        expected.append(dot / math.sqrt(sum(p * p for p in x) * sum(q * q for q in y)))
    assert cosine_scores(table, *trials) == pytest.approx(expected, abs=1e-6)


def test_cosine_of_an_utterance_with_itself_and_of_scaled_embeddings(
    table: EmbeddingTable, trials: tuple[Rows, Rows]
) -> None:
    rows = np.arange(30)
    assert cosine_scores(table, rows, rows) == pytest.approx(np.ones(30), abs=1e-6)
    scaled = EmbeddingTable(table.utts, table.embeddings * np.linspace(1e-6, 1e6, 30, dtype=np.float32)[:, None])
    assert cosine_scores(scaled, *trials) == pytest.approx(cosine_scores(table, *trials), abs=1e-6)


@pytest.mark.parametrize("block", [1, 7, 500, 4096])
def test_blocks_change_no_bit(table: EmbeddingTable, trials: tuple[Rows, Rows], block: int) -> None:
    assert np.array_equal(cosine_scores(table, *trials, block=block), cosine_scores(table, *trials))
    first = distance_scores(table, *trials, lambda x, y: (x - y).abs().amax(dim=1), block=block)
    assert np.array_equal(first, distance_scores(table, *trials, lambda x, y: (x - y).abs().amax(dim=1)))


def test_distance_is_negated_and_sees_blocks_only(table: EmbeddingTable, trials: tuple[Rows, Rows]) -> None:
    seen = []

    def distance(x: Tensor, y: Tensor) -> Tensor:
        seen.append(len(x))
        return torch.linalg.vector_norm(x - y, dim=1)

    scores = distance_scores(table, *trials, distance, block=64)
    left, right = (table.embeddings[rows].astype(float) for rows in trials)
    assert scores == pytest.approx(-np.linalg.norm(left - right, axis=1), rel=1e-6, abs=1e-6)
    assert max(seen) == 64
    assert sum(seen) == 500


def test_distance_that_is_not_finite_is_refused(table: EmbeddingTable, trials: tuple[Rows, Rows]) -> None:
    with pytest.raises(DataError, match=r"x.npz: expected finite distances, found nan between utt\d+ and utt\d+"):
        distance_scores(table, *trials, lambda x, y: x[:, 0] * math.nan)


def test_zero_embedding_has_no_cosine_but_only_if_it_is_asked_for(table: EmbeddingTable) -> None:
    embeddings = table.embeddings.copy()
    embeddings[4] = 0
    zero = EmbeddingTable(table.utts, embeddings, "x.npz")
    rows = np.array([1, 2])
    assert len(cosine_scores(zero, rows, rows)) == 2
    with pytest.raises(DataError, match=r"x.npz: .*zeros for utt4"):
        cosine_scores(zero, rows, np.array([4, 3]))


def test_crops_without_a_direction_or_utterance_are_refused() -> None:
    whole = EmbeddingTable(("a", "b"), np.eye(2, dtype=np.float32), "x.npz")
    names = ("a/1", "a/2", "b/1", "b/2")
    rows = np.ones((4, 2), np.float32)
    assert crop_scores(whole, EmbeddingTable(names, rows), ["a"], ["b"], "trials").tolist() == pytest.approx([0.5])
    rows[2] = 0
    with pytest.raises(DataError, match=r"crops\.npz: expected a direction, found an embedding of zeros for b/1"):
        crop_scores(whole, EmbeddingTable(names, rows, "crops.npz"), ["a"], ["b"], "trials")
    with pytest.raises(DataError, match=r"crops\.npz: trials needs crops of b; extract them"):
        crop_scores(whole, EmbeddingTable(names[:2], rows[:2], "crops.npz"), ["b"], ["a"], "trials")
    with pytest.raises(DataError, match=r"crops\.npz: trials needs the embedding of b/2"):
        crop_scores(whole, EmbeddingTable(names[:3], rows[:3], "crops.npz"), ["a"], ["b"], "trials")


def test_the_block_bounds_memory() -> None:
    assert measures.BLOCK * 192 * 4 * 2 < 8e6


def test_the_number_of_threads_is_as_it_was(table: EmbeddingTable, trials: tuple[Rows, Rows]) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        distance_scores(table, *trials, lambda x, y: (x - y).abs().sum(dim=1))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
