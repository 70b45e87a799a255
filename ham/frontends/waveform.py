"""The front end ``waveform``: the samples themselves, for networks that hear without a filterbank."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ham.audio import SAMPLE_RATE
from ham.frontends.base import Frontend
from ham.schema import accept


class WaveformFrontend(Frontend):
    r"""Samples as they are, cut into rows of ``num_mel_bins``; a backbone such as ``wavlm`` joins them again.

    Up to 79 samples at the end, 5 ms, which do not fill a row of 80, are left out.

    Args:
        num_mel_bins: samples of a row.
        sample_rate: Hz.
        unit_variance: subtract the utterance's mean and divide by its deviation, :math:`\sqrt{\sigma^2 + 10^{-7}}`, as
            WavLM Large was trained; WavLM Base and Base+ take the samples as they are.
    """

    name: ClassVar[str] = "waveform"
    gives: ClassVar[str] = "samples"

    def __init__(self, num_mel_bins: int = 80, sample_rate: int = SAMPLE_RATE, *, unit_variance: bool = False) -> None:
        super().__init__(num_mel_bins, sample_rate)
        self.unit_variance = accept(f"frontend {self.name}: unit_variance", unit_variance, bool)
        self.min_samples = max(self.min_samples, self.num_mel_bins)

    def by_product(self, waveforms: Tensor, filters: Tensor) -> Tensor:  # noqa: ARG002
        """The same."""
        return self._features(waveforms)

    def filters(self) -> Tensor:
        """None are needed."""
        return torch.zeros(0)

    def _num_frames(self, num_samples: int) -> int:
        """Full rows."""
        return num_samples // self.num_mel_bins

    def _features(self, waveforms: Tensor) -> Tensor:
        if self.unit_variance:
            variance, mean = torch.var_mean(waveforms, 1, keepdim=True, correction=0)
            waveforms = (waveforms - mean) / (variance + 1e-7).sqrt()
        rows = waveforms.shape[1] // self.num_mel_bins
        return waveforms[:, : rows * self.num_mel_bins].reshape(waveforms.shape[0], rows, self.num_mel_bins)
