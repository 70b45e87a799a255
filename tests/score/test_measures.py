"""Scores of trials against loops, and what a table of embeddings refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ham.errors import DataError
from ham.score import measures
from ham.score.measures import (
    EmbeddingTable,
    cosine_scores,
    crop_scores,
    distance_scores,
    read_embeddings,
    with_models,
)

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


def test_rows(table: EmbeddingTable) -> None:
    assert table.rows(["utt3", "utt0", "utt3"]).tolist() == [3, 0, 3]
    with pytest.raises(DataError, match=r"x.npz: trials needs the embedding of nobody, b; .*stage 5"):
        table.rows(["utt3", "nobody", "b", "nobody"], "trials")


@pytest.mark.parametrize(
    ("utts", "embeddings", "message"),
    [
        (("a", "b", "a"), np.ones((3, 2)), "several for a"),
        (("a", "b"), np.array([[1, 2], [3, np.nan]]), "NaN or infinity in those of b"),
        (("a", "b"), np.array([[np.inf, 2], [3, 1]]), "NaN or infinity in those of a"),
        (("a", "b"), np.ones((3, 2)), "one row of numbers an utterance"),
        (("a", "b"), np.ones(2), "one row of numbers an utterance"),
    ],
)
def test_bad_tables_are_refused(utts: tuple[str, ...], embeddings: NDArray[np.float64], message: str) -> None:
    with pytest.raises(DataError, match=f"x.npz: .*{message}"):
        EmbeddingTable(utts, embeddings.astype(np.float32), "x.npz")


def test_read_embeddings(tmp_path: Path, table: EmbeddingTable) -> None:
    np.savez(tmp_path / "e.npz", utts=np.array(table.utts), embeddings=table.embeddings)
    found = read_embeddings(tmp_path / "e.npz")
    assert found.utts == table.utts
    assert np.array_equal(found.embeddings, table.embeddings)


def write_text(path: Path) -> None:
    path.write_text("not an archive")


def write_objects(path: Path) -> None:
    np.savez(path, utts=np.array(["a", None], dtype=object), embeddings=np.ones((2, 2)))


def write_other_names(path: Path) -> None:
    np.savez(path, names=np.array(["a"]), embeddings=np.ones((1, 2)))


def write_bare_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.ones(3))


def write_truncated(path: Path) -> None:
    np.savez(path, utts=np.array(["a"]), embeddings=np.ones((1, 200)))
    path.write_bytes(path.read_bytes()[:300])


def write_numbers_for_names(path: Path) -> None:
    np.savez(path, utts=np.arange(2), embeddings=np.ones((2, 2)))


@pytest.mark.parametrize(
    "write",
    [write_text, write_objects, write_other_names, write_bare_array, write_truncated, write_numbers_for_names],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, write: Callable[[Path], None]) -> None:
    path = tmp_path / "e.npz"
    write(path)
    with pytest.raises(DataError, match=r"e.npz: expected .*found") as caught:
        read_embeddings(path)
    assert "\n" not in str(caught.value)


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self._path,)


def test_no_file_is_unpickled(tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "embeddings.npz"
    np.savez(path, utts=np.array([Trap(mark)], dtype=object), embeddings=np.ones((1, 2)))
    with pytest.raises(DataError, match="something else"):
        read_embeddings(path)
    assert not mark.exists()


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


def test_missing_embeddings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="stage 5"):
        read_embeddings(tmp_path / "e.npz")


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


def test_models_are_means_of_directions_or_of_embeddings(table: EmbeddingTable) -> None:
    models = {"ann": ("utt3", "utt1", "utt7"), "bob": ("utt2",)}
    for unit in (True, False):
        more = with_models(table, models, unit)
        assert more.utts == (*table.utts, *models)
        assert np.array_equal(more.embeddings[:30], table.embeddings)
        rows = [table.embeddings[[3, 1, 7]].astype(float), table.embeddings[[2]].astype(float)]
        for model, own in zip(more.embeddings[30:], rows, strict=True):
            scaled = [row / math.sqrt(sum(row**2)) if unit else row for row in own]
            assert model == pytest.approx(sum(scaled) / len(own), abs=1e-6)
    assert with_models(table, {}, True) is table
    test = np.arange(30)
    one, same = with_models(table, models, True), np.full(30, 2)
    assert cosine_scores(one, np.full(30, 31), test) == pytest.approx(cosine_scores(table, same, test), abs=1e-6)


def test_the_length_of_a_recording_counts_for_the_distance_only(table: EmbeddingTable) -> None:
    models = {"ann": ("utt3", "utt1")}
    longer = EmbeddingTable(table.utts, table.embeddings * np.linspace(1, 9, 30, dtype=np.float32)[:, None])
    first, second = (with_models(one, models, True).embeddings[30] for one in (table, longer))
    assert first == pytest.approx(second, abs=1e-6)
    first, second = (with_models(one, models, False).embeddings[30] for one in (table, longer))
    assert first != pytest.approx(second, abs=1e-2)


def test_rows_of_joined_recordings_give_way_to_means(table: EmbeddingTable) -> None:
    joined = EmbeddingTable((*table.utts[:29], "ann"), table.embeddings)
    more = with_models(joined, {"ann": ("utt3",)}, False)
    assert more.utts == joined.utts
    assert np.array_equal(more.embeddings[29], table.embeddings[3])


def test_models_without_embedding_or_direction_are_refused(table: EmbeddingTable) -> None:
    with pytest.raises(DataError, match=r"x.npz: here/trials needs the embedding of utt99"):
        with_models(table, {"ann": ("utt1", "utt99")}, True, "here/trials")
    zeros = EmbeddingTable(("a", "b"), np.array([[0, 0], [1, 0]], np.float32), "x.npz")
    with pytest.raises(DataError, match="found an embedding of zeros for a"):
        with_models(zeros, {"m": ("a", "b")}, True)
    assert with_models(zeros, {"m": ("a", "b")}, False).embeddings[2].tolist() == [0.5, 0]
