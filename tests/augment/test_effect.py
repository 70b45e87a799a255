"""An effect draws where the crops are, and applies what it drew anywhere."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ham.augment.effect import Effect
from ham.augment.waveforms import Crops


class Louder(Effect):
    """Adds one number a row."""

    def draw(self, labels: Tensor, rows: Tensor, num_samples: int, generator: torch.Generator, *own: Any) -> Tensor:
        assert num_samples == 3
        return torch.rand(len(rows), generator=generator)

    def apply(self, waveforms: Tensor, rows: Tensor, drawn: Tensor) -> Tensor:
        return waveforms[rows] + drawn[:, None]


def test_called_it_draws_and_applies_what_it_drew() -> None:
    crops = Crops(torch.zeros(4, 3), torch.arange(4))
    found = Louder()(crops, torch.tensor([1, 3]), torch.Generator().manual_seed(5))
    drawn = torch.rand(2, generator=torch.Generator().manual_seed(5))
    assert torch.equal(found, drawn[:, None].expand(2, 3))
    assert not crops.waveforms.any()
