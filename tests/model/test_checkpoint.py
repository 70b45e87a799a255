"""Checkpoints: atomic, safe to load, averaged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from ham.errors import CheckpointError
from ham.model import checkpoint


def test_round_trip_and_no_leftovers(tmp_path: Path) -> None:
    path = checkpoint.epoch_path(tmp_path / "c", 12)
    checkpoint.save(path, {"epoch": 12, "backbone": nn.Linear(2, 3).state_dict(), "seed": 1})
    assert path.name == "epoch_0012.pt"
    assert [p.name for p in path.parent.iterdir()] == ["epoch_0012.pt"]
    assert checkpoint.load(path)["epoch"] == 12


def test_missing_damaged_and_wrong_files_are_named(tmp_path: Path) -> None:
    path = checkpoint.epoch_path(tmp_path, 1)
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        checkpoint.load(path)
    checkpoint.save(path, {"weights": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)
    path.write_text("no checkpoint", encoding="utf-8")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path)


def test_prune_keeps_the_last(tmp_path: Path) -> None:
    for epoch in (1, 2, 3, 10):
        checkpoint.save(checkpoint.epoch_path(tmp_path, epoch), {})
    checkpoint.prune(tmp_path, 2)
    assert checkpoint.saved_epochs(tmp_path) == [3, 10]


def test_within_an_epoch_only_the_last_one_stays_until_the_epoch_has_one(tmp_path: Path) -> None:
    for place in ((3, 21), (3, 25), (4, 30), (4, 40)):
        checkpoint.save(checkpoint.step_path(tmp_path, *place), {})
    assert checkpoint.saved_epochs(tmp_path) == []
    assert checkpoint.saved_steps(tmp_path) == [(3, 21), (3, 25), (4, 30), (4, 40)]
    checkpoint.save(checkpoint.epoch_path(tmp_path, 3), {})
    checkpoint.prune(tmp_path, 2)
    assert checkpoint.saved_steps(tmp_path) == [(4, 40)]
    checkpoint.save(checkpoint.epoch_path(tmp_path, 4), {})
    checkpoint.prune(tmp_path, 2)
    assert checkpoint.saved_steps(tmp_path) == []
    assert checkpoint.saved_epochs(tmp_path) == [3, 4]


def test_average_is_the_mean_and_takes_the_last_counter() -> None:
    norms = [nn.BatchNorm1d(4) for _ in range(3)]
    for k, norm in enumerate(norms):
        norm.running_mean.fill_(float(k))
        norm.weight.data.fill_(3.0 * k)
        norm.num_batches_tracked.fill_(10 * k)
    mean = checkpoint.average([n.state_dict() for n in norms])
    assert mean["running_mean"].tolist() == [1.0] * 4
    assert mean["weight"].tolist() == [3.0] * 4
    assert int(mean["num_batches_tracked"]) == 20


def test_average_of_equal_weights_is_those_weights() -> None:
    state = nn.Linear(7, 5).state_dict()
    mean = checkpoint.average([state] * 3)
    assert all(torch.equal(mean[k], state[k]) for k in state)


def test_the_digest_follows_the_weights() -> None:
    model = {"backbone": {"w": torch.zeros(3)}}
    same = {"backbone": {"w": torch.zeros(3)}, "other": 1}
    moved = {"backbone": {"w": torch.tensor([0.0, 0.0, 1e-7])}}
    assert checkpoint.weights_digest(model) == checkpoint.weights_digest(same) != checkpoint.weights_digest(moved)
