"""Where the time of a training goes: a few of its steps, one table of their parts, and a trace to look into."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, record_function

from ham.data.batches import Batch
from ham.files import write_text
from ham.train.loop import Loop
from ham.train.parts import PARTS, Enter, unwatched
from ham.train.tally import Tally

WARM_UP, STEPS, TRACED = 5, 20, 3
"""Steps that are not counted, that are timed (twice: as they run, then part by part), and that are traced."""


@dataclass(frozen=True)
class Profile:
    """What a profile found.

    Attributes:
        seconds: of a step, by part, the device waited for at the end of each.
        step_s: seconds of a step as it runs, where the parts overlap.
        waiting: share of these that was spent waiting for batches.
        crops: crops of a step, those of all views.
        trace: what ``chrome://tracing`` and https://ui.perfetto.dev show.
    """

    seconds: dict[str, float]
    step_s: float
    waiting: float
    crops: int
    trace: Path

    def table(self) -> str:
        """The parts in Markdown, and a sentence about the steps as they run."""
        total = sum(self.seconds.values())
        rows = [f"| {part} | {spent:.4f} | {100 * spent / total:.1f} % |" for part, spent in self.seconds.items()]
        return "\n".join([
            "| part of a step | s | share |",
            "|---|---:|---:|",
            *rows,
            f"| together | {total:.4f} | |",
            "",
            f"As the steps run, with nobody looking: {self.step_s:.4f} s, {self.crops / self.step_s:,.0f} crops/s, "
            f"{100 * self.waiting:.1f} % waiting for batches. Trace: {self.trace}",
        ])  # fmt: skip


class Stopwatch:
    """Counts the time from the beginning of each part to that of the next, once the device has done its work.

    Args:
        device: where is computed.
    """

    def __init__(self, device: torch.device) -> None:
        self.seconds = dict.fromkeys(PARTS, 0.0)
        self._device, self._part, self._since = device, "", 0.0

    def __call__(self, part: str) -> None:
        """Begin a part; "" ends the last one."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.perf_counter()
        if self._part:
            self.seconds[self._part] = self.seconds.get(self._part, 0.0) + now - self._since
        self._part, self._since = part, now


class Ranges:
    """Shows each part as a range of the trace; those of the way back, which another thread may take, are left out."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._range: record_function | None = None

    def __call__(self, part: str) -> None:
        """Begin a part; "" ends the last one."""
        if threading.get_ident() != self._thread:
            return
        if self._range is not None:
            self._range.__exit__(None, None, None)
        self._range = record_function(part) if part else None
        if self._range is not None:
            self._range.__enter__()  # type: ignore[no-untyped-call]


def profile(loop: Loop, folder: Path) -> Profile:
    """Run some steps of a training and measure their parts; nothing is saved, the weights are no more of use.

    Args:
        loop: the training.
        folder: made if missing, for ``trace.json`` and ``profile.md``.

    Raises:
        DataError: if a crop cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    loop.step.backbone.train()
    with closing(loop.crops):
        found = _measured(loop, folder / "trace.json")
    write_text(folder / "profile.md", found.table() + "\n")
    return found


def _measured(loop: Loop, trace: Path) -> Profile:
    """Steps as they run, steps part by part, and steps that are traced, one after the other."""
    step = loop.step
    batches = chain.from_iterable(loop.crops.batches(epoch, enter=lambda part: step.enter(part)) for epoch in count(1))
    _run(loop, batches, WARM_UP, unwatched)
    free = _run(loop, batches, STEPS, unwatched)
    free_s = free.elapsed_s()
    watch = Stopwatch(loop.device)
    _run(loop, batches, STEPS, watch)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if loop.device.type == "cuda" else [])]
    with torch.profiler.profile(activities=activities, acc_events=True) as profiler:
        _run(loop, batches, TRACED, Ranges())
    profiler.export_chrome_trace(str(trace))
    return Profile(
        {part: seconds / STEPS for part, seconds in watch.seconds.items()},
        free_s / STEPS,
        free.waited_s / free_s,
        loop.crops.crops_per_epoch // loop.crops.steps_per_epoch * step.views,
        trace,
    )


def _run(loop: Loop, batches: Iterator[Batch], num_steps: int, enter: Enter) -> Tally:
    """Take some steps; ``enter`` is told of each part of them."""
    tally = Tally(loop.device, {})
    loop.step.enter = enter
    enter("waiting")
    for batch in tally.watch(islice(batches, num_steps)):
        loop.update(batch, tally)
        enter("waiting")
    enter("")
    tally.read()  # on an accelerator the steps are done only now
    return tally
