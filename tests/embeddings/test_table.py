"""Tables of embeddings: rows and models are found, files hold the contract, anything else is refused."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable
from pathlib import Path

import kaldiio
import numpy as np
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

from ham.embeddings.table import (
    FORMATS,
    EmbeddingTable,
    read_embeddings,
    read_source,
    read_table,
    with_models,
    write_embeddings,
    write_table,
)
from ham.errors import ConfigError, DataError
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


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_comes_back_to_the_bit(tmp_path: Path, suffix: str) -> None:
    rows = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    utts = ("a-\N{LATIN SMALL LETTER E WITH ACUTE}", "b", "c") if suffix == "ark" else ('a "1", x', "b", "c")
    path = tmp_path / f"a folder/e.{suffix}"
    write_table(path, utts, rows)
    found = read_table(path)
    assert found.utts == utts
    np.testing.assert_array_equal(found.embeddings, rows)
    assert found.embeddings.dtype == np.float32
    assert not [each for each in path.parent.iterdir() if each.name.startswith(".")]


def test_other_programs_read_the_tables(tmp_path: Path) -> None:
    rows = np.float32([[0.1, -1 / 3], [1e-30, 2.0]])
    for suffix in ("csv", "parquet"):
        write_table(tmp_path / f"e.{suffix}", ["a", "b"], rows)
    assert (tmp_path / "e.csv").read_text() == "utt,e0,e1\na,0.100000001,-0.333333343\nb,1.00000000e-30,2\n".replace(
        "1.00000000e-30", f"{rows[1, 0]:.9g}"
    )
    table = pyarrow.parquet.read_table(tmp_path / "e.parquet")
    assert table.column_names == ["utt", "embedding"]
    assert table["embedding"].type == pyarrow.list_(pyarrow.float32(), 2)


def test_an_archive_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32)
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    write_table(Path("exp/run/embeddings.ark"), ["a", "b"], rows)
    monkeypatch.chdir(tmp_path / "other")
    read = kaldiio.load_scp(str(tmp_path / "one/exp/run/embeddings.scp"))
    np.testing.assert_array_equal(read["b"], rows[1])
    assert (tmp_path / "one/exp/run/embeddings.scp").read_text().split()[1].startswith(f"{tmp_path}/one/exp/run/")


def test_formats_that_cannot_be_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.ones((1, 2), np.float32)
    with pytest.raises(ConfigError, match=r"e\.txt: expected a name that ends in \.npz, \.ark, \.csv, \.parquet"):
        write_table(tmp_path / "e.txt", ["a"], rows)
    with pytest.raises(DataError, match="specifiers cannot hold a comma"):
        write_table(tmp_path / "a,b/e.ark", ["a"], rows)
    with pytest.raises(DataError, match="ids cannot hold white space, as 'a b' does"):
        write_table(tmp_path / "e.ark", ["a b"], rows)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigError, match=r"^Parquet needs pyarrow: pip install pyarrow$"):
        write_table(tmp_path / "e.parquet", ["a"], rows)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["e.csv", "e.ark", "e.parquet"])
@pytest.mark.parametrize("content", [b"", b"x", b"utt,e0\na,y\n", b"utt,e0,e1\na,1\nb,1,2\n", b"a nowhere.ark:5\n"])
def test_other_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    with pytest.raises(DataError, match="expected embeddings, found nothing"):
        read_table(tmp_path / "none" / name)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=re.escape(f"{tmp_path / name}: expected")):
        read_table(tmp_path / name)
