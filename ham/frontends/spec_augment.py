"""Masks that training puts over features: SpecAugment with one span of frames and one of bands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from ham.schema import check_count


class Spans(NamedTuple):
    """Where the masks of each example begin and end, shape ``(2, B, 1)``: along the frames, and along the bands."""

    frames: Tensor
    bands: Tensor


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

    def draw(self, batch: int, num_frames: int, num_bands: int, generator: torch.Generator) -> Spans:
        """Draw the masks of a batch of features ``(B, T, F)``, on the central processor."""
        return Spans(
            _random_span(batch, num_frames, self.max_time_width, generator),
            _random_span(batch, num_bands, self.max_freq_width, generator),
        )

    def apply(self, features: Tensor, drawn: Spans) -> Tensor:
        """Mask features ``(B, T, F)``, which stay as they are; ``drawn`` is on their device."""
        if self.max_time_width:
            features = features.masked_fill(_inside(drawn.frames, features.shape[1])[:, :, None], 0.0)
        if self.max_freq_width:
            features = features.masked_fill(_inside(drawn.bands, features.shape[2])[:, None, :], 0.0)
        return features

    def __call__(self, features: Tensor, generator: torch.Generator) -> Tensor:
        """Draw and apply at once."""
        batch, num_frames, num_bands = features.shape
        return self.apply(features, self.draw(batch, num_frames, num_bands, generator))


def _random_span(batch: int, length: int, max_width: int, generator: torch.Generator) -> Tensor:
    """Beginning and end of a random span a row, shape ``(2, batch, 1)``; nothing is drawn where there is no mask."""
    if not max_width:
        return torch.zeros(2, batch, 1, dtype=torch.int64)
    width = torch.randint(max_width, (batch, 1), generator=generator)
    num_starts = (length - width.max()).clamp_min(1)
    start = (torch.rand(batch, 1, generator=generator) * num_starts).long()
    return torch.stack([start, start + width])


def _inside(span: Tensor, length: int) -> Tensor:
    """True on the span of each row, shape ``(batch, length)``."""
    position = torch.arange(length, device=span.device)
    return (position >= span[0]) & (position < span[1])
