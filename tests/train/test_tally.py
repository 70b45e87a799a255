"""The tally of an epoch: means, times and crops, also when it was written down in between."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
import torch

from ham.data.batches import Batch
from ham.train.tally import LOG_STEPS, Tally

CPU = torch.device("cpu")


def batch(*bad: str) -> Batch:
    return Batch(torch.zeros(2, 4), torch.tensor([0, 1]), np.arange(2), bad=bad)


def add(tally: Tally, step: int, loss: float, accuracy: float) -> None:
    tally.add(step, batch(), torch.tensor(loss), torch.tensor(accuracy), 2)


def test_means_are_over_the_epoch_and_over_the_last_steps() -> None:
    tally = Tally(CPU, {})
    losses = [float(step) for step in range(LOG_STEPS + 5)]
    for step, loss in enumerate(losses):
        add(tally, step, loss, 0.5)
    assert [(step, loss) for step, _, loss in tally.read()] == list(enumerate(losses))
    assert tally.read() == []
    assert tally.means() == pytest.approx({"loss": sum(losses) / len(losses), "accuracy": 0.5})
    assert tally.recent()["loss"] == pytest.approx(sum(losses[-LOG_STEPS:]) / LOG_STEPS)


def test_a_tally_goes_on_from_what_was_saved() -> None:
    before = Tally(CPU, {})
    assert list(map(id, before.watch([one := batch("a is lost")]))) == [id(one)]
    add(before, 1, 4.0, 0.0)
    before.read()
    saved = {**before.saved(), "elapsed_s": 100.0, "waited_s": 7.0}
    tally = Tally(CPU, saved)
    list(tally.watch([batch("b is lost"), batch()]))
    add(tally, 2, 2.0, 1.0)
    tally.read()
    assert tally.means() == {"loss": 3.0, "accuracy": 0.5}
    assert tally.bad == ("a is lost", "b is lost")
    assert tally.waited_s >= 7.0
    assert 100.0 <= tally.elapsed_s() < 100.0 + time.perf_counter()


@pytest.mark.parametrize(("device", "interval"), [("cpu", 1), ("meta", LOG_STEPS)])
def test_only_a_processor_is_read_at_every_step(device: str, interval: int) -> None:
    assert Tally(torch.device(device), {}).interval == interval


def test_without_a_step_that_counts_there_is_no_mean() -> None:
    tally = Tally(torch.device("cpu"), {})
    assert all(math.isnan(value) for value in tally.means().values())
    assert math.isnan(tally.recent()["loss"])
