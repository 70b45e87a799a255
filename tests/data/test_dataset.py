"""Training sets and batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ham.data.dataset import CropBatches, training_set
from ham.data.sampler import EpochPlan, plan_epoch
from ham.data.store import ArrayStore, write_store

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


def test_crops_reach_both_ends_and_never_cross_them(store: ArrayStore) -> None:
    data = training_set(store, UTT2SPK)
    ends = EpochPlan(entries=np.array([0, 0]), places=np.array([0.0, np.nextafter(1.0, 0.0)]))
    rows = CropBatches(store, data, ends, batch_size=2, num_rows=30)[0].rows
    assert rows[0].tolist() == list(range(30))
    assert rows[1].tolist() == list(range(10, 40))


def test_short_speech_is_wrapped(store: ArrayStore) -> None:
    data = training_set(store, UTT2SPK)
    plan = EpochPlan(entries=np.array([0]), places=np.array([0.99]))
    assert CropBatches(store, data, plan, batch_size=1, num_rows=60)[0].rows[0].tolist() == [*range(40), *range(20)]
