"""TensorBoard's curves are whole wherever the clock stood when a training was resumed."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ham.train.event_files import keep_in_order
from ham.train.monitor import Monitor


def test_names_stay_as_they_are_or_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1000.7)
    for stamp in ("0000000003", "0000000998", "0000000999", "0000001000", "0000002000"):
        (tmp_path / f"events.out.tfevents.{stamp}.host.{stamp[-2:]}.0").write_text(stamp)
    (tmp_path / "other.txt").write_text("")
    keep_in_order(tmp_path)
    found = sorted(tmp_path.glob("events*"))
    assert [path.read_text() for path in found] == [
        "0000000003", "0000000998", "0000000999", "0000001000", "0000002000",
    ]  # fmt: skip
    assert [path.name.split(".")[3] for path in found] == [
        "0000000003", "0000000996", "0000000997", "0000000998", "0000000999",
    ]  # fmt: skip
    keep_in_order(tmp_path)
    assert sorted(tmp_path.glob("events*")) == found


@pytest.mark.parametrize("clocks", [(2000, 1000, 500), (1000, 1000, 1000), (1000, 2000, 1500)])
def test_a_resumed_run_purges_what_came_after_its_step(
    clocks: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run, (clock, first) in enumerate(zip(clocks, (0, 2, 5), strict=True)):
        monkeypatch.setattr(time, "time", lambda clock=clock: float(clock))
        with Monitor(tmp_path, first_epoch=1, first_step=first, total_steps=9) as monitor:
            for step in range(first + 1, first + 5):
                monitor.step(step, {"epoch": 1, "loss": 100.0 * run + step})
    board = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    expected = [(1, 1), (2, 2), (3, 103), (4, 104), (5, 105), (6, 206), (7, 207), (8, 208), (9, 209)]
    assert [(event.step, event.value) for event in board.Scalars("1_loss/train")] == expected
