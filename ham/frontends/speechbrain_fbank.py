"""The front end ``speechbrain_fbank``: the filterbank in decibels that SpeechBrain's speaker models were fed."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ham.audio import SAMPLE_RATE
from ham.frontends.base import Frontend

LEAST_ENERGY = 1e-10
"""Floor of the energies."""

RANGE_DB = 80.0
"""Decibels below the loudest band of an utterance at which its features end."""


class SpeechbrainFbank(Frontend):
    r"""SpeechBrain's filterbank, with the mean over time subtracted.

    Frames as in ``mel``, but of 400 points, with zeros beyond the waveform's ends and without pre-emphasis. The bands
    are 0 Hz to half the sample rate on the HTK scale, each as wide to the right of its centre as to the left.

    .. math:: f_{tj} = \max(g_{tj}, \max_{\tau, i} g_{\tau i} - 80), \quad g_{tj} = 10 \log_{10} \max(e_{tj}, 10^{-10}).

    Args:
        num_mel_bins: ``F``, at least 4.
        sample_rate: Hz.
    """

    name: ClassVar[str] = "speechbrain_fbank"

    def __init__(self, num_mel_bins: int = 80, sample_rate: int = SAMPLE_RATE) -> None:
        super().__init__(num_mel_bins, sample_rate)
        self.fft_size = self.window_samples
        half = self.sample_rate / 2
        top_mel = 2595 * math.log10(1 + half / 700)
        ends = 700 * (10 ** (torch.linspace(0, top_mel, self.num_mel_bins + 2, dtype=torch.float64) / 2595) - 1)
        frequencies = torch.linspace(0, half, self.fft_size // 2 + 1, dtype=torch.float64)[:, None]
        bands = (1 - (frequencies - ends[1:-1]).abs() / ends.diff()[:-1]).clamp_min(0)
        self._keep(torch.hamming_window(self.window_samples), bands.float(), left=0)

    def _num_frames(self, num_samples: int) -> int:
        """One at every hop, the first centred on the first sample."""
        return num_samples // self.hop_samples + 1

    def _frames(self, waveforms: Tensor) -> Tensor:
        return self._signal(waveforms).unfold(1, self.fft_size, self.hop_samples) * self.window

    def _signal(self, waveforms: Tensor) -> Tensor:
        return F.pad(waveforms, (self.fft_size // 2, self.fft_size // 2))

    def _frame_map(self) -> Tensor:
        return self.window.double().diag()

    def _log(self, energies: Tensor) -> Tensor:
        decibels = energies.clamp_min_(LEAST_ENERGY).log10_().mul_(10)
        return torch.maximum(decibels, decibels.amax((1, 2), keepdim=True) - RANGE_DB)
