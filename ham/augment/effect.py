"""What every kind of augmentation is: it draws on the central processor, and changes waveforms on any device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from ham.augment.waveforms import Crops


class Effect(ABC):
    """One kind of augmentation, in two halves.

    :meth:`draw` chooses and reads recordings, wherever the crops are gathered; :meth:`apply` computes, and asks the
    device nothing for which it would have to wait.
    """

    @abstractmethod
    def draw(self, labels: Tensor, rows: Tensor, num_samples: int, generator: torch.Generator) -> Any:
        """Draw all that the effect needs.

        Args:
            labels: speakers of the whole batch, shape ``(B,)``, int64.
            rows: which rows to change, shape ``(R,)``, int64.
            num_samples: N.
            generator: source of the randomness.

        Returns:
            Tensors on the central processor, in tuples and lists.
        """

    @abstractmethod
    def apply(self, waveforms: Tensor, rows: Tensor, drawn: Any) -> Tensor:
        """Give the changed versions of some rows.

        Args:
            waveforms: the whole batch, shape ``(B, N)``; it stays as it is.
            rows: as :meth:`draw` had them, on the waveforms' device.
            drawn: what :meth:`draw` gave, likewise.

        Returns:
            Shape ``(R, N)``.
        """

    def __call__(self, crops: Crops, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Draw and apply at once, on the central processor."""
        return self.apply(crops.waveforms, rows, self.draw(crops.labels, rows, crops.waveforms.shape[1], generator))
