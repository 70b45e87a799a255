"""Arithmetic on batches of waveforms ``(B, N)``: power, mixing at a signal-to-noise ratio, convolution, rolling."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

PUBLISHED_ADDED_POWER = 1e-4
"""What the published recipes add to both mean powers before they take the logarithm: -40 dB of full scale."""

MIN_POWER = 1e-10
"""Below this mean power a signal counts as silent: one bit of 16-bit audio, in [-1, 1], has (2 ** -15) ** 2 = 9e-10."""


class Crops(NamedTuple):
    """A batch of training crops.

    ``waveforms`` has shape ``(B, N)`` with values in [-1, 1]; ``labels`` has shape ``(B,)``, the speakers as int64.
    """

    waveforms: Tensor
    labels: Tensor


def mean_power(waveforms: Tensor) -> Tensor:
    """Mean of the squared samples of each row ``(B, N)``, shape ``(B,)``."""
    norms: Tensor = torch.linalg.vector_norm(waveforms, dim=1)
    return norms.square() / waveforms.shape[1]


def snr_gain(clean_power: Tensor, noise_power: Tensor, snr_db: Tensor, *, added_power: float = 0.0) -> Tensor:
    r"""The factor that puts a noise ``snr_db`` below the speech.

    .. math:: g = \sqrt{\frac{P(x) + a}{P(n) + a} 10^{-\mathrm{SNR} / 10}}

    with :math:`P` the mean power over the crop and :math:`a` the added power. With :math:`a = 0` the ratio is exact:
    silent speech makes the noise silent too; a noise below ``MIN_POWER`` is not amplified to speech level (nor
    divided by zero), so that it adds next to nothing. The published recipes take ``PUBLISHED_ADDED_POWER``: a noise
    near or below it stays quieter than asked (with speech at -20 dB of full scale and noise at -60, a nominal 7.5 dB
    are 27.5), and behind speech near or below it the noise is louder than asked.

    Args:
        clean_power: of the speech, any shape that fits the others.
        noise_power: of the noise.
        snr_db: ratio wanted.
        added_power: :math:`a`, at least 0.

    Returns:
        Factors, of the common shape.
    """
    ratio = (clean_power + added_power) / (noise_power + added_power).clamp(min=MIN_POWER)
    return ratio.sqrt() * torch.pow(10.0, -snr_db / 20.0)


def mix_at_snr(clean: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """Add ``noise`` to ``clean``, both ``(B, N)``, at ratios ``(B,)`` in dB (see ``snr_gain``), without clipping."""
    gains = snr_gain(mean_power(clean), mean_power(noise), snr_db)
    return torch.addcmul(clean, noise, gains.unsqueeze(1))


def normalise_peak(waveforms: Tensor) -> Tensor:
    r"""Scale each row ``(B, N)`` to just below full scale, :math:`x / (\max_n |x_n| + 10^{-4})`, as wespeaker does."""
    return waveforms / (waveforms.abs().amax(dim=1, keepdim=True) + 1e-4)


def normalise_energy(responses: Tensor, energy: Tensor | None = None) -> Tensor:
    r"""Divide each room response by its norm, :math:`h / \sqrt{\sum_t h_t^2}`.

    A response that is all zeros becomes the unit impulse: a damaged file must not erase a training example.

    Args:
        responses: shape ``(B, L)``.
        energy: :math:`\sum_t h_t^2` of each whole response where ``responses`` holds only its beginning, shape
            ``(B,)``; None where nothing is missing.

    Returns:
        Responses (or beginnings of responses) of energy 1, shape ``(B, L)``.
    """
    energy = (responses.square().sum(dim=1) if energy is None else energy).unsqueeze(1)
    silent = energy < torch.finfo(responses.dtype).tiny
    scaled = responses / torch.where(silent, torch.ones_like(energy), energy).sqrt()
    impulse = torch.zeros_like(responses)
    impulse[:, 0] = 1.0
    return torch.where(silent, impulse, scaled)


@lru_cache(maxsize=256)
def fast_fft_length(minimum: int) -> int:
    """Smallest length from ``minimum`` up with no prime factor above 5, for which transforms are fast."""
    length = minimum
    while not _is_smooth(length):
        length += 1
    return length


def _is_smooth(number: int) -> bool:
    """Whether 2, 3 and 5 are the only prime factors."""
    for prime in (2, 3, 5):
        while number % prime == 0:
            number //= prime
    return number == 1


def convolve(waveforms: Tensor, responses: Tensor) -> Tensor:
    r"""Convolve row by row, :math:`y_n = \sum_k h_k x_{n-k}`, and keep the first ``N`` samples: ``(B, N)``, ``(B, L)``.

    The full convolution cut at the crop's length, as published: what precedes a response's direct sound delays the
    crop, and the reverberation beyond the crop's end is lost. By Fourier transforms, exact to rounding.
    """
    num_samples = waveforms.shape[1]
    # A tap beyond the crop's length touches nothing that is kept.
    taps = min(responses.shape[1], num_samples)
    length = fast_fft_length(num_samples + taps - 1)
    spectrum = torch.fft.rfft(waveforms, length) * torch.fft.rfft(responses[:, :taps], length)
    full: Tensor = torch.fft.irfft(spectrum, length)
    return full[:, :num_samples]


def roll_rows(waveforms: Tensor, starts: Tensor) -> Tensor:
    """Begin each row ``(B, N)`` at its own sample, ``out[b, n] = waveforms[b, (n + starts[b]) % N]``."""
    index = torch.arange(waveforms.shape[1], device=waveforms.device) + starts.unsqueeze(1)
    # Twice the row in memory is several times faster than the remainder of B x N indices.
    return torch.cat([waveforms, waveforms], dim=1).gather(1, index)


def windows(waveforms: Tensor, rows: Tensor, starts: Tensor, num_samples: int) -> Tensor:
    """Cut a part out of some rows, ``out[r, n] = waveforms[rows[r], starts[r] + n]``, shape ``(R, num_samples)``."""
    parts: Tensor = waveforms.unfold(1, num_samples, 1)[rows, starts]
    return parts
