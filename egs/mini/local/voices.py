"""Who speaks and under which conditions: voices for espeak-ng, and the sessions in which a voice is recorded.

A voice holds only what was measured to change the sound. The widths of formants 5 and above, all of formants 7 and 8,
the strength of voiced consonants and a roughness below 3 do next to nothing in espeak-ng 1.52 and are left alone. A
session leaves the formants as they are and disturbs what a listener should not rely on: pitch, rate, spectral tilt,
level and noise.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

SEXES = ("f", "m")

ACCENTS = {
    "en-us": "gmw/en-US",
    "en-gb": "gmw/en",
    "en-gb-scotland": "gmw/en-GB-scotland",
    "en-029": "gmw/en-029",
}
"""Each accent's language file: phonemes and dictionary rules of its own. ``en-029`` is Caribbean English."""

LARGE_ACCENTS = {**ACCENTS, "en-gb-x-gbcwmd": "gmw/en-GB-x-gbcwmd", "en-us-nyc": "gmw/en-US-nyc"}
"""Those of the preset ``large``: of the West Midlands and of New York City too."""

YOUNGEST, OLDEST = 20, 80
"""Years of the speakers of the preset ``large``."""

PITCH_HZ = {"f": (150.0, 240.0), "m": (80.0, 140.0)}
"""The range of a speaker's lowest pitch; sessions move it by two semitones, so that ranges nearly meet."""

TRACT = {"f": 1.14, "m": 1.0}
"""Formants of women lie about 15 % above those of men, whose vocal tracts are longer."""

TRACT_SPREAD = 0.04
FORMANT_SPREAD = 0.035
HEIGHT_SPREAD = 0.15
WIDTH_SPREAD = 0.2
LIMIT = 2.5
"""Normal deviates are drawn again beyond this many standard deviations: no voice is a caricature."""


@dataclass(frozen=True)
class Voice:
    """One speaker's voice, in the units of a voice file of espeak-ng.

    Attributes:
        pitch_low_hz: where the pitch lies at the end of a statement.
        pitch_high_hz: where it lies on the strongest syllable.
        rate_wpm: words a minute.
        formant_percent: frequencies of formants 1 to 6, 100 being espeak's own.
        height_percent: amplitudes of formants 0 to 6.
        width_percent: widths of formants 0 to 4.
        flutter: amount of the slow wavering of the pitch.
        roughness: 3 to 7; how much weaker every second period is.
        voicing_percent: strength of the voiced part.
        consonants_percent: strength of the noise of unvoiced consonants.
        breath: strength of the breath noise around formants 1 to 8.
        stress_add: lengthening of the eight degrees of stress, from unstressed to emphatic.
    """

    pitch_low_hz: int
    pitch_high_hz: int
    rate_wpm: int
    formant_percent: tuple[int, ...]
    height_percent: tuple[int, ...]
    width_percent: tuple[int, ...]
    flutter: int
    roughness: int
    voicing_percent: int
    consonants_percent: int
    breath: tuple[int, ...]
    stress_add: tuple[int, ...]

    def shifted(self, semitones: float) -> Voice:
        """The same voice at another pitch; its formants stay.

        Args:
            semitones: how much higher.

        Returns:
            The voice with its range of pitch moved.
        """
        factor = 2 ** (semitones / 12)
        low, high = (round(pitch * factor) for pitch in (self.pitch_low_hz, self.pitch_high_hz))
        return replace(self, pitch_low_hz=low, pitch_high_hz=high)

    def variant_text(self) -> str:
        """The lines of the voice's variant file; what they mean: espeak-ng's docs/voices.md."""
        formants = zip((100, *self.formant_percent), self.height_percent, (*self.width_percent, 100, 100), strict=True)
        lines = [f"pitch {self.pitch_low_hz} {self.pitch_high_hz}"]
        lines += [f"formant {n} {' '.join(map(str, values))}" for n, values in enumerate(formants)]
        lines += [f"flutter {self.flutter}", f"roughness {self.roughness}", f"voicing {self.voicing_percent}"]
        lines += [f"consonants {self.consonants_percent}"]
        lines += [f"breath {' '.join(map(str, self.breath))}", f"stressAdd {' '.join(map(str, self.stress_add))}"]
        return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Session:
    """The conditions that the utterances of one session share.

    Attributes:
        pitch_shift_semitones: added to the voice's pitch.
        rate_factor: multiplies the voice's rate.
        tilt_db_per_octave: tilt of the spectrum around 1 kHz.
        peak_db: level of the loudest sample, relative to full scale.
        snr_db: ratio of speech to noise.
        noise_tilt_db_per_octave: colour of the noise; 0 is white.
    """

    pitch_shift_semitones: float
    rate_factor: float
    tilt_db_per_octave: float
    peak_db: float
    snr_db: float
    noise_tilt_db_per_octave: float


