"""Utterances that are a part of a file: their places in seconds, and the one way in which they are cut.

Second ``t`` of a file is its sample ``round(t * rate)`` at the file's own rate; what is cut is converted afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ham.audio.decoding import MIN_DURATION_S, SILENCE_PEAK, AudioInfo, decode_audio, read_audio, to_rate
from ham.data.kaldi_dir import Segment
from ham.data.speech import Span
from ham.errors import DataError

OVERSHOOT_S = 0.5
"""A segment may end this much behind its recording, where it is cut; Kaldi's extract-segments allows the same."""

_KEPT = 2  # decoded recordings: the utterances of one follow each other, and two threads may be at a boundary


def place(span: Span | None, info: AudioInfo, where: str) -> Segment:
    """Find a span's place in a file of known length.

    Args:
        span: the part of the file; None for all of it.
        info: the file.
        where: the utterance and the file, for the message.

    Returns:
        The place, within the file.

    Raises:
        DataError: if it ends more than ``OVERSHOOT_S`` behind the file, or is too short.
    """
    unit = info.sample_rate if span and span.in_samples else 1
    start_s = span.start / unit if span else 0.0
    end_s = info.duration_s if span is None or span.stop is None else span.stop / unit
    if end_s > info.duration_s + OVERSHOOT_S:
        raise DataError(
            f"{where}: expected a part that ends within the {info.duration_s:.3f} s of the file, found its end at "
            f"{end_s:.3f} s; correct it"
        )
    end_s = min(end_s, info.duration_s)
    if end_s - start_s < MIN_DURATION_S:
        raise DataError(
            f"{where}: expected at least {MIN_DURATION_S} s, found {max(end_s - start_s, 0):.3f} s; remove it"
        )
    return Segment(round(start_s, 6), round(end_s, 6))


def is_beyond(span: Span | None, info: AudioInfo) -> bool:
    """Whether a span ends behind its file by more than rounding makes."""
    if span is None or span.stop is None:
        return False
    return span.stop / (info.sample_rate if span.in_samples else 1) > info.duration_s + 1e-3


def duration(segment: Segment, rate: int) -> float:
    """Seconds that a segment has once it is cut: a whole number of samples at the file's rate in Hz."""
    return (round(segment.end_s * rate) - round(segment.start_s * rate)) / rate


def reader(
    wav: Mapping[str, Path], segments: Mapping[str, Segment], sample_rate: int
) -> Callable[[str], NDArray[np.float32]]:
    """Make the function that reads an utterance, be it a file or a part of one.

    The last recordings stay decoded, so that the segments of one do not decode it again and again.

    Args:
        wav: the file of each utterance.
        segments: the parts; an utterance that is not in it is its whole file.
        sample_rate: rate of the results in Hz.

    Returns:
        A function from an utterance to samples in [-1, 1], shape ``(N,)``; it raises ``DataError``.
    """
    decode = lru_cache(_KEPT)(decode_audio)

    def _read(utt: str) -> NDArray[np.float32]:
        file, segment = Path(wav[utt]), segments.get(utt)
        if segment is None:
            return read_audio(file, sample_rate)
        waveform, rate = decode(file)
        return to_rate(_cut(file, utt, segment, waveform, rate), rate, sample_rate)

    return _read


def _cut(file: Path, utt: str, segment: Segment, waveform: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    start, end = round(segment.start_s * rate), round(segment.end_s * rate)
    if end > len(waveform):
        raise DataError(f"{file}: has {len(waveform)} samples, {utt} ends at {end}; prepare it again (stage 2)")
    cut = waveform[start:end]
    if np.ptp(cut) < 2 * SILENCE_PEAK:
        where = f"{segment.start_s:.3f} to {segment.end_s:.3f} s"
        raise DataError(f"{file}: {utt}, {where}, is silent; take it out of the table")
    return cut


def silent(file: Path, segments: Mapping[str, Segment]) -> dict[str, str]:
    """The errors, by utterance, of those parts of a file in which there is nothing to hear."""
    errors = {}
    waveform, rate = decode_audio(file)
    for utt, segment in segments.items():
        try:
            _cut(file, utt, segment, waveform, rate)
        except DataError as error:
            errors[utt] = str(error)
    return errors
