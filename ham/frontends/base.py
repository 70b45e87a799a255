r"""What all front ends share: frames of a waveform to features, batched and on the device; and what filterbanks share.

A filterbank takes frames of 25 ms every 10 ms and maps each to the logarithm of its energy in Mel bands,

.. math:: f_{tj} = \log \sum_k M_{kj} |\mathrm{FFT}(w \odot x_t)_k|^2,

from which the utterance's mean over time is subtracted. Filterbanks differ in where the frames lie, what is done to a
frame before the transform, the shape of the bands and the floor of the logarithm.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ham.errors import ConfigError, DataError
from ham.schema import check_count, keyword_options

FRAME_LENGTH_MS = 25
"""Length of a frame; 400 samples at 16 kHz."""

FRAME_SHIFT_MS = 10
"""Distance between frames; 160 samples at 16 kHz."""

PREEMPHASIS = 0.97
"""Share of the previous sample that is subtracted from each sample, in the front ends that do so."""

PIECE_SAMPLES = 1 << 17
"""Samples a CPU transforms at a time: the intermediate values (2 MB) stay in the cache, 1.5 times as fast."""


class Frontend(nn.Module, ABC):
    """Base of the front ends; holds no parameter, and its buffers are not part of a checkpoint.

    A subclass sets ``name``, counts frames in :meth:`_num_frames` and computes features in :meth:`_features`.

    Attributes:
        name: the front end's name in the table.
        gives: what the numbers of a frame are; a backbone takes one kind.
        num_mel_bins: ``F``.
        sample_rate: of the waveforms, Hz.
        window_samples: samples of a frame.
        hop_samples: samples between frames.
        min_samples: shortest waveform that gives a feature.
    """

    name: ClassVar[str]
    gives: ClassVar[str] = "bands"

    def __init__(self, num_mel_bins: int, sample_rate: int) -> None:
        super().__init__()
        # Kaldi's bands are defined from 4 on, and below 1 kHz a frame of 25 ms says nothing of speech.
        self.num_mel_bins = check_count(self._place("num_mel_bins"), num_mel_bins, least=4)
        self.sample_rate = check_count(self._place("sample_rate"), sample_rate, least=1000)
        self.window_samples = self.sample_rate * FRAME_LENGTH_MS // 1000
        self.hop_samples = self.sample_rate * FRAME_SHIFT_MS // 1000
        self.min_samples = self.window_samples

    @classmethod
    def options(cls) -> dict[str, Any]:
        """The constructor's keyword-only parameters, in order; their defaults are the published settings."""
        return keyword_options(cls)

    def num_frames(self, num_samples: int) -> int:
        """``T``, the frames of a waveform of ``N`` samples.

        Raises:
            DataError: if the waveform is shorter than ``min_samples``.
        """
        self._check_length(num_samples)
        return self._num_frames(num_samples)

    def crop_samples(self, num_frames: int) -> int:
        """Samples that frames side by side cover, the published length of a crop: 200 frames are 32,240 samples."""
        return (num_frames - 1) * self.hop_samples + self.window_samples

    def forward(self, waveforms: Tensor) -> Tensor:
        """Features of a batch of equally long waveforms, in float32 also under autocast.

        Args:
            waveforms: samples in [-1, 1], floating-point, shape ``(B, N)``.

        Returns:
            Float32, shape ``(B, T, F)``.

        Raises:
            DataError: if the shape or type is another, or the waveforms are shorter than one frame.
        """
        self._check(waveforms)
        batch, num_samples = waveforms.shape
        rows = max(1, PIECE_SAMPLES // num_samples) if waveforms.device.type == "cpu" else batch
        with torch.autocast(waveforms.device.type, enabled=False):
            return torch.cat([self._features(waveforms[i : i + rows].float()) for i in range(0, batch, rows)])

    @abstractmethod
    def by_product(self, waveforms: Tensor, filters: Tensor) -> Tensor:
        """The same features of operations that every exporter knows; nothing is checked.

        Args:
            waveforms: float32 samples in [-1, 1], shape ``(B, N)``, ``N`` at least ``min_samples``.
            filters: of :meth:`filters`.

        Returns:
            As :meth:`forward`, shape ``(B, T, F)``; as near to exact ones.
        """

    @abstractmethod
    def filters(self) -> Tensor:
        """What :meth:`by_product` multiplies by, computed once."""

    def extra_repr(self) -> str:
        """Settings in force, for the log."""
        return f"num_mel_bins={self.num_mel_bins}, sample_rate={self.sample_rate}"

    @abstractmethod
    def _num_frames(self, num_samples: int) -> int:
        """Frames of a waveform that is long enough."""

    @abstractmethod
    def _features(self, waveforms: Tensor) -> Tensor:
        """Features ``(B, T, F)`` of float32 waveforms ``(B, N)`` that are long enough."""

    def _check(self, waveforms: Tensor) -> None:
        if waveforms.ndim != 2 or len(waveforms) == 0 or not waveforms.is_floating_point():
            found = f"{tuple(waveforms.shape)} of {waveforms.dtype}"
            raise DataError(f"{self._place('waveforms')}: expected floating-point samples (B, N), found {found}")
        self._check_length(waveforms.shape[1])

    def _check_length(self, num_samples: int) -> None:
        if num_samples < self.min_samples:
            raise DataError(
                f"{self._place('waveforms')}: expected at least {self.min_samples} samples, one frame of "
                f"{FRAME_LENGTH_MS} ms, found {num_samples}; leave out or lengthen speech this short"
            )

    def _place(self, option: str) -> str:
        return f"frontend {self.name}: {option}"


class Filterbank(Frontend):
    """Base of the front ends that give log-Mel energies without their mean over time.

    A subclass hands its window and its bands to :meth:`_keep`, cuts frames in :meth:`_frames` and takes the logarithm
    in :meth:`_log`; :meth:`_signal` and :meth:`_frame_map` say for exports what is linear in it.
    """

    window: Tensor
    bands: Tensor

    def __init__(self, num_mel_bins: int, sample_rate: int) -> None:
        super().__init__(num_mel_bins, sample_rate)
        self.fft_size = 1 << (self.window_samples - 1).bit_length()

    def by_product(self, waveforms: Tensor, filters: Tensor) -> Tensor:
        """The same features without a Fourier transform.

        The transform and all that is linear before it is one matrix product with the frames. ONNX Runtime takes 8 ms
        for the transform of 3 s and 1 ms for this product.
        """
        frames = self._signal(waveforms).unfold(1, self.window_samples, self.hop_samples)
        return self._normalised(self._log(self._energies((frames @ filters).square())))

    def filters(self) -> Tensor:
        """From a frame to real and imaginary part of its spectrum, in turn, float32, ``(window_samples, 2 K)``."""
        return torch.view_as_real(torch.fft.rfft(self._frame_map())).flatten(1).float()

    @abstractmethod
    def _frames(self, waveforms: Tensor) -> Tensor:
        """Windowed frames, shape ``(B, T, fft_size)``."""

    @abstractmethod
    def _signal(self, waveforms: Tensor) -> Tensor:
        """What :meth:`by_product` cuts into frames, the first at its start, the last less than a hop before its end."""

    @abstractmethod
    def _frame_map(self) -> Tensor:
        """What :meth:`_frames` does to a frame of that signal, ``(window_samples, fft_size)``, float64."""

    @abstractmethod
    def _log(self, energies: Tensor) -> Tensor:
        """Logarithm of ``(B, T, F)`` energies with this front end's floor; may overwrite its argument."""

    def _energies(self, squares: Tensor) -> Tensor:
        """Energies ``(B, T, F)`` of the squares of real and imaginary parts in turn, ``(B, T, 2 K)``.

        The two meet in the product with the bands, whose rows stand there twice.
        """
        return squares @ self.bands

    def _features(self, waveforms: Tensor) -> Tensor:
        spectrum = torch.view_as_real(torch.fft.rfft(self._frames(waveforms)))
        return self._normalised(self._log(self._energies(spectrum.square_().flatten(-2))))

    def _normalised(self, features: Tensor) -> Tensor:
        """Minus their mean over time; may overwrite its argument."""
        return features.sub_(features.mean(1, keepdim=True))

    def _keep(self, window: Tensor, bands: Tensor, left: int) -> None:
        """Register the window, ``left`` zeros before it, and the bands ``(K, F)``, each row twice."""
        empty = int((bands.sum(0) == 0).sum())
        if empty:
            raise ConfigError(
                f"{self._place('num_mel_bins')}: {self.num_mel_bins} bands are narrower than the resolution of "
                f"{self.sample_rate / self.fft_size:.1f} Hz, {empty} of them would be empty; use fewer"
            )
        right = self.fft_size - self.window_samples - left
        self.register_buffer("window", F.pad(window, (left, right)), persistent=False)
        self.register_buffer("bands", bands.repeat_interleave(2, 0), persistent=False)

    def _check_band(self, low_freq_hz: object, high_freq_hz: object) -> tuple[float, float]:
        """The two ends of the bands as numbers, 0 <= low < high <= half the sample rate."""
        half = self.sample_rate / 2
        ends = (low_freq_hz, high_freq_hz)
        numeric = [float(end) for end in ends if isinstance(end, (int, float)) and not isinstance(end, bool)]
        if len(numeric) == 2 and 0 <= numeric[0] < numeric[1] <= half:
            return numeric[0], numeric[1]
        raise ConfigError(
            f"{self._place('low_freq_hz, high_freq_hz')}: expected 0 <= low < high <= {half:g} "
            f"(half of {self.sample_rate} Hz), found {low_freq_hz!r} and {high_freq_hz!r}"
        )
