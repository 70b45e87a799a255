"""From the synthesiser's samples to a recording: cut the silence, resample, then a session's tilt, noise and level."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ham.audio import SAMPLE_RATE

SILENCE = 0.02
"""Below this share of the peak an end of the utterance is silent."""

MARGIN_S = 0.03
FADE_S = 0.01
PIVOT_HZ = 1000.0
"""Where a tilt of the spectrum leaves the amplitude as it is."""

LOWEST_HZ = 50.0
"""Below it a tilt goes no further: there is no speech, and the law has a pole at 0 Hz."""


def trim(samples: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Leave exactly 30 ms of silence at both ends: espeak-ng begins and ends with more, or with hardly any.

    Args:
        samples: shape ``(N,)``.
        rate: samples a second.

    Returns:
        A part of ``samples``, with zeros where they end too soon; nothing if all of it is silent.
    """
    loud = np.flatnonzero(np.abs(samples) > SILENCE * np.abs(samples).max(initial=0.0))
    if not loud.size:
        return samples[:0]
    margin = round(MARGIN_S * rate)
    return np.pad(samples, margin)[loud[0] : loud[-1] + 1 + 2 * margin]


def resample(samples: NDArray[np.float32], rate: int, new_rate: int) -> NDArray[np.float32]:
    """Lower the sample rate by cutting the spectrum at the new Nyquist frequency.

    With ``up / down`` the reduced ratio of the rates, the signal is padded to a multiple of ``64 * down`` (a length
    that the Fourier transform likes), transformed, cut, and transformed back.

    Args:
        samples: shape ``(N,)``.
        rate: samples a second, at least ``new_rate``.
        new_rate: samples a second that are wanted.

    Returns:
        Shape ``(N * new_rate // rate,)``.
    """
    divisor = math.gcd(rate, new_rate)
    up, down = new_rate // divisor, rate // divisor
    blocks = -(-(samples.size + rate // 100) // (64 * down))
    length, new_length = 64 * down * blocks, 64 * up * blocks
    spectrum = np.fft.rfft(samples.astype(np.float64), length)[: new_length // 2 + 1]
    result = np.fft.irfft(spectrum, new_length) * (up / down)
    return result[: samples.size * up // down].astype(np.float32)


def tilt(samples: NDArray[np.float64], tilt_db_per_octave: float) -> NDArray[np.float64]:
    """Tilt the spectrum around 1 kHz: a gain of ``tilt * log2(f / 1000)`` dB at the frequency ``f``.

    Args:
        samples: shape ``(N,)`` at 16 kHz.
        tilt_db_per_octave: positive for a brighter sound.

    Returns:
        Shape ``(N,)``.
    """
    length = 2 ** samples.size.bit_length()
    frequency = np.maximum(np.fft.rfftfreq(length, 1 / SAMPLE_RATE), LOWEST_HZ)
    gain = 10 ** (tilt_db_per_octave * np.log2(frequency / PIVOT_HZ) / 20)
    return np.fft.irfft(np.fft.rfft(samples, length) * gain, length)[: samples.size]


def band(samples: NDArray[np.float64], low_hz: float, high_hz: float) -> NDArray[np.float64]:
    """Let through a band: gains of a Butterworth filter of the fourth order at either end, without its phase.

    Args:
        samples: shape ``(N,)`` at 16 kHz.
        low_hz: where the gain is -3 dB, falling below.
        high_hz: where it is -3 dB again.

    Returns:
        Shape ``(N,)``.
    """
    length = 2 ** samples.size.bit_length()
    frequency = np.maximum(np.fft.rfftfreq(length, 1 / SAMPLE_RATE), 1.0)
    gain = 1 / np.sqrt((1 + (low_hz / frequency) ** 8) * (1 + (frequency / high_hz) ** 8))
    return np.fft.irfft(np.fft.rfft(samples, length) * gain, length)[: samples.size]


def reverberate(
    samples: NDArray[np.float64], rng: np.random.Generator, *, reverb_s: float, direct_db: float
) -> NDArray[np.float64]:
    """Add the echo of a room: noise that falls by 60 dB in a given time (Polack's model), behind the direct sound.

    Args:
        samples: shape ``(N,)`` at 16 kHz.
        rng: the source of randomness.
        reverb_s: that time, in seconds.
        direct_db: energy of the direct sound relative to the echo's.

    Returns:
        Shape ``(N,)``: what rings on behind the utterance is cut.
    """
    number = max(round(reverb_s * SAMPLE_RATE), 1)
    echo = rng.standard_normal(number) * 10 ** (-3 * np.arange(number) / number)
    echo *= 10 ** (-direct_db / 20) / np.sqrt(np.sum(echo**2))
    response = np.concatenate([[1.0], echo])
    length = 2 ** (samples.size + number).bit_length()
    return np.fft.irfft(np.fft.rfft(samples, length) * np.fft.rfft(response, length), length)[: samples.size]


def add_noise(
    samples: NDArray[np.float64], rng: np.random.Generator, *, snr_db: float, noise_tilt_db_per_octave: float
) -> NDArray[np.float64]:
    """Add Gaussian noise of the given colour.

    Args:
        samples: shape ``(N,)`` at 16 kHz.
        rng: the source of randomness.
        snr_db: the ratio of the mean powers of ``samples`` and of the noise.
        noise_tilt_db_per_octave: 0 for white noise, -3 for pink.

    Returns:
        Shape ``(N,)``.
    """
    noise = tilt(rng.standard_normal(samples.size), noise_tilt_db_per_octave)
    power = np.mean(samples**2) / 10 ** (snr_db / 10)
    return np.asarray(samples + noise * np.sqrt(power / np.mean(noise**2)))


def finish(samples: NDArray[np.float64], peak_db: float) -> NDArray[np.int16]:
    """Fade both ends over 10 ms, set the peak, and round to 16 bits.

    Args:
        samples: shape ``(N,)`` at 16 kHz, not all zero.
        peak_db: the greatest magnitude in dB relative to full scale, at most 0.

    Returns:
        Shape ``(N,)``.
    """
    ramp = np.linspace(0.0, 1.0, round(FADE_S * SAMPLE_RATE))
    faded = samples.copy()
    faded[: ramp.size] *= ramp
    faded[-ramp.size :] *= ramp[::-1]
    peak = 32767 * 10 ** (peak_db / 20)
    scaled: NDArray[np.float64] = faded * (peak / np.abs(faded).max())
    return np.rint(scaled).astype(np.int16)
