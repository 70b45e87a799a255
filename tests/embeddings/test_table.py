"""Tables of embeddings: rows and models are found, files hold the contract, anything else is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from numpy.typing import NDArray

from ham.embeddings.table import EmbeddingTable, read_embeddings, read_source, with_models, write_ark, write_embeddings
from ham.errors import DataError
from ham.score.measures import cosine_scores


@pytest.fixture
def table() -> EmbeddingTable:
    embeddings = np.random.default_rng(0).normal(size=(30, 19)).astype(np.float32)
    return EmbeddingTable(tuple(f"utt{i}" for i in range(30)), embeddings, "x.npz")


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


def test_missing_embeddings(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="stage 5"):
        read_embeddings(tmp_path / "e.npz")


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


def test_files(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    write_embeddings(tmp_path / "embeddings.npz", ["a", "b", "c"], rows, "made from this")
    with np.load(tmp_path / "embeddings.npz", allow_pickle=False) as archive:
        assert archive["utts"].tolist() == ["a", "b", "c"]
        np.testing.assert_array_equal(archive["embeddings"], rows)
    assert read_source(tmp_path / "embeddings.npz") == "made from this"
    assert read_source(tmp_path / "none.npz") is None
    write_ark(tmp_path / "embeddings.ark", ["a", "b", "c"], rows)
    read = kaldiio.load_scp(str(tmp_path / "embeddings.scp"))
    np.testing.assert_array_equal(read["b"], rows[1])
