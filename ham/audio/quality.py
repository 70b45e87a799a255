"""Whether a recording is fit to tell a voice by: how much speech it holds, how loud, how noisy, how distorted.

Levels are those of frames of 25 ms, every 10 ms, in dB below full scale. Their 95th percentile is the level of the
speech, their 5th percentile that of the noise, and a frame is speech if it stands out of the noise by
:data:`STANDS_OUT_DB` and is no more than :data:`SPEECH_RANGE_DB` below the speech level. With ``vad`` a network decides
what is speech. ``docs/use.md`` has what was measured: estimates against known noise, and false alarms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ham.audio import SAMPLE_RATE
from ham.audio.decoding import to_rate
from ham.errors import ConfigError

SHORT_S = 2.0
"""Seconds of speech below which a voice is matched with a warning, and not enrolled: error rates rise steeply there."""

LEAST_SPEECH_S = 0.5
"""Seconds of speech below which nothing is decided: it is two or three syllables."""

SILENT_DB = -65.0
"""dB below full scale: no speech is so soft (the softest of 600 real recordings: -28 dB), but a muted microphone is."""

NOISY_DB = 10.0
"""dB of speech above noise: real recordings have 14 and more; at 10, cosines of the same speech fall to 0.4 to 0.8."""

CLIPPED_SHARE = 0.01
"""Share of samples at the peak: 0.0016 at most in 986 of 987 real recordings (0.0095 in one that a limiter had
flattened), and a median of 0.07 when they were 12 dB too loud."""

NARROW_DB = -38.0
"""dB: speech from a telephone has less above 4.8 kHz, against the band below 3.5 kHz (real recordings that were taken
down to 8 kHz and up again: 60 of 60 in English, 55 of 60 in Arabic); 2 of 987 original ones have."""

LOW_BAND_HZ, HIGH_BAND_HZ = (2400, 3500), (4800, 7600)

PEAK = 0.98
"""Part of the largest magnitude from which a sample is at the peak: flat tops get ripples when a rate is converted."""

STANDS_OUT_DB, SPEECH_RANGE_DB = 6.0, 30.0
PAUSE_FRAMES = 5
"""Frames beside speech that are speech too: the closures of consonants are part of it."""

Severity = Literal["note", "warn", "cannot_say"]
"""A note is said; a recording with a warning is not enrolled either; without a decision there is no score."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a recording: a word for programs, a sentence for people, and whether it forbids a decision.

    Names: ``short``, ``too_short``, ``silent``, ``clipped``, ``noisy``, ``several_speakers``, ``narrow_band``.
    """

    name: str
    text: str
    severity: Severity = "warn"


@dataclass(frozen=True)
class Quality:
    """What was measured of a recording.

    Attributes:
        duration_s: its length.
        speech_s: how much of it is speech.
        level_db: of the speech, in dB below full scale.
        snr_db: speech above noise, in dB; 0 if no speech stands out.
        clipped: share of samples at the peak.
        high_band_db: mean power density of :data:`HIGH_BAND_HZ` over that of :data:`LOW_BAND_HZ`, in dB; telephone
            speech has -40 and less. 0 where both are empty.
        problems: what is wrong with it.
    """

    duration_s: float
    speech_s: float
    level_db: float
    snr_db: float
    clipped: float
    high_band_db: float = 0.0
    problems: tuple[Problem, ...] = ()

    @property
    def cannot_say(self) -> Problem | None:
        """The first problem that forbids a decision; None if there is none."""
        return next((problem for problem in self.problems if problem.severity == "cannot_say"), None)

    @property
    def not_to_enrol(self) -> Problem | None:
        """The first problem that keeps a recording from standing for a speaker; None if there is none."""
        return next((problem for problem in self.problems if problem.severity != "note"), None)


def assess(samples: NDArray[np.float32], sample_rate: int, *, vad: bool = False) -> Quality:
    """Measure a recording and say what is wrong with it.

    Args:
        samples: in [-1, 1], shape ``(N,)``.
        sample_rate: in Hz.
        vad: whether a network (silero-vad) decides what is speech, instead of levels.

    Returns:
        Its quality; never an error, whatever the samples are.

    Raises:
        ConfigError: if ``vad`` is asked for and silero-vad is not installed.
    """
    levels = frame_levels(samples, sample_rate)
    level, floor = (float(value) for value in np.percentile(levels, (95, 5)))
    speech = levels > max(level - SPEECH_RANGE_DB, floor + STANDS_OUT_DB, SILENT_DB)
    with_pauses = np.convolve(speech, np.ones(2 * PAUSE_FRAMES + 1), "same") > 0
    speech_s = _voiced_s(samples, sample_rate) if vad else 0.01 * int(with_pauses.sum())
    duration_s = len(samples) / sample_rate
    measured = duration_s, min(speech_s, duration_s), level, _snr(levels[speech], floor), _share_at_peak(samples)
    found = Quality(*measured, _high_band_db(samples, sample_rate))
    return replace(found, problems=tuple(_problems(found)))


def joined(qualities: Sequence[Quality]) -> Quality:
    """The quality of several recordings of one speaker: their lengths together, the worst of everything else.

    Each recording is embedded by itself, so that a problem of one is a problem of all, but for their shortness: several
    short ones hold as much speech as a long one.
    """
    several = len(qualities) > 1
    problems = [
        replace(problem, text=f"{problem.text} (recording {number} of {len(qualities)})") if several else problem
        for number, one in enumerate(qualities, 1)
        for problem in one.problems
        if problem.name != "short"
    ]
    speech_s = sum(one.speech_s for one in qualities)
    return Quality(
        sum(one.duration_s for one in qualities), speech_s, min(one.level_db for one in qualities),
        min(one.snr_db for one in qualities), max(one.clipped for one in qualities),
        min(one.high_band_db for one in qualities),
        (*problems, *([] if problems else _short(speech_s))),
    )  # fmt: skip


def frame_levels(samples: NDArray[np.float32], sample_rate: int) -> NDArray[np.float64]:
    """Power of frames of 25 ms, every 10 ms, in dB of full scale, at least -120; a shorter recording is one frame."""
    length, shift = min(len(samples), sample_rate // 40), sample_rate // 100
    if not length:
        return np.full(1, -120.0)
    energy = np.concatenate([[0.0], np.cumsum(np.square(samples - samples.mean(), dtype=np.float64))])
    starts = np.arange(0, len(samples) - length + 1, shift)
    power = (energy[starts + length] - energy[starts]) / length
    levels: NDArray[np.float64] = 10 * np.log10(np.maximum(power, 1e-12))
    return levels


def _snr(speech: NDArray[np.float64], floor: float) -> float:
    """Mean power of the speech without the noise's, over the noise's; levels in dB."""
    if not len(speech):
        return 0.0
    with_noise, noise = np.mean(10 ** (speech / 10)), 10 ** (floor / 10)
    return float(10 * np.log10((with_noise - noise) / noise))


def _share_at_peak(samples: NDArray[np.float32]) -> float:
    magnitude = np.abs(samples)
    return float(np.mean(magnitude >= PEAK * magnitude.max())) if magnitude.any() else 0.0


def _high_band_db(samples: NDArray[np.float32], sample_rate: int) -> float:
    """By frames of 25 ms without overlap; what a low rate cannot hold counts as empty."""
    length = sample_rate // 40
    frames = samples[: len(samples) // length * length].reshape(-1, length)
    if not len(frames):
        return 0.0
    density = (np.abs(np.fft.rfft(frames * np.hanning(length).astype(np.float32))) ** 2).mean(axis=0)
    frequencies = np.fft.rfftfreq(length, 1 / sample_rate)
    low, high = (
        density[(frequencies > start) & (frequencies < end)].sum() / (end - start)
        for start, end in (LOW_BAND_HZ, HIGH_BAND_HZ)
    )
    least = 1e-12 * float(density.max())
    return float(10 * np.log10((high + least) / (low + least))) if least else 0.0


def _problems(found: Quality) -> list[Problem]:
    """What is wrong by the measurements; what forbids a decision stands alone."""
    if found.level_db < SILENT_DB:
        return [Problem("silent", f"It is silent: its loudest part is at {found.level_db:.0f} dB.", "cannot_say")]
    noisy = Problem("noisy", f"It is noisy: speech stands out by only {found.snr_db:.0f} dB, below {NOISY_DB:.0f}.")
    if found.speech_s < LEAST_SPEECH_S:
        if found.snr_db < NOISY_DB:
            return [Problem("noisy", "No speech stands out of its noise.", "cannot_say")]
        return [Problem("too_short", f"It holds {_seconds(found.speech_s)}, too little to tell a voice.", "cannot_say")]
    clipped = Problem("clipped", f"It is clipped: {100 * found.clipped:.0f} % of its samples are at the peak.")
    return [
        *_short(found.speech_s),
        *([clipped] if found.clipped > CLIPPED_SHARE else []),
        *([noisy] if found.snr_db < NOISY_DB else []),
        *([_NARROW] if found.high_band_db < NARROW_DB else []),
    ]


_NARROW = Problem(
    "narrow_band",
    "It holds nothing above 4 kHz, like telephone speech: a model that was not trained on such speech scores it lower.",
    "note",
)


def _short(speech_s: float) -> list[Problem]:
    if speech_s >= SHORT_S:
        return []
    return [Problem("short", f"It holds {_seconds(speech_s)}; below {SHORT_S:.0f} s decisions err much more often.")]


def _seconds(speech_s: float) -> str:
    return f"{speech_s:.1f} s of speech"


def _voiced_s(samples: NDArray[np.float32], sample_rate: int) -> float:
    """Seconds in which silero-vad hears a voice."""
    network = _silero()
    import torch
    from silero_vad import get_speech_timestamps

    heard = torch.from_numpy(to_rate(samples, sample_rate, SAMPLE_RATE))
    found = get_speech_timestamps(heard, network, sampling_rate=SAMPLE_RATE)
    return float(sum(one["end"] - one["start"] for one in found)) / SAMPLE_RATE


@cache
def _silero() -> Any:
    """The network, loaded once."""
    import torch

    num_threads = torch.get_num_threads()
    try:
        from silero_vad import load_silero_vad
    except ImportError:
        raise ConfigError("Voice activity detection needs silero-vad: pip install silero-vad") from None
    torch.set_num_threads(num_threads)  # the package sets it to 1 for the whole process
    return load_silero_vad()
