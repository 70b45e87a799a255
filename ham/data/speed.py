"""Speech played faster or slower, as new speakers: tempo and pitch change together, so the voice is another one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import torch
from torch import Tensor
from torchaudio.functional import resample

from ham.data.draws import integers
from ham.data.waveforms import Crops
from ham.errors import ConfigError


def _fraction(speed: float) -> Fraction:
    """The speed as a ratio of small integers, which is what a resampler wants."""
    if not 0.1 <= speed <= 10.0:
        raise ConfigError(f"augmentation: a speed must be from 0.1 to 10, found {speed:g}")
    return Fraction(speed).limit_denominator(100)


def speed_input_samples(num_samples: int, speed: float) -> int:
    """Samples that must go in so that ``num_samples`` come out.

    Args:
        num_samples: length wanted.
        speed: 1.1 plays faster (and needs more), 0.9 slower.

    Returns:
        ``ceil(num_samples * speed)``.

    Raises:
        ConfigError: if the speed is out of range.
    """
    return math.ceil(num_samples * _fraction(speed))


def speed_perturb(waveforms: Tensor, speed: float, num_samples: int) -> Tensor:
    """Play waveforms at another speed by resampling: a tone of ``f`` Hz becomes one of ``f * speed`` Hz.

    The meaning of sox's and Kaldi's ``speed``. The result begins where the input begins.

    Args:
        waveforms: shape ``(B, M)`` with M at least ``speed_input_samples(num_samples, speed)``; the rest is unused.
        speed: 1.1 is faster, 0.9 slower; taken to the nearest ratio of integers up to a denominator of 100.
        num_samples: length N of the result.

    Returns:
        Shape ``(B, N)``.

    Raises:
        ConfigError: if the speed is out of range.
        ValueError: if ``waveforms`` is too short.
    """
    ratio = _fraction(speed)
    needed = speed_input_samples(num_samples, speed)
    if waveforms.shape[1] < needed:
        raise ValueError(f"speed {speed:g}: expected at least {needed} samples, found {waveforms.shape[1]}")
    if ratio == 1 or not len(waveforms):  # in a small batch no crop may have drawn this speed
        return waveforms[:, :num_samples]
    played: Tensor = resample(waveforms[:, :needed], ratio.numerator, ratio.denominator)
    return played[:, :num_samples]


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
        """Samples that a crop must have, whatever speed it draws.

        Args:
            num_samples: length wanted.

        Returns:
            The need of the fastest speed.
        """
        return max(speed_input_samples(num_samples, speed) for speed in self.speeds)

    def __call__(self, waveforms: Tensor, labels: Tensor, generator: torch.Generator, num_samples: int) -> Crops:
        """Draw a speed for every crop and play it.

        Args:
            waveforms: shape ``(B, M)`` with M at least ``input_samples(num_samples)``.
            labels: shape ``(B,)``, int64 from 0 to ``num_speakers - 1``.
            generator: source of the randomness.
            num_samples: length N of the result.

        Returns:
            Crops of shape ``(B, N)`` and labels from 0 to ``num_classes - 1``.
        """
        versions = integers((len(labels),), 0, len(self.speeds) - 1, generator, waveforms.device)
        played = waveforms[:, :num_samples].clone()
        for version, speed in enumerate(self.speeds[1:], start=1):
            rows = torch.nonzero(versions == version).squeeze(1)
            played[rows] = speed_perturb(waveforms[rows], speed, num_samples)
        return Crops(played, labels + self.num_speakers * versions)
