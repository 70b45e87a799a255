"""What chance decides is drawn on the central processor, and leaves a step without questions."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from ham import backbones, frontends, losses
from ham.augment import speed
from ham.augment.augmenter import KINDS, Augmenter, Materials, build_kinds
from ham.augment.speed import SpeedPerturbation
from ham.config import DataConfig
from ham.data.batches import Batch, TrainingSet
from ham.data.store import ArrayStore, write_store
from ham.frontends import SpecAugment
from ham.model.encoder import Network
from ham.train import loop as loop_module
from ham.train.crops import TrainingCrops
from ham.train.crossing import pack
from ham.train.draws import Drawn, Draws, step_generator
from ham.train.loop import Loop
from ham.train.step import TrainingStep
from ham.train.tally import Tally
from tests.alike import assert_same

QUESTIONS = {
    "aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.unique_dim", "aten._unique2",
    "aten.equal", "aten.is_nonzero", "aten.bincount", "aten.repeat_interleave.Tensor",
}  # fmt: skip
"""Operations whose result, or its size, the processor needs: a GPU would be waited for."""


class NoQuestions(TorchDispatchMode):
    """Fails at any of them, and at a choice by truth values, which asks how many are true."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        assert str(func.overloadpacket) not in QUESTIONS, func
        if str(func.overloadpacket) in ("aten.index", "aten.index_put_", "aten.index_put"):
            assert not any(one is not None and one.dtype == torch.bool for one in args[1]), func
        return func(*args, **(kwargs or {}))


@pytest.fixture
def no_questions(monkeypatch: pytest.MonkeyPatch) -> NoQuestions:
    """The mode; torchaudio works out the length of its result in a tensor that is never on the device."""
    play = speed.speed_perturb

    def unobserved(*args: Any) -> torch.Tensor:
        with _disable_current_modes():
            return play(*args)

    monkeypatch.setattr(speed, "speed_perturb", unobserved)
    return NoQuestions()


@pytest.fixture(params=[False, True], ids=["made here", "stores"])
def materials(request: pytest.FixtureRequest, tmp_path: Path) -> Materials:
    if not request.param:
        return Materials()
    draw = np.random.default_rng(0).integers
    for name, prefixes in (("noise", ("noise", "music", "speech")), ("rooms", ("room",))):
        items = ((f"{p}-{i}", draw(-3000, 3000, 900 + 900 * i, dtype=np.int16)) for p in prefixes for i in range(9))
        write_store(tmp_path / name, items, {"sample_rate": 16000})
    return Materials(noise_store=ArrayStore(tmp_path / "noise"), room_store=ArrayStore(tmp_path / "rooms"))


def full_step(materials: Materials, device: str = "cpu", loss: str = "ham_softmax") -> TrainingStep:
    """Every kind of augmentation, speeds and masks."""
    torch.manual_seed(0)
    speeds = SpeedPerturbation(4)
    kinds = build_kinds([kind for kind in KINDS if kind != "music" or materials.noise_store], materials)
    backbone = backbones.build("ecapa_tdnn", 24, 16, channels=16, mfa_channels=24, attention_channels=8, se_channels=8)
    return TrainingStep(
        network=Network(frontends.build("mel", num_mel_bins=24), backbone).to(device),
        loss=losses.build(loss, 16, speeds.num_classes).to(device),
        mask=SpecAugment(10, 8),
        augmenter=Augmenter(kinds, probability=0.9),
        keep_clean=True,
        speed=speeds,
        crop_samples=4000,
    )


def a_batch(step: TrainingStep, seed: int = 7) -> Batch:
    rows = torch.randn(24, 4400, generator=torch.Generator().manual_seed(1)).mul(2000).to(torch.int16)
    return step.draws(Batch(rows, torch.arange(24) % 4, np.arange(24)), step_generator(seed, 3))


@pytest.mark.parametrize("loss", sorted(losses.LOSSES))
def test_a_step_asks_nothing(loss: str, no_questions: NoQuestions) -> None:
    step = full_step(Materials(), loss=loss)
    batch = a_batch(step)
    with no_questions:
        step.backward(batch)


