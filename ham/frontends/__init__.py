r"""Waveform to log-Mel filterbank, batched and on the device, and the masks that training puts over it.

Both front ends take frames of 25 ms every 10 ms and map each to the logarithm of its energy in Mel bands,

.. math:: f_{tj} = \log \sum_k M_{kj} |\mathrm{FFT}(w \odot x_t)_k|^2,

from which the utterance's mean over time is subtracted. They differ in where the frames lie, what is done to a frame
before the transform, the shape of the bands and the floor of the logarithm.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
import torchaudio.compliance.kaldi as kaldi
import torchaudio.functional as audio
from torch import Tensor, nn

from ham.errors import ConfigError, DataError
from ham.schema import check_count, check_options, choose, keyword_options

FRAME_LENGTH_MS = 25
"""Length of a frame; 400 samples at 16 kHz."""

FRAME_SHIFT_MS = 10
"""Distance between frames; 160 samples at 16 kHz."""

PREEMPHASIS = 0.97
"""Share of the previous sample that is subtracted from each sample; the same in both front ends."""

PIECE_SAMPLES = 1 << 17
"""Samples a CPU transforms at a time: the intermediate values (2 MB) stay in the cache, 1.5 times as fast."""

INT16_RANGE = 32768.0
"""Kaldi's filterbanks are those of 16-bit samples; ours come in [-1, 1]."""

WINDOW_TYPES = ("hamming", "hanning", "povey", "rectangular")
"""Windows of ``kaldi_fbank``; povey is Kaldi's own default, hamming what wespeaker uses."""


