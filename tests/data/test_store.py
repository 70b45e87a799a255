"""The store: what goes in comes out, bounded, and damage is named."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from ham.data import store as store_module
from ham.data.store import ArrayStore, to_int16, write_store
from ham.errors import DataError

META = {"sample_rate": 16000, "kind": "audio"}


def arrays(num: int = 7) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"utt{i}": rng.integers(-32768, 32767, 50 + 13 * i).astype(np.int16) for i in range(num)}


def test_round_trip_over_several_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SHARD_BYTES", 300)
    items = arrays()
    write_store(tmp_path / "s", items.items(), META)
    store = ArrayStore(tmp_path / "s")
    assert len(list((tmp_path / "s").glob("shard-*.npy"))) > 2
    assert store.utts == tuple(items)
    assert store.sample_rate == 16000
    for i, rows in enumerate(items.values()):
        assert store.lengths[i] == len(rows)
        np.testing.assert_array_equal(store.read(i), rows)
        np.testing.assert_array_equal(store.read(i, 20, 9), rows[20:29])
        np.testing.assert_array_equal(store.read(i, len(rows) - 3, 9), rows[-3:])


def test_two_dimensional_rows(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    items = {k: rng.normal(size=(n, 5)).astype(np.float32) for k, n in (("a", 4), ("b", 9))}
    write_store(tmp_path / "s", items.items(), META)
    store = ArrayStore(tmp_path / "s")
    np.testing.assert_array_equal(store.read(1, 2, 4), items["b"][2:6])
    np.testing.assert_array_equal(store.read_wrapped(0, 0, 10), np.concatenate([items["a"]] * 3)[:10])


def test_short_speech_is_wrapped_around(tmp_path: Path) -> None:
    write_store(tmp_path / "s", [("a", np.arange(5, dtype=np.int16))], META)
    assert ArrayStore(tmp_path / "s").read_wrapped(0, 0, 12).tolist() == [0, 1, 2, 3, 4] * 2 + [0, 1]


def test_a_read_is_a_copy_and_a_pickled_store_reads_on(tmp_path: Path) -> None:
    write_store(tmp_path / "s", arrays().items(), META)
    store = ArrayStore(tmp_path / "s")
    first = store.read(0)
    first[:] = 0
    assert store.read(0).any()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(store)).read(2), store.read(2))


def test_sixteen_bit_samples_survive_the_way_through_float() -> None:
    every = np.arange(-32768, 32768, dtype=np.int16)
    np.testing.assert_array_equal(to_int16(every.astype(np.float32) / 32768), every)
    assert to_int16(np.array([2.0, -2.0], np.float32)).tolist() == [32767, -32768]


def test_an_interrupted_write_leaves_the_old_store(tmp_path: Path) -> None:
    write_store(tmp_path / "s", arrays().items(), META)

    def broken() -> object:
        yield "new", np.zeros(4, np.int16)
        raise DataError("a bad file")

    with pytest.raises(DataError, match="a bad file"):
        write_store(tmp_path / "s", broken(), META)
    assert len(ArrayStore(tmp_path / "s")) == 7
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_nothing_and_a_repeated_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to store"):
        write_store(tmp_path / "s", [], META)
    twice = [("a", np.zeros(3, np.int16)), ("a", np.zeros(3, np.int16))]
    with pytest.raises(DataError, match="a comes twice"):
        write_store(tmp_path / "s", twice, META)


@pytest.mark.parametrize("name", ["meta.json", "index.npz", "shard-00000.npy"])
@pytest.mark.parametrize("how", ["missing", "cut"])
def test_damage_is_named(tmp_path: Path, name: str, how: str) -> None:
    write_store(tmp_path / "s", arrays().items(), META)
    path = tmp_path / "s" / name
    data = path.read_bytes()
    path.unlink()
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="stage 3"):
        ArrayStore(tmp_path / "s").read(0)
