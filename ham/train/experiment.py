"""From a configuration to the parts of its training."""

from __future__ import annotations

from typing import Any

import torch

from ham.augment.speed import SpeedPerturbation
from ham.config import Config
from ham.frontends import SpecAugment
from ham.model.build import build_augmenter, build_backbone, build_frontend, build_loss
from ham.train.step import TrainingStep


def build_step(
    config: Config, options: Any, num_speakers: int, speed: SpeedPerturbation | None, device: torch.device
) -> TrainingStep:
    """The forward pass with fresh weights on the device."""
    frontend = build_frontend(config).to(device)
    stores = options.data_dir / "store"
    return TrainingStep(
        frontend=frontend if config.features == "computed" else None,
        backbone=build_backbone(config).to(device),
        loss=build_loss(config, num_speakers).to(device),
        mask=SpecAugment(config.spec_augment.max_time_width, config.spec_augment.max_freq_width),
        augmenter=build_augmenter(
            config.augment,
            stores / "musan" if options.musan else None,
            stores / "rirs" if options.rirs else None,
        ),
        keep_clean=config.augment.mode == "clean_plus_augmented",
        joint_pass=config.augment.joint_pass,
        speed=speed,
        crop_samples=frontend.crop_samples(config.data.crop_frames),
        precision=torch.bfloat16 if config.train.precision == "bfloat16" else None,
    )