class Frontend(nn.Module, ABC):
    """Base of the front ends; holds no parameter, and its buffers are not part of a checkpoint.

    A subclass sets ``name``, gives its window and bands, cuts frames in :meth:`_frames` and takes the logarithm.

    Attributes:
        name: the front end's name in the table.
        num_mel_bins: ``F``.
        sample_rate: of the waveforms, Hz.
        window_samples: samples of a frame.
        hop_samples: samples between frames.
        min_samples: shortest waveform that gives a feature.
    """

    name: ClassVar[str]
    window: Tensor
    bands: Tensor

    def __init__(self, num_mel_bins: int, sample_rate: int) -> None:
        super().__init__()
        # Kaldi's bands are defined from 4 on, and below 1 kHz a frame of 25 ms says nothing of speech.
        self.num_mel_bins = check_count(self._place("num_mel_bins"), num_mel_bins, least=4)
        self.sample_rate = check_count(self._place("sample_rate"), sample_rate, least=1000)
        self.window_samples = self.sample_rate * FRAME_LENGTH_MS // 1000
        self.hop_samples = self.sample_rate * FRAME_SHIFT_MS // 1000
        self.fft_size = 1 << (self.window_samples - 1).bit_length()
        self.min_samples = self.window_samples

    @classmethod
    def options(cls) -> dict[str, Any]:
        """Options that the constructor takes, with their defaults.

        Returns:
            The keyword-only parameters, in order; their defaults are the published settings.
        """
        return keyword_options(cls)

    @abstractmethod
    def num_frames(self, num_samples: int) -> int:
        """Frames of a waveform.

        Args:
            num_samples: ``N``, at least ``min_samples``.

        Returns:
            ``T``.
        """

    def crop_samples(self, num_frames: int) -> int:
        """Samples that frames side by side cover, the published length of a crop: 200 frames are 32,240 samples.

        Args:
            num_frames: at least 1.

        Returns:
            ``num_frames * hop_samples + window_samples - hop_samples``.
        """
        return num_frames * self.hop_samples + self.window_samples - self.hop_samples

    def forward(self, waveforms: Tensor) -> Tensor:
        """Features of a batch of equally long waveforms, in float32 also under autocast.

        Args:
            waveforms: samples in [-1, 1], floating-point, shape ``(B, N)``.

        Returns:
            Log-Mel energies without their mean over time, float32, shape ``(B, T, F)``.

        Raises:
            DataError: if the shape or type is another, or the waveforms are shorter than one frame.
        """
        self._check(waveforms)
        batch, num_samples = waveforms.shape
        rows = max(1, PIECE_SAMPLES // num_samples) if waveforms.device.type == "cpu" else batch
        with torch.autocast(waveforms.device.type, enabled=False):
            return torch.cat([self._features(waveforms[i : i + rows].float()) for i in range(0, batch, rows)])

    def extra_repr(self) -> str:
        """Settings in force, for the log."""
        return f"num_mel_bins={self.num_mel_bins}, sample_rate={self.sample_rate}"

    @abstractmethod
    def _frames(self, waveforms: Tensor) -> Tensor:
        """Windowed frames, shape ``(B, T, fft_size)``."""

    @abstractmethod
    def _log(self, energies: Tensor) -> Tensor:
        """Logarithm with this front end's floor; may overwrite its argument."""

    def _features(self, waveforms: Tensor) -> Tensor:
        spectrum = torch.view_as_real(torch.fft.rfft(self._frames(waveforms)))
        # Real and imaginary squares meet in the product with the bands, whose rows stand there twice.
        features = self._log(spectrum.square_().flatten(-2) @ self.bands)
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

    def _check_band(self, low_freq_hz: object, high_freq_hz: object) -> tuple[float, float]:
        """The two ends of the bands as numbers, 0 <= low < high <= half the sample rate."""
        half = self.sample_rate / 2
        ends = (low_freq_hz, high_freq_hz)
        numeric = [float(e) for e in ends if isinstance(e, (int, float)) and not isinstance(e, bool)]
        if len(numeric) == 2 and 0 <= numeric[0] < numeric[1] <= half:
            return numeric[0], numeric[1]
        raise ConfigError(
            f"{self._place('low_freq_hz, high_freq_hz')}: expected 0 <= low < high <= {half:g} "
            f"(half of {self.sample_rate} Hz), found {low_freq_hz!r} and {high_freq_hz!r}"
        )


class MelFrontend(Frontend):
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
        sample_rate: int = 16000,
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

    def num_frames(self, num_samples: int) -> int:
        """Frames of a waveform: one at every hop, the first centred on the first sample.

        Args:
            num_samples: ``N``, at least ``min_samples``.

        Returns:
            ``num_samples // hop_samples + 1``.

        Raises:
            DataError: if the waveform is too short.
        """
        self._check_length(num_samples)
        return num_samples // self.hop_samples + 1

    def _frames(self, waveforms: Tensor) -> Tensor:
        padded = F.pad(waveforms, (1, 0), mode="reflect")
        emphasised = torch.sub(padded[:, 1:], padded[:, :-1], alpha=PREEMPHASIS)
        reflected = F.pad(emphasised, (self.fft_size // 2, self.fft_size // 2), mode="reflect")
        return reflected.unfold(1, self.fft_size, self.hop_samples) * self.window

    def _log(self, energies: Tensor) -> Tensor:
        return energies.add_(1e-6).log_()


class KaldiFbank(Frontend):
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
    """

    name: ClassVar[str] = "kaldi_fbank"

    def __init__(
        self,
        num_mel_bins: int = 80,
        sample_rate: int = 16000,
        *,
        window_type: str = "hamming",
        low_freq_hz: float = 20.0,
        high_freq_hz: float | None = None,
    ) -> None:
        super().__init__(num_mel_bins, sample_rate)
        top = self.sample_rate / 2 if high_freq_hz is None else high_freq_hz
        low, high = self._check_band(low_freq_hz, top)
        rate = float(self.sample_rate)
        # Without warping of the vocal tract (factor 1) the two frequencies before it play no part.
        banks, _ = kaldi.get_mel_banks(self.num_mel_bins, self.fft_size, rate, low, high, 100.0, -500.0, 1.0)
        window = _symmetric_window(choose(self._place("window_type"), window_type, WINDOW_TYPES), self.window_samples)
        self._keep(window, F.pad(banks, (0, 1)).T, left=0)

    def num_frames(self, num_samples: int) -> int:
        """Whole frames of a waveform.

        Args:
            num_samples: ``N``, at least ``min_samples``.

        Returns:
            ``(num_samples - window_samples) // hop_samples + 1``.

        Raises:
            DataError: if the waveform is too short.
        """
        self._check_length(num_samples)
        return (num_samples - self.window_samples) // self.hop_samples + 1

    def _frames(self, waveforms: Tensor) -> Tensor:
        """Pre-emphasis first, on the waveform: it leaves 0.03 of a frame's mean, which is subtracted after.

        The waveform's own mean goes before everything: nothing depends on it, but a large one costs digits.
        """
        scaled = (waveforms - waveforms.mean(1, keepdim=True)).mul_(INT16_RANGE)
        rest = 1 - PREEMPHASIS
        means = scaled.unfold(1, self.window_samples, self.hop_samples).mean(-1, keepdim=True)
        emphasised = F.pad(torch.sub(scaled[:, 1:], scaled[:, :-1], alpha=PREEMPHASIS), (1, self._beyond))
        frames = torch.sub(emphasised.unfold(1, self.fft_size, self.hop_samples), means, alpha=rest)
        firsts = scaled[:, : waveforms.shape[1] - self.window_samples + 1 : self.hop_samples]
        frames[..., 0] = (firsts - means[..., 0]) * rest
        return frames.mul_(self.window)

    @property
    def _beyond(self) -> int:
        """Zeros after the waveform, under the window's zeros, so that the last frame can be cut too."""
        return self.fft_size - self.window_samples

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


_CLASSES: tuple[type[MelFrontend] | type[KaldiFbank], ...] = (MelFrontend, KaldiFbank)

FRONTENDS: Mapping[str, type[MelFrontend] | type[KaldiFbank]] = MappingProxyType({cls.name: cls for cls in _CLASSES})
"""Every front end by its name."""


def build(name: str, num_mel_bins: int = 80, sample_rate: int = 16000, **options: Any) -> Frontend:
    """Build a front end by its name.

    Args:
        name: one of ``FRONTENDS``.
        num_mel_bins: ``F``.
        sample_rate: of the waveforms, Hz.
        **options: keyword-only parameters of the front end's constructor.

    Returns:
        The front end, on the CPU.

    Raises:
        ConfigError: if the name, an option or a value is not one that the front end knows.
    """
    frontend = FRONTENDS[choose("frontend", name, FRONTENDS)]
    check_options(f"frontend {name}", options, frontend.options())
    return frontend(num_mel_bins, sample_rate, **options)


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
        """Mask a batch.

        Args:
            features: shape ``(B, T, F)``; left as they are.
            generator: source of the randomness, on the device of the features.

        Returns:
            The masked features, shape ``(B, T, F)``.
        """
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
