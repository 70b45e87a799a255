"""A batch in one piece of memory is the batch."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest
import torch

from ham.data.batches import Batch, CropBatches, TrainingSet
from ham.data.sampler import plan_epoch
from ham.data.store import ArrayStore
from ham.frontends import SpecAugment
from ham.train.crossing import ALIGNMENT, cross, pack
from ham.train.step import TrainingStep
from tests.alike import assert_same, leaves

CPU = torch.device("cpu")


@pytest.fixture
def batch(store: ArrayStore, data: TrainingSet, make_step: Callable[..., TrainingStep]) -> Batch:
    """Crops with everything that can be drawn for them."""
    step = make_step(augment=True, keep_clean=True, speed=True, mask=SpecAugment(10, 8))
    crops = CropBatches(store, data, plan_epoch(24, seed=1, epoch=1), 8, 4400)[0]
    return step.draws(crops, torch.Generator().manual_seed(1))


def test_a_packed_batch_is_the_batch_also_in_another_process(batch: Batch) -> None:
    packed = pack(batch)
    assert_same(packed.unpack(), batch)
    assert_same(pickle.loads(pickle.dumps(packed)).unpack(), batch)
    tensors = [one for one in leaves(packed.unpack()) if isinstance(one, torch.Tensor)]
    assert len(tensors) > 10
    base = packed.buffer.data_ptr()
    assert all((one.data_ptr() - base) % ALIGNMENT == 0 for one in tensors)
    assert all(base <= one.data_ptr() <= base + packed.buffer.nbytes for one in tensors)


def test_all_of_a_batch_is_page_locked_at_once(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    locked: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: locked.append(tensor.clone()) or locked[-1])
    pinned = pack(batch).pin_memory()
    assert len(locked) == 1
    assert pinned.buffer is locked[0]
    assert_same(pinned.unpack(), batch)


def test_batches_cross_in_their_order(batch: Batch) -> None:
    plain, crossed = cross([batch, pack(batch)], CPU)
    assert plain is batch
    assert_same(crossed, batch)
    (there,) = cross([pack(batch)], torch.device("meta"))
    assert {one.device.type for one in leaves(there) if isinstance(one, torch.Tensor)} == {"meta"}


@pytest.mark.gpu
def test_batches_reach_the_gpu(batch: Batch) -> None:
    device = torch.device("cuda")
    for there in cross([pack(batch).pin_memory()] * 3, device):
        assert_same(pack(there).unpack(), batch)
