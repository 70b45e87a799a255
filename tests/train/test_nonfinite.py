"""Steps without a finite loss: skipped within the budget, and without a trace."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from ham.losses.base import LossOutput
from ham.model import checkpoint
from ham.train.loop import DivergedError, Loop
from ham.train.nonfinite import Skipping
from ham.train.step import TrainingStep

Make = Callable[..., TrainingStep]


def spoil(loop: Loop, *steps: int) -> None:
    """Let the loss of some steps be infinite."""
    loop.step.loss.register_forward_hook(
        lambda module, args, out: LossOutput(out.loss * float("inf"), out.accuracy) if loop.done + 1 in steps else out
    )


def everything(loop: Loop) -> list[torch.Tensor]:
    """Weights, buffers, and the optimiser's state of each weight."""
    states = [torch.as_tensor(value) for p in loop.parameters for value in loop.optimiser.state[p].values()]
    trained = [*loop.step.backbone.state_dict().values(), *loop.step.loss.state_dict().values()]
    return [tensor.clone() for tensor in (*trained, *states)]


def test_a_skipped_step_changes_nothing(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    loop, seen = make_loop(make_step(), epochs=2, skip_nonfinite=1), []
    spoil(loop, 3)
    loop.step.backbone.register_forward_pre_hook(lambda *_: seen.append(everything(loop)))
    loop.run()
    torch.testing.assert_close(seen[3], seen[2], rtol=0, atol=0)
    assert not torch.equal(seen[2][0], seen[1][0])
    assert loop.done == 6


def test_as_many_as_may_be_are_skipped_counted_and_told(
    make_step: Make, make_loop: Callable[..., Loop], caplog: pytest.LogCaptureFixture
) -> None:
    loop = make_loop(make_step(), epochs=2, skip_nonfinite=2)
    spoil(loop, 2, 5)
    loop.run()
    log = [json.loads(line) for line in (loop.folder / "train.jsonl").read_text().splitlines()]
    assert [event["skipped_steps"] for event in log if event["event"] == "epoch"] == [1, 2]
    assert all(event["loss"] is not None for event in log if event["event"] != "start")
    assert "the loss is inf at step 5, batch of s" in caplog.text
    assert "skipped, 2 of at most 2 (train.skip_nonfinite)" in caplog.text


def test_one_more_stops_it_after_a_resume_too(make_step: Make, make_loop: Callable[..., Loop]) -> None:
    for folder, resumed in (("at once", False), ("resumed", True)):
        loop = make_loop(make_step(), folder, epochs=3, skip_nonfinite=1)
        spoil(loop, 2, 7 if resumed else 3)
        with pytest.raises(DivergedError, match=r"at step [37], .*or go on with --resume and a higher train.skip_non"):
            loop.run()
    assert checkpoint.saved_epochs(loop.folder / "checkpoints") == [1, 2]
    again = make_loop(make_step(), "resumed", epochs=3, skip_nonfinite=1)
    again.resume(2)
    spoil(again, 9)
    with pytest.raises(DivergedError, match="at step 9"):
        again.run()


def test_without_a_budget_nothing_is_looked_at() -> None:
    skipping = Skipping([torch.nn.BatchNorm1d(2)], 0)
    skipping.remember()
    assert not skipping.skips(torch.tensor(float("nan")))
    assert skipping.count == 0
