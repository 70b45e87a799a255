"""What must hold on a GPU as on a CPU; every test here is skipped where there is none."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ham import backbones, frontends, losses
from ham.augment.augmenter import Augmenter, Materials, build_kinds
from ham.config import Block
from ham.data.batches import Batch
from ham.data.store import ArrayStore, write_store
from ham.embeddings.extract import extract
from ham.frontends import SpecAugment
from ham.model.encoder import Network
from ham.train.crossing import pack
from ham.train.optimisers import build_optimiser, take_step
from ham.train.step import TrainingStep

pytestmark = pytest.mark.gpu
NUM_SAMPLES = 16000


def make_step(device: str, precision: torch.dtype | None = None, *, augment: bool = False) -> TrainingStep:
    """A small step whose weights are the same on every device."""
    torch.manual_seed(0)
    parts: list[nn.Module] = [
        frontends.build("mel", num_mel_bins=40),
        backbones.build("ecapa_tdnn", 40, 32, channels=64, mfa_channels=96, attention_channels=16, se_channels=16),
        losses.build("ham_softmax", 32, 10),
    ]
    network, loss = Network(*parts[:2]).to(device), parts[2].to(device)
    kinds = build_kinds(["reverb", "noise", "speech"], Materials())
    return TrainingStep(
        network=network,
        loss=loss,
        mask=SpecAugment(0, 0),
        augmenter=Augmenter(kinds, probability=1.0) if augment else None,
        keep_clean=augment,
        speed=None,
        crop_samples=NUM_SAMPLES,
        precision=precision,
    )


def make_batch() -> Batch:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(12, NUM_SAMPLES, generator=generator).mul(2000).to(torch.int16)
    return Batch(rows, torch.arange(12) % 10, np.arange(12))


def drawn(step: TrainingStep, batch: Batch, seed: int = 2) -> Batch:
    return pack(step.draws(batch, torch.Generator().manual_seed(seed))).to(step.device).unpack()


def gradients(step: TrainingStep) -> torch.Tensor:
    step.backward(drawn(step, make_batch()))
    return torch.cat([p.grad.flatten().cpu() for p in [*step.backbone.parameters(), *step.loss.parameters()]])


def test_a_step_has_the_gradients_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    ours, theirs = gradients(make_step("cuda")), gradients(make_step("cpu"))
    assert torch.nn.functional.cosine_similarity(ours, theirs, dim=0) > 0.9999
    assert (ours - theirs).norm() < 0.01 * theirs.norm()


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_a_step_gives_the_same_twice(precision: torch.dtype | None) -> None:
    first, second = (gradients(make_step("cuda", precision, augment=True)) for _ in range(2))
    assert torch.isfinite(first).all()
    assert (first - second).norm() < 1e-3 * first.norm()  # sums of atomic additions may differ in the last digits


def test_embeddings_are_those_of_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    rng = np.random.default_rng(0)
    items = [(f"u{i}", rng.normal(0, 2000, 8000 + 1000 * i).astype(np.int16)) for i in range(6)]
    write_store(tmp_path / "store", items, {"sample_rate": 16000})
    store, step = ArrayStore(tmp_path / "store"), make_step("cpu")
    there = copy.deepcopy(step.network).cuda()
    ours = extract(there, store, device=torch.device("cuda"), batch_size=4)
    theirs = extract(step.network, store, device=torch.device("cpu"), batch_size=4)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_an_update_never_waits_for_the_gpu(precision: torch.dtype | None) -> None:
    step = make_step("cuda", precision, augment=True)
    parameters = [*step.backbone.parameters(), *step.loss.parameters()]
    optimiser = build_optimiser(Block("adam"), parameters)
    for seed in range(3):  # the first steps make filters, plans and moments
        batch = drawn(step, make_batch(), seed)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error" if seed == 2 else "default")
        try:
            optimiser.zero_grad(set_to_none=True)
            step.backward(batch)
            take_step(optimiser, step.scaler, parameters, 5.0)
        finally:
            torch.cuda.set_sync_debug_mode("default")
