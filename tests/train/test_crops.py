"""The batches of an epoch: how many, in which order, from where on."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from ham.config import DataConfig
from ham.data.batches import TrainingSet
from ham.data.store import ArrayStore
from ham.train.crops import TrainingCrops, steps_per_epoch


@pytest.mark.parametrize(
    ("num_utts", "passes", "batch_size", "steps"), [(100, 1, 256, 1), (100, 3, 16, 18), (24, 1, 8, 3), (25, 1, 8, 3)]
)
def test_an_epoch_is_its_full_batches_and_at_least_one(num_utts: int, passes: int, batch_size: int, steps: int) -> None:
    sampling = DataConfig(crops_per_utterance=passes, batch_size=batch_size)
    assert steps_per_epoch(sampling, num_utts) == steps


@pytest.mark.parametrize(("batch_size", "crops"), [(8, 24), (10, 20), (100, 24)])
def test_crops_of_an_epoch_are_those_that_a_step_has(
    batch_size: int, crops: int, store: ArrayStore, data: TrainingSet
) -> None:
    found = TrainingCrops(store, data, DataConfig(batch_size=batch_size), num_rows=4000, seed=3)
    assert found.crops_per_epoch == crops == sum(len(batch.labels) for batch in found.batches(1))


@pytest.mark.parametrize("order", ["shuffle", "balanced"])
def test_an_epoch_has_every_utterance_as_often_and_can_be_entered_anywhere(
    order: str, store: ArrayStore, data: TrainingSet
) -> None:
    sampling = DataConfig(batch_size=8, order=order, crops_per_utterance=2)  # type: ignore[arg-type]
    crops = TrainingCrops(store, data, sampling, num_rows=4000, seed=3)
    whole = list(crops.batches(2))
    assert len(whole) == crops.steps_per_epoch == 6
    assert set(Counter(np.concatenate([batch.entries for batch in whole]).tolist()).values()) == {2}
    for one, other in zip(whole[4:], crops.batches(2, first=4), strict=True):
        assert torch.equal(one.rows, other.rows)
    other_epoch = np.concatenate([batch.entries for batch in crops.batches(3)])
    assert not np.array_equal(np.concatenate([batch.entries for batch in whole]), other_epoch)


def test_a_batch_is_named_by_its_first_utterances(store: ArrayStore, data: TrainingSet) -> None:
    crops = TrainingCrops(store, data, DataConfig(batch_size=4), num_rows=4000, seed=3)
    batch = next(crops.batches(1))
    first = [store.utts[i] for i in batch.entries.tolist()]
    assert crops.names(batch.entries) == f"{first[0]}, {first[1]}, {first[2]} and 1 more"
