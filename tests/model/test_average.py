"""The mean of the last epochs, made anew only when a checkpoint is new."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from ham.config import TrainConfig
from ham.errors import CheckpointError
from ham.model import checkpoint
from ham.model.average import KEPT, START, average_checkpoints, interpolated, keep_start, stopped_early


def write(folder: Path, epochs: range, total: int, average_last: int) -> None:
    for epoch in epochs:
        state = {
            "config": {"train": {"epochs": total, "average_last": average_last}},
            "backbone": {"w": torch.full((2,), float(epoch))},
            "loss": {"weight": torch.full((3,), 10.0 * epoch)},
            **dict.fromkeys({*KEPT} - {"config"}, 1),
        }
        path = checkpoint.epoch_path(folder / "checkpoints", epoch)
        checkpoint.save(path, state)
        os.utime(path, (path.stat().st_mtime - 1,) * 2)  # the clock of a file system may tick slower than a test


def test_the_last_epochs_are_averaged(tmp_path: Path) -> None:
    write(tmp_path, range(3, 8), total=7, average_last=3)
    average_checkpoints(tmp_path)
    model = checkpoint.load(tmp_path / "average.pt")
    assert {*model} == {*KEPT, "epochs", "epoch", "backbone", "loss"}
    assert model["epochs"] == [5, 6, 7]
    assert model["backbone"]["w"].tolist() == [6.0, 6.0]
    assert model["loss"]["weight"].tolist() == [60.0] * 3


def test_the_same_checkpoints_are_averaged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    path, newest = tmp_path / "average.pt", checkpoint.epoch_path(tmp_path / "checkpoints", 3)
    write(tmp_path, range(1, 4), total=3, average_last=2)
    average_checkpoints(tmp_path)
    before = path.read_bytes(), path.stat().st_mtime_ns
    average_checkpoints(tmp_path)
    assert "up to date" in caplog.text
    assert before == (path.read_bytes(), path.stat().st_mtime_ns)
    checkpoint.save(newest, {**checkpoint.load(newest), "backbone": {"w": torch.zeros(2)}})
    average_checkpoints(tmp_path)
    assert checkpoint.load(path)["backbone"]["w"].tolist() == [1.0, 1.0]
    whole = path.read_bytes()
    path.write_bytes(whole[:500])
    average_checkpoints(tmp_path)
    assert path.read_bytes() == whole
    write(tmp_path, range(4, 5), total=5, average_last=2)
    with pytest.raises(CheckpointError, match="stopped after epoch 4 of 5"):
        average_checkpoints(tmp_path)


def rate(folder: Path, eers: dict[int, float], **train: object) -> None:
    """Give the last checkpoint validation EERs and further settings."""
    path = checkpoint.epoch_path(folder / "checkpoints", max(eers))
    state = checkpoint.load(path)
    block = {"train": {**state["config"]["train"], **train}}
    checkpoint.save(path, {**state, "config": block, "valid_eers": eers})


def test_the_best_epochs_are_averaged(tmp_path: Path) -> None:
    write(tmp_path, range(1, 6), total=5, average_last=2)
    rate(tmp_path, {1: 0.4, 2: 0.1, 3: 0.3, 4: 0.1, 5: 0.2}, keep="best")
    average_checkpoints(tmp_path)
    assert checkpoint.load(tmp_path / "average.pt")["epochs"] == [2, 4]
    rate(tmp_path, {1: 0.4, 2: 0.1, 3: 0.3, 4: 0.1, 5: 0.1}, keep="best")
    average_checkpoints(tmp_path)
    assert checkpoint.load(tmp_path / "average.pt")["epochs"] == [4, 5]


def test_a_training_that_ended_early_is_finished(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4), total=9, average_last=2)
    rate(tmp_path, {1: 0.2, 2: 0.2, 3: 0.3}, early_stop=2)
    average_checkpoints(tmp_path)
    assert checkpoint.load(tmp_path / "average.pt")["epochs"] == [2, 3]
    rate(tmp_path, {1: 0.2, 2: 0.1, 3: 0.3}, early_stop=2)
    with pytest.raises(CheckpointError, match="stopped after epoch 3 of 9"):
        average_checkpoints(tmp_path)


def test_moving_averages_are_averaged_where_there_are_some(tmp_path: Path) -> None:
    write(tmp_path, range(1, 3), total=2, average_last=2)
    for epoch in (1, 2):
        path = checkpoint.epoch_path(tmp_path / "checkpoints", epoch)
        average = {"backbone": {"w": torch.full((2,), 100.0 * epoch)}, "loss": {"weight": torch.zeros(3)}, "steps": 1}
        checkpoint.save(path, {**checkpoint.load(path), "ema": average})
    average_checkpoints(tmp_path)
    model = checkpoint.load(tmp_path / "average.pt")
    assert model["backbone"]["w"].tolist() == [150.0, 150.0]
    assert model["loss"]["weight"].tolist() == [0.0] * 3


def test_a_missing_epoch_is_named(tmp_path: Path) -> None:
    write(tmp_path, range(7, 8), total=7, average_last=2)
    with pytest.raises(CheckpointError, match="epoch_0006"):
        average_checkpoints(tmp_path)


def test_weights_between_the_start_and_the_end() -> None:
    start = {"w": torch.tensor([1.0, -3.0]), "steps": torch.tensor(4)}
    end = {"w": torch.tensor([2.0, 1.0]), "steps": torch.tensor(9)}
    for share in (0.0, 0.25, 1.0):
        found = interpolated(start, end, share)
        assert found["w"].tolist() == [share * a + (1 - share) * b for a, b in ((1.0, 2.0), (-3.0, 1.0))]
        assert found["steps"] == 9


def test_the_average_moves_towards_the_start_where_that_is_asked(tmp_path: Path) -> None:
    write(tmp_path, range(1, 4), total=3, average_last=2)
    rate(tmp_path, {3: 0.1}, interpolate=0.2)
    with pytest.raises(
        CheckpointError, match=r"start\.pt: no such .*put back a copy of it, or delete the folder and tr"
    ):
        average_checkpoints(tmp_path)
    checkpoint.save(tmp_path / START, {})
    with pytest.raises(CheckpointError, match=r"start\.pt: .*lacks 'backbone'"):
        average_checkpoints(tmp_path)
    keep_start(tmp_path, {"w": torch.tensor([0.0, 10.0])}, TrainConfig(interpolate=0.2))
    average_checkpoints(tmp_path)
    model = checkpoint.load(tmp_path / "average.pt")
    assert model["backbone"]["w"].tolist() == [2.0, 4.0]  # 0.8 x 2.5, and 0.2 x 10 more
    assert model["loss"]["weight"].tolist() == [25.0] * 3


def test_nothing_is_kept_where_nothing_is_interpolated(tmp_path: Path) -> None:
    keep_start(tmp_path, {}, TrainConfig())
    assert not any(tmp_path.iterdir())


def test_epochs_of_a_resting_backbone_do_not_end_a_training() -> None:
    training = TrainConfig(early_stop=2, freeze_epochs=3)
    assert not stopped_early(training, dict.fromkeys(range(1, 4), 0.2))
    assert not stopped_early(training, dict.fromkeys(range(1, 5), 0.2))
    assert stopped_early(training, dict.fromkeys(range(1, 6), 0.2))
