"""Training sets and batches."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from ham.data import store as store_module
from ham.data.batches import CropBatches, training_set
from ham.data.sampler import EpochPlan, plan_epoch
from ham.data.store import ArrayStore, write_store
from ham.errors import DataError

UTT2SPK = {f"s{i % 3}-u{i}": f"s{i % 3}" for i in range(9)}


@pytest.fixture
def store(tmp_path: Path) -> ArrayStore:
    items = [(utt, np.arange(40 + i, dtype=np.int16) + 1000 * i) for i, utt in enumerate(sorted(UTT2SPK))]
    write_store(tmp_path / "s", items, {"sample_rate": 16000})
    return ArrayStore(tmp_path / "s")


def test_speakers_are_numbered_in_order_and_some_left_out(store: ArrayStore) -> None:
    data = training_set(store, UTT2SPK, leave_out=["s1"])
    assert data.speakers == ("s0", "s2")
    assert len(data.indices) == 6
    for index, label in zip(data.indices, data.labels, strict=True):
        assert UTT2SPK[store.utts[index]] == data.speakers[label]


def test_short_utterances_are_left_out_and_counted(store: ArrayStore) -> None:
    """They have 40 to 48 samples, in the order of their names: s0 holds the three shortest."""
    for shortest, speakers in [(40, 3), (41, 3), (43, 2), (48, 1), (49, 0)]:
        data = training_set(store, UTT2SPK, min_utterance_s=shortest / 16000)
        assert data.num_short == shortest - 40
        assert store.lengths[data.indices].tolist() == list(range(shortest, 49))
        assert data.speakers == ("s0", "s1", "s2")[3 - speakers :]
        assert [data.speakers[label] for label in data.labels] == [UTT2SPK[store.utts[i]] for i in data.indices]
    aside = training_set(store, UTT2SPK, leave_out=["s0"], min_utterance_s=44 / 16000)
    assert (aside.num_short, aside.speakers) == (1, ("s1", "s2"))


def test_a_batch_holds_the_planned_crops(store: ArrayStore) -> None:
    data = training_set(store, UTT2SPK)
    batches = CropBatches(store, data, plan_epoch(9, seed=3, epoch=1), batch_size=4, num_rows=30)
    assert len(batches) == 2
    for batch in (batches[0], batches[1]):
        assert batch.rows.shape == (4, 30)
        for row, entry, label in zip(batch.rows, batch.entries, batch.labels, strict=True):
            assert row[0] // 1000 == data.indices[entry]
            assert (row.diff() == 1).all()
            assert label == data.labels[entry]
    with pytest.raises(IndexError):
        batches[2]


def test_a_planned_batch_reads_the_crops_that_are_wanted(store: ArrayStore, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = CropBatches(store, training_set(store, UTT2SPK), plan_epoch(9, seed=3, epoch=1), 4, 30)
    whole, planned, read = batches[1], batches.planned(1), []
    assert planned.rows.shape == (0, 30)
    assert planned.labels.equal(whole.labels)
    one = ArrayStore.read
    monkeypatch.setattr(ArrayStore, "read", lambda *given: read.append(given[1]) or one(*given))
    some = batches.read(1, planned, torch.tensor([1, 3]))
    assert read == [batches.data.indices[entry] for entry in whole.entries[[1, 3]]]
    assert some.rows.equal(whole.rows[[1, 3]])
    assert (some.entries == whole.entries).all()


def test_crops_reach_both_ends_and_never_cross_them(store: ArrayStore) -> None:
    data = training_set(store, UTT2SPK)
    ends = EpochPlan(entries=np.array([0, 0]), places=np.array([0.0, np.nextafter(1.0, 0.0)]))
    rows = CropBatches(store, data, ends, batch_size=2, num_rows=30)[0].rows
    assert rows[0].tolist() == list(range(30))
    assert rows[1].tolist() == list(range(10, 40))


def test_a_batch_says_where_its_rows_begin_and_where_their_speech_repeats(store: ArrayStore) -> None:
    data, plan = training_set(store, UTT2SPK), plan_epoch(9, seed=3, epoch=1)
    batch = CropBatches(store, data, plan, batch_size=9, num_rows=44)[0]
    assert batch.places.tolist() == pytest.approx(plan.places.tolist())
    assert batch.lengths.tolist() == [min(44, 40 + int(data.indices[entry])) for entry in plan.entries]


def test_short_speech_is_wrapped(store: ArrayStore) -> None:
    data = training_set(store, UTT2SPK)
    plan = EpochPlan(entries=np.array([0]), places=np.array([0.99]))
    assert CropBatches(store, data, plan, batch_size=1, num_rows=60)[0].rows[0].tolist() == [*range(40), *range(20)]


def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: set[str]) -> ArrayStore:
    """A store of one utterance a shard, with the shards of some utterances gone."""
    monkeypatch.setattr(store_module, "SHARD_BYTES", 1)
    items = [(utt, np.arange(40, dtype=np.int16) + 1000 * i) for i, utt in enumerate(sorted(UTT2SPK))]
    write_store(tmp_path / "s", items, {"sample_rate": 16000})
    store = ArrayStore(tmp_path / "s")
    for utt in lost:
        path = store.shard_path(store.utts.index(utt))
        os.truncate(path, 150)
    return store


def test_an_unreadable_crop_is_an_error_that_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = broken(tmp_path, monkeypatch, {"s0-u3"})
    batches = CropBatches(store, training_set(store, UTT2SPK), plan_epoch(9, seed=1, epoch=1), 9, 30)
    with pytest.raises(DataError, match=r"shard-00001\.npy: cannot be read or damaged \(expected 208 bytes, found 150"):
        batches[0]


def test_an_unreadable_crop_is_replaced_by_the_speakers_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = broken(tmp_path, monkeypatch, {"s0-u3", "s1-u7"})  # the last one of s1: its first one follows
    data, plan = training_set(store, UTT2SPK), plan_epoch(9, seed=1, epoch=1)
    batch = CropBatches(store, data, plan, 9, 30, replace_bad=True)[0]
    names = [store.utts[data.indices[entry]] for entry in plan.entries]
    found = [store.utts[data.indices[entry]] for entry in batch.entries]
    replaced = {"s0-u3": "s0-u6", "s1-u7": "s1-u1"}
    assert found == [replaced.get(name, name) for name in names]
    assert [int(row[0]) // 1000 for row in batch.rows] == [data.indices[entry] for entry in batch.entries]
    assert batch.labels.tolist() == [data.labels[entry] for entry in plan.entries]
    assert batch.lengths.tolist() == [30] * 9
    assert sorted(line.split(":")[0][-15:] for line in batch.bad) == ["shard-00001.npy", "shard-00005.npy"]
    batches = CropBatches(store, data, plan, 9, 30, replace_bad=True)
    share = batches.read(0, batches.planned(0), torch.tensor([4, 5]))  # of one of several processes: all know of all
    assert (share.bad, share.entries.tolist()) == (batch.bad, batch.entries.tolist())
    assert share.rows.equal(batch.rows[4:6])


def test_without_a_readable_one_of_the_speaker_another_speaker_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = broken(tmp_path, monkeypatch, {"s0-u0", "s0-u3", "s0-u6"})
    data, plan = training_set(store, UTT2SPK), plan_epoch(9, seed=1, epoch=1)
    batches = [CropBatches(store, data, plan, 9, 30, replace_bad=True)[0] for _ in range(2)]
    assert (batches[0].entries == batches[1].entries).all()
    assert len(batches[0].bad) == 3
    assert set(batches[0].labels.tolist()) == {1, 2}
    assert (batches[0].labels.numpy() == data.labels[batches[0].entries]).all()
    for path in tmp_path.glob("s/shard-*"):
        path.unlink()
    with pytest.raises(DataError, match="none of 1000 other utterances"):
        CropBatches(ArrayStore(tmp_path / "s"), data, plan, 9, 30, replace_bad=True)[0]


def test_batches_reach_a_worker_as_they_are(store: ArrayStore) -> None:
    batches = CropBatches(store, training_set(store, UTT2SPK), plan_epoch(9, seed=3, epoch=1), 4, 30)
    sent = pickle.loads(pickle.dumps(batches))
    assert (sent[1].rows == batches[1].rows).all()
