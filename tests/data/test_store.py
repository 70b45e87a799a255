"""The store: what goes in comes out, bounded, and damage is named."""

from __future__ import annotations

import os
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest

from ham.data import store as store_module
from ham.data.store import ArrayStore, check_current, is_whole, to_int16, write_store
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


def test_a_pickled_store_is_its_path(tmp_path: Path) -> None:
    write_store(tmp_path / "s", ((f"utt{i:06d}", np.zeros(1, np.int16)) for i in range(20_000)), META)
    assert len(pickle.dumps(ArrayStore(tmp_path / "s"))) < 1000


def test_more_shards_than_a_process_may_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SHARD_BYTES", 1)
    monkeypatch.setattr(store_module, "OPEN_SHARDS", 8)
    write_store(tmp_path / "s", ((f"u{i:03d}", np.full(3, i, np.int16)) for i in range(200)), META)
    store = ArrayStore(tmp_path / "s")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))  # noqa: PTH208
    try:
        assert [int(store.read(i)[0]) for i in range(200)] == list(range(200))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_shard_that_is_cut_while_in_use_is_named_and_not_a_crash(tmp_path: Path) -> None:
    write_store(tmp_path / "s", arrays().items(), META)
    store = ArrayStore(tmp_path / "s")
    store.read(6)
    os.truncate(store.shard_path(6), 300)
    with pytest.raises(DataError, match=r"shard-00000\.npy: was cut before byte \d+ while in use; delete .* and run"):
        store.read(6)


def test_every_shard_is_checked_by_size_and_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SHARD_BYTES", 100)
    write_store(tmp_path / "s", arrays().items(), META)
    store = ArrayStore(tmp_path / "s")
    store.check_shards(contents=True)
    assert is_whole(store.path, store.meta)
    damaged = tmp_path / "s/shard-00001.npy"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x55")
    with pytest.raises(DataError, match=r"^[^;]*shard-00001\.npy: damaged: expected CRC-32 .* of utt\d"):
        store.check_shards(contents=True)
    (tmp_path / "s/shard-00002.npy").unlink()
    (tmp_path / "s/shard-00003.npy").write_bytes(b"")
    with pytest.raises(
        DataError,
        match=r"3 problems: .*00001\.npy: damaged.*00002\.npy: is missing; .*00003\.npy: expected \d+ bytes, found 0",
    ):
        store.check_shards()
    assert not is_whole(store.path, store.meta)


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


@pytest.mark.parametrize("name", ["meta.json", "utts.npy", "places.npy", "sums.npy", "shard-00000.npy"])
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


@pytest.mark.parametrize("name", ["utts.npy", "places.npy", "sums.npy"])
def test_a_flipped_byte_of_the_index_is_found(tmp_path: Path, name: str) -> None:
    write_store(tmp_path / "s", arrays().items(), META)
    path = tmp_path / "s" / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged index: .*run stage 3"):
        ArrayStore(tmp_path / "s")


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("width", [None, 3])
def test_every_flipped_bit_of_a_shard_is_found(tmp_path: Path, bit: int, width: int | None) -> None:
    rows = [np.ones((2 + i, width) if width else 2 + i, np.float32 if width else np.int16) for i in range(4)]
    write_store(tmp_path / "s", ((f"u{i}", one) for i, one in enumerate(rows)), META)
    shard = tmp_path / "s/shard-00000.npy"
    content = shard.read_bytes()
    for place in range(len(content)):
        shard.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
        with pytest.raises(DataError, match=r"shard-00000\.npy: .*damaged"):
            ArrayStore(tmp_path / "s").check_shards()


def test_a_large_store_is_compared_in_part_but_every_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SHARD_BYTES", 1000)
    monkeypatch.setattr(store_module, "SAMPLE_BYTES", 500)
    write_store(tmp_path / "s", ((f"u{i:03d}", np.full(60, i, np.int16)) for i in range(80)), META)
    store = ArrayStore(tmp_path / "s")
    read: list[int] = []
    original = ArrayStore.read
    monkeypatch.setattr(ArrayStore, "read", lambda self, index: (read.append(index), original(self, index))[1])
    store.check_shards()
    assert len(read) < 20
    assert {store.shard_path(index) for index in read} == set((tmp_path / "s").glob("shard-*.npy"))
    read.clear()
    store.check_shards(contents=True)
    assert read == list(range(80))


def test_the_digest_is_of_what_is_held_and_not_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = arrays()
    write_store(tmp_path / "s", items.items(), META)
    first = ArrayStore(tmp_path / "s").digest
    monkeypatch.setattr(store_module, "SHARD_BYTES", 100)
    write_store(tmp_path / "elsewhere", items.items(), {**META, "files": "others"})
    assert ArrayStore(tmp_path / "elsewhere").digest == first
    for changed in ({**items, "utt3": items["utt3"] + 1}, {**items, "utt3": items["utt3"][:-1]}):
        write_store(tmp_path / "s", changed.items(), META)
        assert ArrayStore(tmp_path / "s").digest != first
    renamed = {f"x{utt}": rows for utt, rows in items.items()}
    write_store(tmp_path / "s", renamed.items(), META)
    assert ArrayStore(tmp_path / "s").digest != first


@pytest.mark.parametrize("name", ["notes.txt", "shard-00000.npy.bak", ".hidden", "deep/shard-00000.npy"])
def test_what_is_no_store_is_not_replaced(name: str, tmp_path: Path) -> None:
    write_store(tmp_path / "s", arrays().items(), META)
    (tmp_path / "s" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "s" / name).write_text("years of work")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    other = [("z", np.zeros(4, np.int16))]
    with pytest.raises(DataError, match=f"also holds '{name.split('/')[0]}'; move it away"):
        write_store(tmp_path / "s", other, META)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    (tmp_path / "t").write_text("mine")
    with pytest.raises(DataError, match="it is a file; move it away"):
        write_store(tmp_path / "t", other, META)


def test_a_store_of_other_recordings_than_the_data_directory_names_is_refused(tmp_path: Path) -> None:
    write_store(tmp_path / "s", ((utt, np.zeros(16000, np.int16)) for utt in ("a", "b", "c")), META)
    store = ArrayStore(tmp_path / "s")
    durations = {"a": 1.0, "b": 1.0015, "c": 0.9985}
    check_current(store, durations)
    for wrong, number, first in (
        ({**durations, "b": 1.003}, 1, "b"),
        ({**durations, "d": 1.0}, 1, "d"),
        ({"a": 1.0}, 2, "b"),
        ({"c": 1.0, "b": 1.0, "x": 1.0, "a": 2.0}, 2, "a"),
    ):
        with pytest.raises(DataError, match=f": {number} utterances are missing, .* first is {first}; run stages 2"):
            check_current(store, wrong)
    check_current(store, {"c": 1.0, "b": 1.0, "a": 1.0})
