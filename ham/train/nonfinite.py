"""Steps whose loss is not finite: so many of a training are skipped, and leave no trace in weights or statistics."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Skipping:
    """Skips such steps while the budget lasts.

    Args:
        modules: what is trained; their buffers, such as running statistics, change in a forward pass already.
        most: steps that may be skipped; with 0 nothing is looked at.

    Attributes:
        count: steps that were skipped.
    """

    def __init__(self, modules: Sequence[nn.Module], most: int) -> None:
        self.count = 0
        self._modules, self._most = modules, most
        self._before: list[Tensor] = []

    def __str__(self) -> str:
        """How many were skipped."""
        return f"{self.count} of at most {self._most} (train.skip_nonfinite)"

    def remember(self) -> None:
        """Before a forward pass: keep what it will change."""
        if self._most:
            self._before = [buffer.clone() for buffer in self._buffers()]

    def skips(self, loss: Tensor) -> bool:
        """After the forward pass: whether to skip the step; then all is as before it.

        Once the budget is used up it says no, and the loss stops the training.
        """
        if self.count >= self._most or torch.isfinite(loss):
            return False
        self.count += 1
        for buffer, before in zip(self._buffers(), self._before, strict=True):
            buffer.copy_(before)
        return True

    def _buffers(self) -> list[Tensor]:
        return [buffer for module in self._modules for buffer in module.buffers()]
