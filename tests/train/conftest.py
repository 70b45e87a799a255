"""A small training problem: noise whose colour is the speaker's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ham import backbones, frontends, losses
from ham.augment.augmenter import Augmenter, Materials, build_kinds
from ham.augment.speed import SpeedPerturbation
from ham.config import DataConfig, TrainConfig
from ham.data.batches import TrainingSet, training_set
from ham.data.store import ArrayStore, write_store
from ham.frontends import SpecAugment
from ham.model.encoder import Network
from ham.train.crops import TrainingCrops
from ham.train.loop import Loop
from ham.train.schedules import Schedules, cosine_rate
from ham.train.step import TrainingStep

NUM_SAMPLES = 4000
NO_MASK = SpecAugment(0, 0)


@pytest.fixture
def store(tmp_path: Path) -> ArrayStore:
    rng = np.random.default_rng(0)
    items = []
    for i in range(24):
        tone = np.sin(2 * np.pi * (200 + 150 * (i % 4)) * np.arange(6000) / 16000)
        items.append((f"s{i % 4}-u{i:02d}", (5000 * tone + rng.normal(0, 500, 6000)).astype(np.int16)))
    items.sort()
    write_store(tmp_path / "store", items, {"sample_rate": 16000})
    return ArrayStore(tmp_path / "store")


@pytest.fixture
def data(store: ArrayStore) -> TrainingSet:
    return training_set(store, {utt: utt[:2] for utt in store.utts})


@pytest.fixture
def make_step() -> Callable[..., TrainingStep]:
    def make(
        *,
        keep_clean: bool = False,
        joint_pass: bool = False,
        augment: bool = False,
        speed: bool = False,
        loss: str = "am_softmax",
        mask: SpecAugment = NO_MASK,
        **options: Any,
    ) -> TrainingStep:
        torch.manual_seed(0)
        perturbation = SpeedPerturbation(4) if speed else None
        kinds = build_kinds(["noise", "speech"], Materials())
        return TrainingStep(
            network=Network(frontends.build("mel", num_mel_bins=24), backbones.build("resnet18", 24, 16, width=4)),
            loss=losses.build(loss, 16, perturbation.num_classes if perturbation else 4),
            mask=mask,
            augmenter=Augmenter(kinds, probability=1.0) if augment else None,
            keep_clean=keep_clean,
            joint_pass=joint_pass,
            speed=perturbation,
            crop_samples=NUM_SAMPLES,
            **options,
        )

    return make


@pytest.fixture
def make_loop(store: ArrayStore, data: TrainingSet, tmp_path: Path) -> Callable[..., Loop]:
    def make(
        step: TrainingStep,
        folder: str = "exp",
        epochs: int = 3,
        *,
        seed: int = 5,
        checkpoint_steps: int = 0,
        checkpoint_minutes: float = 0.0,
        skip_nonfinite: int = 0,
        schedules: Schedules | None = None,
        **sampling: Any,
    ) -> Loop:
        lr = 1e-2
        (tmp_path / folder).mkdir(exist_ok=True)
        wanted = DataConfig(**{"batch_size": 8, **sampling})
        crops = TrainingCrops(store, data, wanted, num_rows=4400, seed=seed, draws=step.draws)
        return Loop(
            step=step,
            optimiser=torch.optim.Adam([*step.backbone.parameters(), *step.loss.parameters()], lr=lr),
            schedules=schedules or Schedules(cosine_rate(lr, epochs, warmup_epochs=0.5)),
            crops=crops,
            training=TrainConfig(
                epochs,
                average_last=2,
                clip_grad_norm=5.0,
                checkpoint_steps=checkpoint_steps,
                checkpoint_minutes=checkpoint_minutes,
                skip_nonfinite=skip_nonfinite,
            ),
            seed=seed,
            device=torch.device("cpu"),
            folder=tmp_path / folder,
            described={"seed": seed},
        )

    return make
