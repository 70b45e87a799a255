"""The table of a profile adds up, and its trace can be read."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable

import pytest
import torch

from ham.train import profile as module
from ham.train.loop import Loop
from ham.train.parts import PARTS
from ham.train.profile import Stopwatch, profile
from ham.train.step import TrainingStep


def test_time_belongs_to_the_part_that_was_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([1.0, 3.0, 4.0, 14.0, 20.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))
    watch = Stopwatch(torch.device("cpu"))
    for part in ("loss", "copy", "loss", "", "loss"):
        watch(part)
    assert watch.seconds == {**dict.fromkeys(PARTS, 0.0), "loss": 2.0 + 10.0, "copy": 1.0}


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_profile_measures_every_part_and_saves_no_weights(
    num_workers: int,
    make_step: Callable[..., TrainingStep],
    make_loop: Callable[..., Loop],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By a clock that a look at it moves on by a second, and a pass of the backbone by a thousand."""
    loop = make_loop(make_step(augment=True, keep_clean=True, speed=True), num_workers=num_workers)
    clock = itertools.count(1.0)
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(clock))

    def _take_long(*_: object) -> None:
        for _ in range(1000):
            next(clock)

    loop.step.backbone.register_forward_pre_hook(_take_long)
    found = profile(loop, loop.folder / "profile")
    assert all(found.seconds[part] > 0 for part in PARTS)
    assert found.seconds["backbone"] == max(found.seconds.values())
    assert 0 < found.waiting < 1
    assert found.crops == 2 * 8
    shares = [float(share) for share in re.findall(r"([\d.]+) %", found.table())]
    assert len(shares) == len(PARTS) + 1
    assert sum(shares[:-1]) == pytest.approx(100, abs=0.5)
    assert (loop.folder / "profile/profile.md").read_text() == found.table() + "\n"
    names = {event.get("name") for event in json.loads(found.trace.read_text())["traceEvents"]}
    assert {*PARTS} <= names
    assert not (loop.folder / "checkpoints").exists()
    assert not (loop.folder / "train.jsonl").exists()
