"""The front end ``kaldi_fbank``: Kaldi's filterbank without dither, as wespeaker has it."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
import torchaudio.compliance.kaldi as kaldi
from torch import Tensor

from ham.audio import SAMPLE_RATE
from ham.frontends.base import PREEMPHASIS, Filterbank
from ham.schema import check_number, choose

INT16_RANGE = 32768.0
"""Kaldi's filterbanks are those of 16-bit samples; ours come in [-1, 1]. Some networks were fed these as they are: the
floor of the energies is then 96 dB nearer."""

WINDOW_TYPES = ("hamming", "hanning", "povey", "rectangular")
"""Windows of ``kaldi_fbank``; povey is Kaldi's own default, hamming what wespeaker uses."""


class KaldiFbank(Filterbank):
    r"""Kaldi's log-Mel filterbank without dither, as in wespeaker, with the mean over time subtracted.

    Only whole frames count (``snip_edges``). Of each frame the mean is subtracted, then
    :math:`y_n = x_n - 0.97 x_{n-1}` with :math:`x_{-1} = x_0`; symmetric window; triangles on Kaldi's Mel scale;
    energies are floored at float32's epsilon. Without dither a score is the same at every run.

    Args:
        num_mel_bins: ``F``, at least 4.
        sample_rate: Hz.
        window_type: one of ``WINDOW_TYPES``.
        low_freq_hz: lower end of the lowest band.
        high_freq_hz: upper end of the highest band; None for half the sample rate.
        sample_scale: factor of the samples, which come in [-1, 1]; 1 for a network that was fed them as they are.
    """

    name: ClassVar[str] = "kaldi_fbank"

    def __init__(
        self,
        num_mel_bins: int = 80,
        sample_rate: int = SAMPLE_RATE,
        *,
        window_type: str = "hamming",
        low_freq_hz: float = 20.0,
        high_freq_hz: float | None = None,
        sample_scale: float = INT16_RANGE,
    ) -> None:
        super().__init__(num_mel_bins, sample_rate)
        self.sample_scale = check_number(self._place("sample_scale"), sample_scale, above=0.0)
        top = self.sample_rate / 2 if high_freq_hz is None else high_freq_hz
        low, high = self._check_band(low_freq_hz, top)
        rate = float(self.sample_rate)
        # Without warping of the vocal tract (factor 1) the two frequencies before it play no part.
        banks, _ = kaldi.get_mel_banks(self.num_mel_bins, self.fft_size, rate, low, high, 100.0, -500.0, 1.0)
        window = _symmetric_window(choose(self._place("window_type"), window_type, WINDOW_TYPES), self.window_samples)
        self._keep(window, F.pad(banks, (0, 1)).T, left=0)

    def _num_frames(self, num_samples: int) -> int:
        """Whole ones only."""
        return (num_samples - self.window_samples) // self.hop_samples + 1

    def _frames(self, waveforms: Tensor) -> Tensor:
        """Pre-emphasis first, on the waveform: it leaves 0.03 of a frame's mean, which is subtracted after.

        The waveform's own mean goes before everything: nothing depends on it, but a large one costs digits.
        """
        scaled = (waveforms - waveforms.mean(1, keepdim=True)).mul_(self.sample_scale)
        rest = 1 - PREEMPHASIS
        means = scaled.unfold(1, self.window_samples, self.hop_samples).mean(-1, keepdim=True)
        beyond = self.fft_size - self.window_samples  # zeros under the window's zeros, so that the last frame is whole
        emphasised = F.pad(torch.sub(scaled[:, 1:], scaled[:, :-1], alpha=PREEMPHASIS), (1, beyond))
        frames = torch.sub(emphasised.unfold(1, self.fft_size, self.hop_samples), means, alpha=rest)
        firsts = scaled[:, : waveforms.shape[1] - self.window_samples + 1 : self.hop_samples]
        frames[..., 0] = (firsts - means[..., 0]) * rest
        return frames.mul_(self.window)

    def _signal(self, waveforms: Tensor) -> Tensor:
        return (waveforms - waveforms.mean(1, keepdim=True)) * self.sample_scale

    def _frame_map(self) -> Tensor:
        """Read off from waveforms of one frame, of which each holds one sample that is not 0."""
        return self._frames(torch.eye(self.window_samples, dtype=torch.float64))[:, 0] / self.sample_scale

    def _log(self, energies: Tensor) -> Tensor:
        return energies.clamp_min_(torch.finfo(torch.float32).eps).log_()


def _symmetric_window(window_type: str, length: int) -> Tensor:
    """Kaldi's window of a type in ``WINDOW_TYPES``."""
    if window_type == "rectangular":
        return torch.ones(length)
    if window_type == "hamming":
        return torch.hamming_window(length, periodic=False)
    hann = torch.hann_window(length, periodic=False)
    return hann if window_type == "hanning" else hann**0.85