@dataclass(frozen=True)
class RoomSession(Session):
    """A session of the preset ``large``: in a room, through a band-limited microphone.

    Attributes:
        low_hz: below it the microphone hears less, 24 dB an octave.
        high_hz: above it likewise.
        reverb_s: in which the room's echo falls by 60 dB.
        direct_db: energy of the direct sound relative to the echo.
    """

    low_hz: int
    high_hz: int
    reverb_s: float
    direct_db: float


def aged(voice: Voice, sex: str, age: int) -> Voice:
    """A voice at an age: women's pitch falls over the years, men's rises in old age, and both speak slower.

    Args:
        voice: at the age of 35.
        sex: one of :data:`SEXES`.
        age: in years.

    Returns:
        The voice with its pitch and rate moved; all else stays.
    """
    semitones = -3.0 * (age - 35) / 45 if sex == "f" else 3.0 * max(age - 50, 0) / 30
    return replace(voice.shifted(semitones), rate_wpm=round(voice.rate_wpm * (1 - 0.15 * (age - 35) / 45)))


def draw_age(rng: np.random.Generator) -> int:
    """Draw an age in years, all from ``YOUNGEST`` to ``OLDEST`` alike."""
    return int(rng.integers(YOUNGEST, OLDEST + 1))


def draw_voice(rng: np.random.Generator, sex: str) -> Voice:
    """Draw a voice; the accent has no part in it.

    Args:
        rng: the source of randomness.
        sex: one of :data:`SEXES`.

    Returns:
        A voice within the limits of what espeak-ng renders without distortion.
    """
    low, high = np.log(PITCH_HZ[sex])
    pitch_hz = float(np.exp(rng.uniform(low, high)))
    tract = TRACT[sex] * (1 + TRACT_SPREAD * _normal(rng))
    breath = rng.uniform(0, 12)
    return Voice(
        pitch_low_hz=round(pitch_hz),
        pitch_high_hz=round(pitch_hz * rng.uniform(1.2, 1.6)),
        rate_wpm=round(rng.uniform(150, 185)),
        formant_percent=tuple(round(100 * tract * (1 + FORMANT_SPREAD * _normal(rng))) for _ in range(6)),
        height_percent=tuple(round(100 * np.exp(HEIGHT_SPREAD * _normal(rng))) for _ in range(7)),
        width_percent=tuple(round(100 * np.exp(WIDTH_SPREAD * _normal(rng))) for _ in range(5)),
        flutter=round(rng.uniform(0, 12)),
        roughness=int(rng.integers(3, 8)),
        voicing_percent=round(rng.uniform(70, 110)),
        consonants_percent=round(rng.uniform(70, 120)),
        breath=tuple(round(breath * rng.uniform(0.5, 1.5)) for _ in range(8)),
        stress_add=tuple(round(rng.uniform(-15, 25)) for _ in range(8)),
    )


def draw_session(rng: np.random.Generator) -> Session:
    """Draw the conditions of a session, whoever speaks.

    Args:
        rng: the source of randomness.

    Returns:
        The conditions, rounded as they are stored.
    """
    return Session(
        pitch_shift_semitones=round(rng.uniform(-2, 2), 2),
        rate_factor=round(rng.uniform(0.9, 1.1), 3),
        tilt_db_per_octave=round(rng.uniform(-2, 2), 2),
        peak_db=round(rng.uniform(-24, -1), 1),
        snr_db=round(rng.uniform(12, 35), 1),
        noise_tilt_db_per_octave=round(rng.uniform(-4, 0), 2),
    )


def draw_room_session(rng: np.random.Generator) -> RoomSession:
    """Draw the conditions of a session of the preset ``large``; its noise is louder too.

    Args:
        rng: the source of randomness.

    Returns:
        The conditions, rounded as they are stored.
    """
    plain = replace(draw_session(rng), snr_db=round(rng.uniform(3, 25), 1))
    return RoomSession(
        **vars(plain),
        low_hz=round(rng.uniform(50, 350)),
        high_hz=round(rng.uniform(2800, 7600)),
        reverb_s=round(rng.uniform(0.1, 0.7), 2),
        direct_db=round(rng.uniform(-3, 12), 1),
    )


def _normal(rng: np.random.Generator) -> float:
    """A standard normal deviate, drawn again beyond ``LIMIT``."""
    while abs(value := rng.standard_normal()) > LIMIT:
        pass
    return float(value)
