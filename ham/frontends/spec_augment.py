"""Masks that training puts over features: SpecAugment with one span of frames and one of bands."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ham.schema import check_count


@dataclass(frozen=True)
class SpecAugment:
    r"""One mask over time and one over the bands of every example, filled with 0, the mean of the features.

    Along an axis of ``n`` frames or bands, with the option's value ``W``, every example ``i`` draws a width and, once
    the longest width of the batch is known, a start, both whole numbers and uniform:

    .. math:: w_i \in \{0, \dots, W - 1\}, \qquad
              s_i \in \{0, \dots, \max(1, n - \max_j w_j) - 1\}

    and frames :math:`s_i` to :math:`s_i + w_i - 1` are masked. The defaults thus mask 0 to 9 frames and 0 to 7 bands,
    never the last ones (unless a width is as long as the axis). Source: the code that the released recipe builds on
    (TaoRuijie's ECAPA-TDNN), widths exclusive as here; the release's own model.py is missing, so that it does the same
    is inferred, not read.

    Attributes:
        max_time_width: ``W`` of the frames, one more than the most that are masked; 0 for no mask.
        max_freq_width: ``W`` of the bands, one more than the most that are masked; 0 for no mask.
    """

    max_time_width: int = 10
    max_freq_width: int = 8

    def __post_init__(self) -> None:
        check_count("spec_augment: max_time_width", self.max_time_width, least=0)
        check_count("spec_augment: max_freq_width", self.max_freq_width, least=0)

    def __call__(self, features: Tensor, generator: torch.Generator) -> Tensor:
        """Mask a batch of features ``(B, T, F)``, which stay as they are; the generator is on their device."""
        batch, num_frames, num_bands = features.shape
        if self.max_time_width:
            frames = _random_span(batch, num_frames, self.max_time_width, generator)
            features = features.masked_fill(frames[:, :, None], 0.0)
        if self.max_freq_width:
            bands = _random_span(batch, num_bands, self.max_freq_width, generator)
            features = features.masked_fill(bands[:, None, :], 0.0)
        return features


def _random_span(batch: int, length: int, max_width: int, generator: torch.Generator) -> Tensor:
    """True on one random span a row, shape ``(batch, length)``."""
    device = generator.device
    width = torch.randint(max_width, (batch, 1), generator=generator, device=device)
    num_starts = (length - width.max()).clamp_min(1)
    start = (torch.rand(batch, 1, generator=generator, device=device) * num_starts).long()
    position = torch.arange(length, device=device)
    return (position >= start) & (position < start + width)
