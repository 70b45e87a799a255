"""Speech in the forms in which a program has it, a path or an array, to mono float32 samples at 16 kHz."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ham.audio import SAMPLE_RATE
from ham.audio.decoding import LARGEST_PEAK, RATES, read_audio, to_rate
from ham.errors import DataError

Array = NDArray[Any]
Speech = Path | str | Array | tuple[Array, int | None]
"""An audio file, or samples: float in [-1, 1] or int16, shape ``(N,)``, or with channels; a tuple names their rate."""

MOST_CHANNELS = 32
"""Columns beyond which an array is taken for something else than the channels of a recording."""


def to_waveform(speech: Speech, sample_rate: int | None = None, name: str = "speech") -> NDArray[np.float32]:
    """Read a file, or convert samples; channels are averaged, another rate is converted, as for files.

    Args:
        speech: a path (``-`` is standard input), or samples. Of two axes the shorter one is the channels': soundfile
            has ``(N, channels)``, torchaudio ``(channels, N)``.
        sample_rate: of samples in Hz; a file says its own.
        name: what messages call samples.

    Returns:
        Samples in [-1, 1] at 16 kHz, shape ``(N,)``.

    Raises:
        DataError: if the file cannot be read, or the samples are not speech: another type or shape, NaN, none at all,
            or without a rate.
    """
    if isinstance(speech, Path | str):
        return read_audio(Path(speech))
    if isinstance(speech, tuple) and len(speech) == 2:
        speech, sample_rate = speech
    if not isinstance(speech, np.ndarray):
        raise DataError(f"{name}: expected a path or a NumPy array, found {type(speech).__name__}")
    mono = _mono(speech, name)
    return to_rate(mono, _checked_rate(sample_rate, name), SAMPLE_RATE)


def with_rate(speech: Speech, sample_rate: int | None) -> Speech:
    """Samples with their rate; a file as it is, since it says its own."""
    return (speech, sample_rate) if isinstance(speech, np.ndarray) else speech


def listed(recordings: Speech | Sequence[Speech]) -> list[Speech]:
    """One recording as a list of one; a list of several as it is.

    Raises:
        DataError: if the list is empty.
    """
    if isinstance(recordings, Path | str | np.ndarray | tuple):
        return [recordings]
    if not recordings:
        raise DataError("expected at least one recording of a speaker, found none")
    return list(recordings)


def name_of(speech: Speech, number: int) -> str:
    """What messages call an item of a list: the path, or its number for samples, counted from 1."""
    return str(speech) if isinstance(speech, Path | str) else f"speech {number}"


def _checked_rate(rate: int | None, name: str) -> int:
    if rate is None:
        raise DataError(f"{name}: expected the sample rate of the array, found none; give sample_rate=16000 or its own")
    if isinstance(rate, bool) or int(rate) != rate or not RATES[0] <= rate <= RATES[1]:
        raise DataError(f"{name}: expected a sample rate of {RATES[0]:,} to {RATES[1]:,} Hz, found {rate!r}")
    return int(rate)


def _mono(samples: Array, name: str) -> NDArray[np.float32]:
    """Samples of one channel as float32."""
    if samples.dtype != np.int16 and samples.dtype.kind != "f":
        raise DataError(f"{name}: expected float samples in [-1, 1] or int16, found {samples.dtype}")
    if samples.ndim == 2 and min(samples.shape) <= MOST_CHANNELS:
        return _mono(samples.mean(axis=int(np.argmin(samples.shape))) / _scale(samples), name)
    if samples.ndim != 1:
        raise DataError(f"{name}: expected samples (N,), or with channels (N, 2) or (2, N), found {samples.shape}")
    if not samples.size:
        raise DataError(f"{name}: holds no samples")
    waveform: NDArray[np.float32] = (samples / _scale(samples)).astype(np.float32)
    if not np.isfinite(waveform).all():
        raise DataError(f"{name}: holds samples that are infinite or not a number")
    if (peak := float(np.abs(waveform).max())) > LARGEST_PEAK:
        raise DataError(f"{name}: expected samples in [-1, 1], found {peak:g}; divide 16-bit integers by 32768")
    return waveform


def _scale(samples: Array) -> float:
    """What integers are divided by."""
    return 32768.0 if samples.dtype == np.int16 else 1.0
