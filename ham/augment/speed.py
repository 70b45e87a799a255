"""Speech played faster or slower, as new speakers: tempo and pitch change together, so the voice is another one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchaudio.transforms import Resample

from ham.augment.randomness import integers, uniform
from ham.augment.waveforms import Crops, windows
from ham.errors import ConfigError

FILTER: dict[str, Any] = {
    "lowpass_filter_width": 64,
    "rolloff": 0.9575,
    "resampling_method": "sinc_interp_kaiser",
    "beta": 6.0,
}
"""Of those of this width the filter nearest to sox's; ``python -m benchmarks.speed`` compares it."""


@lru_cache(maxsize=64)
def _resampler(ratio: Fraction, device: torch.device) -> Resample:
    """Made once, since to make it asks the device."""
    return Resample(ratio.numerator, ratio.denominator, dtype=torch.float32, **FILTER).to(device)


def _fraction(speed: float) -> Fraction:
    """The speed as a ratio of small integers, which is what a resampler wants."""
    if not 0.1 <= speed <= 10.0:
        raise ConfigError(f"augmentation: a speed must be from 0.1 to 10, found {speed:g}")
    return Fraction(speed).limit_denominator(100)


def speed_input_samples(num_samples: int, speed: float) -> int:
    """Samples that must go in so that ``num_samples`` come out, ``ceil(num_samples * speed)``.

    Raises:
        ConfigError: if the speed is out of range.
    """
    return math.ceil(num_samples * _fraction(speed))


def speed_perturb(waveforms: Tensor, speed: float, num_samples: int | None = None) -> Tensor:
    """Play waveforms at another speed by resampling: a tone of ``f`` Hz becomes one of ``f * speed`` Hz.

    The meaning of sox's and Kaldi's ``speed``. The result begins where the input begins.

    Args:
        waveforms: shape ``(B, M)`` with M at least ``speed_input_samples(num_samples, speed)``; the rest is unused.
        speed: 1.1 is faster, 0.9 slower; taken to the nearest ratio of integers up to a denominator of 100.
        num_samples: length N of the result; None for all that the input gives, ``floor(M / speed)``.

    Returns:
        Shape ``(B, N)``.

    Raises:
        ConfigError: if the speed is out of range.
        ValueError: if ``waveforms`` is too short.
    """
    ratio = _fraction(speed)
    if num_samples is None:
        num_samples = math.floor(waveforms.shape[1] / ratio)
    needed = speed_input_samples(num_samples, speed)
    if waveforms.shape[1] < needed:
        raise ValueError(f"speed {speed:g}: expected at least {needed} samples, found {waveforms.shape[1]}")
    played: Tensor = _resampler(ratio, waveforms.device)(waveforms[:, :needed])
    return played[:, :num_samples]


class Part(NamedTuple):
    """The crops of one speed, rows ``(R,)`` of the batch, and the sample at which each begins in its row ``(R,)``."""

    version: int
    rows: Tensor
    starts: Tensor


class Speeds(NamedTuple):
    """Labels of a batch at the speeds that were drawn ``(B,)``, and the crops of each speed that was."""

    labels: Tensor
    parts: list[Part]

    def among(self, present: Tensor) -> Speeds:
        """The same for a batch of which only some rows, in ascending order, are there; labels stay those of all."""
        parts = []
        for version, rows, starts in self.parts:
            there = torch.isin(rows, present)
            if there.any():
                parts.append(Part(version, torch.searchsorted(present, rows[there]), starts[there]))
        return Speeds(self.labels, parts)


