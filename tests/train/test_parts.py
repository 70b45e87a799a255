"""The parts of a step come in their order."""

from __future__ import annotations

from collections.abc import Callable

from ham.train.loop import Loop
from ham.train.parts import PARTS
from ham.train.step import TrainingStep
from ham.train.tally import Tally


def test_a_step_goes_through_its_parts(make_step: Callable[..., TrainingStep], make_loop: Callable[..., Loop]) -> None:
    """The way back of two views meets network and loss once more for each."""
    loop = make_loop(make_step(augment=True, keep_clean=True, speed=True))
    seen: list[str] = []
    loop.step.enter = seen.append
    (batch, *_) = loop.crops.batches(1, 2, seen.append)
    loop.update(batch, Tally(loop.device, {}))
    assert seen[:7] == ["copy", "augment", "features", "backbone", "loss", "backbone", "loss"]
    assert sorted(seen[7:-1]) == ["backbone", "backbone", "loss", "loss"]
    assert seen[-1] == PARTS[-1]
    assert set(seen) == {*PARTS[1:]}
