"""The loop: it learns, resumes exactly, and stops where it must."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from ham.train import checkpoint
from ham.train.loop import DivergedError, Loop
from ham.train.step import TrainingStep

Make = Callable[..., TrainingStep]


def weights(loop: Loop) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in loop.parameters])


def test_it_learns_and_tells(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    loop = make_loop(make_step(), epochs=12)
    loop.run()
    log = [json.loads(line) for line in (loop.folder / "train.jsonl").read_text().splitlines()]
    epochs = [r for r in log if r["event"] == "epoch"]
    assert [r["epoch"] for r in epochs] == list(range(1, 13))
    assert epochs[-1]["loss"] < 0.5 * epochs[0]["loss"]
    assert epochs[-1]["accuracy"] > 0.9
    assert {"lr", "crops_per_s", "data_wait", "seconds"} <= set(epochs[-1])
    assert checkpoint.saved_epochs(loop.checkpoints) == [11, 12]


def test_a_resumed_run_is_the_run_that_was_not_stopped(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    whole = make_loop(make_step(augment=True, speed=True), "whole")
    whole.run()
    stopped = make_loop(make_step(augment=True, speed=True), "stopped")
    stopped._save = lambda epoch: (Loop._save(stopped, epoch), (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        stopped.run()
    resumed = make_loop(make_step(augment=True, speed=True), "stopped")
    torch.manual_seed(99)
    resumed.resume(1)
    resumed.run()
    assert torch.equal(weights(resumed), weights(whole))
    for loop in (whole, resumed):
        log = [json.loads(line) for line in (loop.folder / "train.jsonl").read_text().splitlines()]
        assert [r["epoch"] for r in log if r["event"] == "epoch"] == [1, 2, 3]


def test_a_loss_that_is_not_finite_stops_it_and_names_the_batch(
    make_step: Make, make_loop: Callable[..., Loop]
) -> None:
    loop = make_loop(make_step())
    with torch.no_grad():
        loop.step.loss.weight.fill_(float("nan"))
    with pytest.raises(DivergedError, match=r"step 1, batch of s\d-u\d\d, .* and 5 more"):
        loop.run()


def test_a_checkpoint_holds_everything(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    loop = make_loop(make_step(), epochs=1)
    loop.run()
    state = checkpoint.load(checkpoint.epoch_path(loop.checkpoints, 1))
    assert {"backbone", "loss", "optimiser", "schedules", "rng", "epoch", "step", "seed"} <= set(state)
    assert state["step"] == 3
