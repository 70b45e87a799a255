"""The loop: it learns, resumes exactly, and stops where it must."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

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


def epoch_events(loop: Loop) -> list[dict[str, float]]:
    log = [json.loads(line) for line in (loop.folder / "train.jsonl").read_text().splitlines()]
    return [r for r in log if r["event"] == "epoch"]


@pytest.mark.parametrize("loss", ["softmax", "am_softmax", "ham_softmax", "eh_am_softmax"])
def test_every_epoch_tells_what_the_geometry_does(loss: str, make_step: Make, make_loop: Callable[..., Loop]) -> None:
    loop = make_loop(make_step(loss=loss), epochs=2)
    loop.run()
    events = epoch_events(loop)
    named = {f"diag/{key}": value for key, value in loop.step.loss.diagnostics(*loop.step._latest).items()}
    found = {key: value for key, value in events[-1].items() if key.startswith("diag/")}
    assert set(found) == set(named)
    assert {"diag/embedding_norm/q50", "diag/cosine/target", "diag/effective_scale"} <= set(found)
    hyperbolic = {"diag/on_shell/embeddings", "diag/distance/target", "diag/centre_radius/q95", "diag/curvature"}
    assert (hyperbolic <= set(found)) == (loss in ("ham_softmax", "eh_am_softmax"))
    board = EventAccumulator(str(loop.folder / "tensorboard")).Reload()
    assert [e.value for e in board.Scalars("epoch/diag/cosine/target")] == pytest.approx(
        [e["diag/cosine/target"] for e in events]
    )


def test_the_curvature_follows_its_schedule(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    loop = make_loop(make_step(loss="ham_softmax"), epochs=3)
    loop.settings = replace(loop.settings, curvature_at=lambda epoch: 2.0 + epoch)
    loop.run()
    steps = loop.steps_per_epoch
    expected = [2.0 + (steps * epoch - 1) / steps for epoch in (1, 2, 3)]
    assert [e["curvature"] for e in epoch_events(loop)] == pytest.approx(expected)
    assert [e["diag/curvature"] for e in epoch_events(loop)] == pytest.approx(expected)
    assert loop.step.loss.curvature == pytest.approx(expected[-1])


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
