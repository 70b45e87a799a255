"""Stage 5: the mean of the last epochs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ham.bin.extract import average_checkpoints
from ham.errors import CheckpointError
from ham.train import checkpoint
from ham.train.checkpoint import weights_digest


def write(folder: Path, epochs: range, total: int, average_last: int) -> None:
    for epoch in epochs:
        state = {
            "config": {"train": {"epochs": total, "average_last": average_last}},
            "backbone": {"w": torch.full((2,), float(epoch))},
            "loss": {"weight": torch.full((3,), 10.0 * epoch)},
            **dict.fromkeys(
                (
                    "seed",
                    "fingerprint",
                    "num_speakers",
                    "speakers",
                    "valid_speakers",
                    "versions",
                    "schedules",
                    "command",
                ),
                1,
            ),
        }
        checkpoint.save(checkpoint.epoch_path(folder / "checkpoints", epoch), state)


def test_the_last_epochs_are_averaged(tmp_path: Path) -> None:
    write(tmp_path, range(3, 8), total=7, average_last=3)
    model = average_checkpoints(tmp_path)
    assert model["epochs"] == [5, 6, 7]
    assert model["backbone"]["w"].tolist() == [6.0, 6.0]
    assert model["loss"]["weight"].tolist() == [60.0] * 3
    assert checkpoint.load(tmp_path / "average.pt")["backbone"]["w"].tolist() == [6.0, 6.0]


def test_a_missing_epoch_is_named(tmp_path: Path) -> None:
    write(tmp_path, range(7, 8), total=7, average_last=2)
    with pytest.raises(CheckpointError, match="epoch_0006"):
        average_checkpoints(tmp_path)


def test_the_digest_follows_the_weights() -> None:
    model = {"backbone": {"w": torch.zeros(3)}}
    same = {"backbone": {"w": torch.zeros(3)}, "other": 1}
    moved = {"backbone": {"w": torch.tensor([0.0, 0.0, 1e-7])}}
    assert weights_digest(model) == weights_digest(same) != weights_digest(moved)
