"""Estimates: steps and disk against their definitions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ham.config import from_dict
from ham.model.build import build_backbone, build_loss
from ham.train.estimate import SCORE_BYTES, Sizes, disk_bytes, epoch_steps, estimate
from tests.tiny_system import write_model

TINY = {
    "backbone": {"name": "ecapa_tdnn", "embedding_dim": 8, "channels": 16, "mfa_channels": 24, "scale": 4},
    "loss": {"name": "am_softmax"},
    "data": {"crop_frames": 50, "batch_size": 16, "crops_per_utterance": 3, "valid_speakers": 0},
    "augment": {"mode": "off"},
    "train": {"epochs": 7, "average_last": 2},
}


@pytest.mark.parametrize(
    ("num_utts", "steps", "crops"),
    [(100, 18, 16), (4, 1, 12)],  # 300 crops of which 12 wait for the next epoch; fewer than a batch
)
def test_steps_of_an_epoch(num_utts: int, steps: int, crops: int) -> None:
    assert epoch_steps(from_dict(TINY), num_utts) == (steps, crops)


@pytest.mark.parametrize(("optimiser", "copies"), [("adam", 3), ("sgd", 2)])
def test_disk_is_that_of_the_checkpoints(optimiser: str, copies: int) -> None:
    config = from_dict({**TINY, "optimiser": {"name": optimiser}})
    backbone, loss = build_backbone(config), build_loss(config, 9)
    weights = 4 * sum(p.numel() for part in (backbone, loss) for p in part.parameters())

    class Parts:
        pass

    parts = Parts()
    parts.backbone, parts.loss = backbone, loss  # type: ignore[attr-defined]
    none = Sizes(100, 9, 0, 0)
    assert disk_bytes(config, parts, none, 2) == (2 * copies + 1) * weights  # type: ignore[arg-type]
    some = Sizes(100, 9, 10, 50)
    assert disk_bytes(config, parts, some, 2) - disk_bytes(config, parts, none, 2) == (  # type: ignore[arg-type]
        10 * 8 * 4 + 50 * 2 * SCORE_BYTES
    )


@pytest.mark.parametrize("hears", ["clean", "recording"])
def test_a_step_is_timed_with_its_teacher(hears: str, tmp_path: Path) -> None:
    write_model(tmp_path / "teacher", "am_softmax")
    config = from_dict({**TINY, "distill": {"teacher": str(tmp_path / "teacher"), "hears": hears}})
    assert estimate(config, Sizes(4, 2, 0, 0), torch.device("cpu")).seconds > 0
