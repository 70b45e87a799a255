"""The front end ``tf_mel``: a Mel spectrogram of the waveform at unit power, as ReDimNet2's public models were fed."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ham.audio import SAMPLE_RATE
from ham.frontends.base import PREEMPHASIS, Filterbank

FLOOR = 1e-8
"""Least power of a bin of the spectrum and least energy of a band; the most is its inverse."""


class TfMelFrontend(Filterbank):
    r"""The front end of ReDimNet2 (its "TF" Mel banks), whose energies do not depend on how loud a recording is.

    The waveform's mean is subtracted and it is divided by its standard deviation; pre-emphasis
    :math:`y_n = x_n - 0.97 x_{n-1}` with :math:`x_{-1} = x_1`; half a hop of zeros at both ends; frames with a
    symmetric Hamming window; the power of each bin of the spectrum below half the sample rate, floored; triangles on
    the HTK scale; energies floored, :math:`\log(e + 10^{-8})`, mean over time subtracted. The triangles are laid as if
    the last of these bins stood at half the sample rate, one bin too high, as there.

    Args:
        num_mel_bins: ``F``, at least 4; 72 there.
        sample_rate: Hz.
        low_freq_hz: lower end of the lowest band.
        high_freq_hz: upper end of the highest band, at most half the sample rate.
    """

    name: ClassVar[str] = "tf_mel"

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
        window = torch.hamming_window(self.window_samples, periodic=False, dtype=torch.float64)
        self._keep(window.float(), self._triangles(low, high).float(), left=0)

    def _num_frames(self, num_samples: int) -> int:
        """Whole ones, of the waveform and half a hop at each end."""
        return (num_samples + 2 * (self.hop_samples // 2) - self.window_samples) // self.hop_samples + 1

    def _frames(self, waveforms: Tensor) -> Tensor:
        beyond = self.fft_size - self.window_samples  # zeros under the window's zeros, so that the last frame is whole
        signal = F.pad(self._signal(waveforms), (0, beyond))
        return signal.unfold(1, self.fft_size, self.hop_samples) * self.window

    def _signal(self, waveforms: Tensor) -> Tensor:
        centred = waveforms - waveforms.mean(1, keepdim=True)
        scaled = centred / (centred.square().mean(1, keepdim=True).sqrt() + FLOOR)
        padded = F.pad(scaled, (1, 0), mode="reflect")
        emphasised = torch.sub(padded[:, 1:], padded[:, :-1], alpha=PREEMPHASIS)
        return F.pad(emphasised, (self.hop_samples // 2, self.hop_samples // 2))

    def _frame_map(self) -> Tensor:
        return self.window.double().diag()[: self.window_samples]

    def _energies(self, squares: Tensor) -> Tensor:
        power = squares[..., ::2] + squares[..., 1::2]
        return power.clamp(FLOOR, 1 / FLOOR) @ self.bands[::2]

    def _log(self, energies: Tensor) -> Tensor:
        return energies.clamp(FLOOR, 1 / FLOOR).add_(FLOOR).log_()

    def _triangles(self, low: float, high: float) -> Tensor:
        """Bands ``(K, F)``; the first bin, of the mean, and the last, of half the sample rate, are in none."""
        ends = _mel(torch.tensor([low, high], dtype=torch.float64))
        fractions = torch.arange(self.num_mel_bins + 2, dtype=torch.float64) / (self.num_mel_bins + 1)
        corners = ends[0] + (ends[1] - ends[0]) * fractions
        num_bins = self.fft_size // 2
        hz = torch.arange(1, num_bins, dtype=torch.float64) * (self.sample_rate / 2 / (num_bins - 1))
        rise = (_mel(hz)[:, None] - corners[:-2]) / (corners[1] - corners[0])
        return F.pad(torch.minimum(rise, 2 - rise).clamp_min(0), (0, 0, 1, 1))


def _mel(hz: Tensor) -> Tensor:
    """The HTK scale."""
    return 2595 * torch.log10(1 + hz / 700)
