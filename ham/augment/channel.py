"""Differences between microphones and lines: a random gain, a random smooth equaliser and random band limits.

Not part of the published recipe and off by default. Features whose mean over time is subtracted in the log domain
already hide a gain and most of an equaliser; what remains for the network to learn is the loss of the bands that the
limits take away, and the shift of quiet bands towards the floor of the logarithm.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ham.audio import SAMPLE_RATE
from ham.augment.effect import Effect
from ham.augment.randomness import Range, check_range, uniform
from ham.augment.waveforms import fast_fft_length
from ham.errors import ConfigError

PAD = 1024
"""Samples of silence around the crop in the transform; responses this smooth are far shorter (a band is > 100 Hz)."""


class Lines(NamedTuple):
    """Gains at the points ``(R, P)``, band limits as octaves and overall gains, each ``(R, 1)``."""

    points_db: Tensor
    low: Tensor
    high: Tensor
    gain_db: Tensor


class Channel(Effect):
    r"""The effect of another microphone or line on a crop, as a filter without delay.

    In dB the response is a broken line through random gains at points evenly spaced on the Mel scale, minus
    ``slope_db`` for every octave beyond the two band limits, plus the overall gain. All ranges are ours; a band limit
    drawn beyond half the sample rate limits nothing.

    Args:
        equaliser_db: the points' gains are uniform within plus and minus this.
        num_points: number of points of the equaliser, from 0 Hz to half the sample rate.
        low_cut_hz: range of the lower band limit, log-uniform.
        high_cut_hz: range of the upper band limit, log-uniform; the lowest is that of a telephone line.
        slope_db: steepness beyond the band limits in dB per octave.
        gain_db: range of the overall gain.
        sample_rate: in Hz.

    Raises:
        ConfigError: if a value makes no sense.
    """

    def __init__(
        self,
        *,
        equaliser_db: float = 6.0,
        num_points: int = 8,
        low_cut_hz: Range = (20.0, 300.0),
        high_cut_hz: Range = (3400.0, 16000.0),
        slope_db: float = 24.0,
        gain_db: Range = (-6.0, 6.0),
        sample_rate: int = SAMPLE_RATE,
    ) -> None:
        check_range("equaliser_db", (0.0, equaliser_db))
        check_range("slope_db", (0.0, slope_db))
        if num_points < 2 or sample_rate <= 0:
            raise ConfigError("augmentation: num_points must be at least 2 and sample_rate above 0")
        self._equaliser_db, self._num_points, self._slope_db = equaliser_db, num_points, slope_db
        self._low_octaves = _octaves(check_range("low_cut_hz", low_cut_hz, lowest=1.0))
        self._high_octaves = _octaves(check_range("high_cut_hz", high_cut_hz, lowest=1.0))
        self._gain_db = check_range("gain_db", gain_db)
        self._sample_rate = sample_rate

    def draw(self, labels: Tensor, rows: Tensor, num_samples: int, generator: torch.Generator, own: slice) -> Lines:  # noqa: ARG002
        """Draw a channel for each row."""
        num, spread = len(rows), (-self._equaliser_db, self._equaliser_db)
        points_db = uniform((num, self._num_points), spread, generator)
        ranges = (self._low_octaves, self._high_octaves, self._gain_db)
        return Lines(points_db[own], *(uniform((num, 1), bounds, generator)[own] for bounds in ranges))

    def apply(self, waveforms: Tensor, rows: Tensor, drawn: Lines) -> Tensor:
        """Send the rows through their channels."""
        clean, num_samples = waveforms[rows], waveforms.shape[1]
        length = fast_fft_length(num_samples + PAD)
        frequencies = torch.fft.rfftfreq(length, 1.0 / self._sample_rate, device=clean.device)
        spectrum = torch.fft.rfft(clean, length) * torch.pow(10.0, self.responses_db(drawn, frequencies) / 20.0)
        sent: Tensor = torch.fft.irfft(spectrum, length)
        return sent[:, :num_samples]

    def responses_db(self, drawn: Lines, frequencies: Tensor) -> Tensor:
        """Frequency responses of channels: gains in dB at the frequencies ``(K,)`` in Hz, shape ``(R, K)``."""
        # 1 Hz stands in for 0 Hz, whose distance in octaves from anything is infinite.
        octaves = frequencies.clamp(min=1.0).log2()
        beyond = (drawn.low - octaves).clamp(min=0.0) + (octaves - drawn.high).clamp(min=0.0)
        return drawn.gain_db + drawn.points_db @ self._hats(frequencies) - self._slope_db * beyond

    def _hats(self, frequencies: Tensor) -> Tensor:
        """Weights (P, K) that interpolate between points evenly spaced on the Mel scale."""
        mels = torch.log1p(frequencies / 700.0)
        places = mels / math.log1p(self._sample_rate / 2 / 700.0) * (self._num_points - 1)
        points = torch.arange(self._num_points, device=frequencies.device).unsqueeze(1)
        return (1.0 - (places - points).abs()).clamp(min=0.0)


def _octaves(bounds_hz: Range) -> Range:
    """A range of frequencies as octaves above 1 Hz."""
    return math.log2(bounds_hz[0]), math.log2(bounds_hz[1])
