"""The front end ``mel``: a Mel spectrogram of the pre-emphasised waveform, as the HAM-Softmax recipe has it."""

from __future__ import annotations

import warnings
from typing import ClassVar

import torch
import torch.nn.functional as F
import torchaudio.functional as audio
from torch import Tensor

from ham.audio import SAMPLE_RATE
from ham.frontends.base import PREEMPHASIS, Filterbank


class MelFrontend(Filterbank):
    r"""The published front end of the HAM-Softmax recipe.

    The release lacks its own model.py: this is the front end of the code that it builds on, TaoRuijie's ECAPA-TDNN;
    that the release has the same is inferred, not read.

    Pre-emphasis :math:`y_n = x_n - 0.97 x_{n-1}` with :math:`x_{-1} = x_1`, a Mel spectrogram (FFT of 512, periodic
    Hamming window of 400, hop 160, triangles on the HTK scale), :math:`\log(e + 10^{-6})`, mean over time subtracted.
    Frames are centred on every 160th sample, the waveform reflected at both ends, so a crop of
    200 x 160 + 240 samples gives 202 frames.

    Args:
        num_mel_bins: ``F``, at least 4.
        sample_rate: Hz.
        low_freq_hz: lower end of the lowest band.
        high_freq_hz: upper end of the highest band, at most half the sample rate.
    """

    name: ClassVar[str] = "mel"

    def __init__(
        self,
        num_mel_bins: int = 80,
        sample_rate: int = SAMPLE_RATE,
        *,
        low_freq_hz: float = 20.0,
        high_freq_hz: float = 7600.0,
    ) -> None:
        super().__init__(num_mel_bins, sample_rate)
        low, high = self._check_band(low_freq_hz, high_freq_hz)
        num_bins = self.fft_size // 2 + 1
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an empty band; _keep refuses it with our sentence
            bands = audio.melscale_fbanks(num_bins, low, high, self.num_mel_bins, self.sample_rate)
        window = torch.hamming_window(self.window_samples)
        self._keep(window, bands, left=(self.fft_size - self.window_samples) // 2)

    def _num_frames(self, num_samples: int) -> int:
        """One at every hop, the first centred on the first sample."""
        return num_samples // self.hop_samples + 1

    def _frames(self, waveforms: Tensor) -> Tensor:
        return self._reflected(waveforms, self.fft_size).unfold(1, self.fft_size, self.hop_samples) * self.window

    def _reflected(self, waveforms: Tensor, width: int) -> Tensor:
        """Pre-emphasised, and reflected at both ends by half of a frame's width."""
        padded = F.pad(waveforms, (1, 0), mode="reflect")
        emphasised = torch.sub(padded[:, 1:], padded[:, :-1], alpha=PREEMPHASIS)
        return F.pad(emphasised, (width // 2, width // 2), mode="reflect")

    def _signal(self, waveforms: Tensor) -> Tensor:
        return self._reflected(waveforms, self.window_samples)

    def _frame_map(self) -> Tensor:
        left = (self.fft_size - self.window_samples) // 2
        return self.window.double().diag()[left : left + self.window_samples]

    def _log(self, energies: Tensor) -> Tensor:
        return energies.add_(1e-6).log_()