def test_an_update_asks_nothing(
    make_step: Callable[..., TrainingStep],
    make_loop: Callable[..., Loop],
    no_questions: NoQuestions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """But for the optimiser, which on the CPU reads its own counters."""
    monkeypatch.setattr(loop_module, "take_step", lambda *_: None)
    loop = make_loop(make_step(augment=True, keep_clean=True, speed=True, loss="ham_softmax", accumulate=2))
    batch, tally = next(loop.crops.batches(1)), Tally(loop.device, {})
    tally.interval = 10  # as on an accelerator
    with no_questions:
        loop.update(batch, tally)


def test_no_kind_of_augmentation_asks_anything(materials: Materials, no_questions: NoQuestions) -> None:
    step = full_step(materials)
    batch = a_batch(step)
    assert isinstance(batch.drawn, Drawn)
    assert len({change.kind for change in batch.drawn.changes}) == 5 + (materials.noise_store is not None)
    with no_questions:
        step.backward(batch)


def test_a_question_is_found() -> None:
    for ask in (lambda x: x.sum().item(), lambda x: x[x > 0], lambda x: torch.nonzero(x)):
        with pytest.raises(AssertionError), NoQuestions():
            ask(torch.ones(3))


def augmented(step: TrainingStep, batch: Batch) -> list[torch.Tensor]:
    """Waveforms at their speeds, augmented, and masked features."""
    waves, own = step.speed.apply(batch.rows.float() / 32768, batch.drawn.speeds, step.crop_samples), batch.drawn.own
    ones = torch.ones(len(batch.labels), *step.draws.shape, device=waves.device)
    masked = [step.mask.apply(ones, masks) for masks in batch.drawn.masks]
    return [waves[own], step.augmenter.apply(waves, batch.drawn.changes)[own], *masked]


def test_a_device_without_values_is_enough_for_the_augmentation(materials: Materials) -> None:
    """Nothing is drawn there, no number is asked for, and every tensor is where it should be."""
    step = full_step(materials)
    there = augmented(step, pack(a_batch(step)).to(torch.device("meta")).unpack())
    assert {one.device.type for one in there} == {"meta"}
    assert [one.shape for one in there] == [one.shape for one in augmented(step, a_batch(step))]


def test_draws_are_a_function_of_seed_and_step(materials: Materials) -> None:
    step = full_step(materials)
    torch.manual_seed(1)
    first = a_batch(step)
    torch.manual_seed(2)
    assert_same(first, a_batch(step))
    with pytest.raises((AssertionError, ValueError)):
        assert_same(first, a_batch(step, seed=8))


def test_draws_can_be_sent_to_another_process(materials: Materials) -> None:
    step = full_step(materials)
    sent = pickle.loads(pickle.dumps(step.draws))
    batch = Batch(torch.zeros(24, 4400, dtype=torch.int16), torch.arange(24) % 4, np.arange(24))
    assert_same(*(draws(batch, step_generator(1, 2)) for draws in (step.draws, sent)))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_loader_draws_what_the_step_would(
    num_workers: int, store: ArrayStore, data: TrainingSet, materials: Materials
) -> None:
    step = full_step(materials)
    sampling = DataConfig(batch_size=8, num_workers=num_workers)
    crops = TrainingCrops(store, data, sampling, num_rows=4400, seed=5, draws=step.draws)
    plain = TrainingCrops(store, data, DataConfig(batch_size=8), num_rows=4400, seed=5)
    for epoch in (1, 2):
        for number, (found, read) in enumerate(zip(crops.batches(epoch, 1), plain.batches(epoch, 1), strict=True)):
            assert_same(found, step.draws(read, step_generator(5, 3 * (epoch - 1) + 1 + number)))


def of_process(step: TrainingStep, rank: int, world_size: int) -> Draws:
    return replace(step.draws, rank=rank, world_size=world_size)


@pytest.mark.parametrize("world_size", [2, 4, 12])
def test_the_shares_of_all_processes_are_the_batch(world_size: int, materials: Materials) -> None:
    """Each has its own rows, and those heard behind them where noise is made of the batch."""
    step, rows = full_step(materials), torch.randn(24, 4400, generator=torch.Generator().manual_seed(1))
    batch = Batch(rows.mul(2000).to(torch.int16), torch.arange(24) % 4, np.arange(24))
    whole, shares = a_batch(step), []
    for rank in range(world_size):
        share = of_process(step, rank, world_size)(batch, step_generator(7, 3))
        present = share.drawn.present.tolist()
        assert present[share.drawn.own] == list(range(24))[rank * 24 // world_size : (rank + 1) * 24 // world_size]
        shares.append(replace(share, rows=batch.rows[present]))
    assert (sum(len(share.rows) for share in shares) > 24) == (materials.noise_store is None)
    assert torch.cat([share.labels for share in shares]).equal(whole.labels)
    heard = zip(*(augmented(step, share) for share in shares), strict=True)
    for together, expected in zip(heard, augmented(step, whole), strict=True):
        torch.testing.assert_close(torch.cat(together), expected, rtol=0.0, atol=5e-7)


@pytest.mark.parametrize("materials", [True], indirect=True)
def test_a_process_reads_and_carries_what_its_own_rows_need(
    store: ArrayStore, data: TrainingSet, materials: Materials, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: Counter[tuple[str, int, int]] = Counter()
    read = ArrayStore.read

    def counted(one: ArrayStore, index: int, start: int = 0, num_rows: int | None = None) -> Any:
        if num_rows != 0:
            reads[one.path.name, index, start] += 1
        return read(one, index, start, num_rows)

    monkeypatch.setattr(ArrayStore, "read", counted)
    step, sizes, counts = full_step(materials), [], []
    for rank, world_size in ((0, 1), (0, 4), (1, 4), (2, 4), (3, 4)):
        draws = of_process(step, rank, world_size)
        crops = TrainingCrops(store, data, DataConfig(batch_size=24), num_rows=4400, seed=5, draws=draws)
        reads.clear()
        sizes.append(pack(crops.gatherer[1, 0]).buffer.nbytes)
        counts.append(Counter(reads))
    assert {name for name, _, _ in counts[0]} == {"store", "noise", "rooms"}
    assert sum(counts[1:], Counter()) == counts[0]
    assert all(sum(n for (name, *_), n in one.items() if name == "store") == 6 for one in counts[1:])
    assert max(sizes[1:]) < 0.4 * sizes[0]
    assert sum(sizes[1:]) < 1.05 * sizes[0]


@pytest.mark.gpu
def test_a_gpu_gets_the_samples_of_the_cpu(materials: Materials) -> None:
    ours, theirs = full_step(materials), full_step(materials, "cuda")
    batch = a_batch(ours)
    there = pack(batch).to(theirs.device).unpack()
    for cpu, gpu in zip(augmented(ours, batch), augmented(theirs, there), strict=True):
        torch.testing.assert_close(gpu.cpu(), cpu, rtol=1e-3, atol=1e-4)


@pytest.mark.gpu
def test_a_gpu_is_never_waited_for(materials: Materials) -> None:
    step = full_step(materials, "cuda")
    there: Callable[[int], Batch] = lambda seed: pack(a_batch(step, seed)).to(step.device).unpack()  # noqa: E731
    step.backward(there(1))  # the first step makes filters and plans
    batch = there(2)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step.backward(batch)
    finally:
        torch.cuda.set_sync_debug_mode("default")
