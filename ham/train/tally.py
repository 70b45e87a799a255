"""What an epoch's steps gave: losses, accuracies, times, crops that could not be read."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ham.data.batches import Batch

LOG_STEPS = 10
"""A step event is written this often; on an accelerator the loss is also only read then, to keep it busy."""


class Tally:
    """Losses and accuracies of an epoch's steps; they are read from the device a few steps at a time.

    Args:
        device: where the steps are computed.
        before: what :meth:`saved` gave of the same epoch, when a checkpoint was written within it.

    Attributes:
        interval: the losses are to be read every this many steps.
        bad: one line for each crop that could not be read.
        waited_s: seconds spent waiting for batches.
    """

    def __init__(self, device: torch.device, before: Mapping[str, Any]) -> None:
        self.interval = 1 if device.type == "cpu" else LOG_STEPS
        self.waited_s = float(before.get("waited_s", 0.0))
        self.bad: tuple[str, ...] = tuple(before.get("bad", ()))
        self._pending: list[tuple[int, NDArray[np.int64], Tensor, Tensor]] = []
        self._pending_distances: list[Tensor] = []
        self._losses: list[float] = list(before.get("losses", ()))
        self._accuracies: list[float] = list(before.get("accuracies", ()))
        self._distances: list[float] = list(before.get("distances", ()))
        self._crops = 0
        self._started = time.perf_counter() - float(before.get("elapsed_s", 0.0))
        self._since = time.perf_counter()

    def saved(self) -> dict[str, Any]:
        """All of it as plain values, once nothing is pending."""
        return {
            "losses": list(self._losses),
            "accuracies": list(self._accuracies),
            "distances": list(self._distances),
            "bad": list(self.bad),
            "waited_s": self.waited_s,
            "elapsed_s": self.elapsed_s(),
        }

    def elapsed_s(self) -> float:
        """Seconds since the epoch began, those of stopped runs up to their checkpoint included."""
        return time.perf_counter() - self._started

    def watch(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Hand batches on; count the time spent waiting for them, and the crops that could not be read."""
        waiting = iter(batches)
        while True:
            started = time.perf_counter()
            batch = next(waiting, None)
            self.waited_s += time.perf_counter() - started
            if batch is None:
                return
            self.bad += batch.bad
            yield batch

    def add(
        self,
        step: int,
        batch: Batch,
        loss: Tensor,
        accuracy: Tensor,
        num_crops: int,
        distance: Tensor | None = None,
    ) -> None:
        """Remember a step without waiting for the device; ``distance`` is that from a teacher, where there is one."""
        if distance is not None:
            self._pending_distances.append(distance)
        self._pending.append((step, batch.entries, loss, accuracy))  # a whole batch would fill the device's memory
        self._crops += num_crops

    def read(self) -> list[tuple[int, NDArray[np.int64], float]]:
        """Wait for the steps remembered and give each one's number, utterances and loss."""
        read = [(step, entries, float(loss)) for step, entries, loss, _ in self._pending]
        self._losses += [loss for _, _, loss in read]
        self._accuracies += [float(accuracy) for *_, accuracy in self._pending]
        self._distances += [float(distance) for distance in self._pending_distances]
        self._pending, self._pending_distances = [], []
        return read

    def recent(self) -> dict[str, float]:
        """Means over the last steps, and the speed since this was last asked."""
        now = time.perf_counter()
        values = {
            **self._means(LOG_STEPS),
            "crops_per_s": self._crops / max(1e-9, now - self._since),
        }
        self._crops, self._since = 0, now
        return values

    def means(self) -> dict[str, float]:
        """Means over the epoch."""
        return self._means(0)

    def _means(self, num_steps: int) -> dict[str, float]:
        """Means over the last steps; 0 for all."""
        means = {"loss": _mean(self._losses[-num_steps:]), "accuracy": _mean(self._accuracies[-num_steps:])}
        return means | ({"distill_loss": _mean(self._distances[-num_steps:])} if self._distances else {})


def _mean(values: Sequence[float]) -> float:
    """Their mean; NaN where every step was skipped."""
    return float(np.mean(values)) if values else float("nan")
