"""What every kind of augmentation is: it draws on the central processor, and changes waveforms on any device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from ham.augment.randomness import ALL
from ham.augment.waveforms import Crops


class Effect(ABC):
    """One kind of augmentation, in two halves.

    :meth:`draw` chooses and reads recordings, wherever the crops are gathered; :meth:`apply` computes, and asks the
    device nothing for which it would have to wait.
    """

    @abstractmethod
    def draw(self, labels: Tensor, rows: Tensor, num_samples: int, generator: torch.Generator, own: slice) -> Any:
        """Draw the numbers of all rows, and read what the own ones need.

        Args:
            labels: speakers of the whole batch, shape ``(B,)``, int64.
            rows: which rows to change, shape ``(R,)``, int64.
            num_samples: N.
            generator: source of the randomness.
            own: which of the rows this process changes; what is drawn for them does not depend on it.

        Returns:
            Tensors on the central processor, in tuples and lists, of the own rows.
        """

    def heard(self, drawn: Any) -> Tensor:  # noqa: ARG002
        """Rows of the batch that are heard behind the own ones, int64; none, unless an effect says so."""
        return torch.empty(0, dtype=torch.int64)

    def among(self, drawn: Any, present: Tensor) -> Any:  # noqa: ARG002
        """What was drawn, for a batch of which only some rows, in ascending order, are there."""
        return drawn

    @abstractmethod
    def apply(self, waveforms: Tensor, rows: Tensor, drawn: Any) -> Tensor:
        """Give the changed versions of some rows.

        Args:
            waveforms: the rows that are there, shape ``(B, N)``; they stay as they are.
            rows: the own rows among them, shape ``(R,)``, on the waveforms' device.
            drawn: what :meth:`draw` and :meth:`among` gave, likewise.

        Returns:
            Shape ``(R, N)``.
        """

    def __call__(self, crops: Crops, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Draw and apply at once, on the central processor."""
        drawn = self.draw(crops.labels, rows, crops.waveforms.shape[1], generator, ALL)
        return self.apply(crops.waveforms, rows, drawn)