class SpeedPerturbation:
    """Plays every crop at a speed drawn uniformly from the original one and ``speeds``, and labels it accordingly.

    The loss must be built for ``num_classes`` speakers, and crops must be read with ``input_samples(N)`` samples.

    Args:
        num_speakers: speakers of the corpus.
        speeds: the speeds besides 1; the ratios of the common recipes are the default.

    Raises:
        ConfigError: if a speed is out of range, 1, or listed twice.
    """

    def __init__(self, num_speakers: int, *, speeds: Sequence[float] = (0.9, 1.1)) -> None:
        ratios = [Fraction(1), *map(_fraction, speeds)]
        if len(set(ratios)) < len(ratios):
            raise ConfigError(f"augmentation: speeds must differ from 1 and each other, found {list(speeds)}")
        self.num_speakers = num_speakers
        self.speeds = (1.0, *speeds)

    @property
    def num_classes(self) -> int:
        """Speakers after the change, ``num_speakers`` for each speed."""
        return self.num_speakers * len(self.speeds)

    def input_samples(self, num_samples: int) -> int:
        """Samples that a crop must have to give ``num_samples`` at whatever speed it draws."""
        return max(speed_input_samples(num_samples, speed) for speed in self.speeds)

    def draw(
        self, labels: Tensor, num_samples: int, generator: torch.Generator, *, places: Tensor | None, lengths: Tensor
    ) -> Speeds:
        r"""Draw a speed for every crop, and where in its row it begins.

        A crop needs fewer samples than the fastest speed does. It begins at the same fraction :math:`p` of its spare
        samples at which its row begins in its utterance, so that with a uniform :math:`p` it is, at every speed, a
        uniformly drawn part of the whole utterance: :math:`p (L - M) + p (M - n) = p (L - n)`, with an utterance of
        L samples and a crop that needs n of them.

        Args:
            labels: shape ``(B,)``, int64 from 0 to ``num_speakers - 1``.
            num_samples: length N of the result.
            generator: source of the randomness, on the central processor.
            places: :math:`p` from 0 to 1, shape ``(B,)``; None draws it.
            lengths: samples of a row before its speech repeats, shape ``(B,)``, int64; a crop reaches beyond them
                only where they are too few for it.

        Returns:
            Labels from 0 to ``num_classes - 1``, and what :meth:`apply` needs.
        """
        versions = integers((len(labels),), 0, len(self.speeds) - 1, generator)
        if places is None:
            places = uniform((len(labels),), (0.0, 1.0), generator)
        parts = []
        for version, speed in enumerate(self.speeds):
            rows = torch.nonzero(versions == version).squeeze(1)
            if len(rows):  # a small batch may not draw every speed, and no row is nothing to resample
                spare = (lengths[rows] - speed_input_samples(num_samples, speed)).clamp(min=0)
                starts = (places[rows] * (spare + 1)).long().minimum(spare)  # rounding may reach the end of the range
                parts.append(Part(version, rows, starts))
        return Speeds(labels + self.num_speakers * versions, parts)

    def apply(self, waveforms: Tensor, drawn: Speeds, num_samples: int) -> Tensor:
        """Play every crop at its speed.

        Args:
            waveforms: shape ``(B, M)`` with M at least ``input_samples(num_samples)``.
            drawn: what :meth:`draw` gave, on their device.
            num_samples: length N of the result.

        Returns:
            Shape ``(B, N)``.
        """
        played = waveforms.new_empty(len(waveforms), num_samples)
        for version, rows, starts in drawn.parts:
            speed = self.speeds[version]
            part = windows(waveforms, rows, starts, speed_input_samples(num_samples, speed))
            played[rows] = speed_perturb(part, speed, num_samples)
        return played

    def __call__(
        self,
        waveforms: Tensor,
        labels: Tensor,
        generator: torch.Generator,
        num_samples: int,
        *,
        places: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Crops:
        """Draw and apply at once, on the central processor; ``lengths`` None: nothing repeats."""
        if lengths is None:
            lengths = torch.full_like(labels, waveforms.shape[1])
        drawn = self.draw(labels, num_samples, generator, places=places, lengths=lengths)
        return Crops(self.apply(waveforms, drawn, num_samples), drawn.labels)
