from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from espeak import SAMPLE_RATE, Synthesiser
from numpy.typing import NDArray
from voices import ACCENTS, PITCH_HZ, SEXES, TRACT, Voice, aged, draw_session, draw_voice

Samples = NDArray[np.float32]

TEXT = "seven people wash the green stone house near a car"
PLAIN = Voice(
    pitch_low_hz=100,
    pitch_high_hz=130,
    rate_wpm=165,
    formant_percent=(100,) * 6,
    height_percent=(100,) * 7,
    width_percent=(100,) * 5,
    flutter=2,
    roughness=3,
    voicing_percent=90,
    consonants_percent=100,
    breath=(0,) * 8,
    stress_add=(0,) * 8,
)


def say(voice: Voice, accent: str = "en-us", rate: float = 1.0) -> Samples:
    with Synthesiser(ACCENTS[accent], voice.variant_text()) as synthesiser:
        return synthesiser.speak(TEXT, rate_wpm=round(voice.rate_wpm * rate), seed=1)


def frames(samples: Samples, length: int) -> Samples:
    cut = np.lib.stride_tricks.sliding_window_view(samples, length)[:: length // 2]
    energy = (cut**2).sum(1)
    return cut[energy > 0.05 * energy.max()] * np.hanning(length)


def median_f0(samples: Samples) -> float:
    """The peak of the autocorrelation between 60 and 350 Hz, over loud frames of 50 ms."""
    cut = frames(samples, SAMPLE_RATE // 20)
    correlation = np.fft.irfft(np.abs(np.fft.rfft(cut, 4096)) ** 2)
    shortest = SAMPLE_RATE // 350
    return float(np.median(SAMPLE_RATE / (shortest + correlation[:, shortest : SAMPLE_RATE // 60].argmax(1))))


def spectrum_db(samples: Samples) -> Samples:
    """Mean power in 250 Hz bands up to 8 kHz, relative to the mean of all bands in dB."""
    power = (np.abs(np.fft.rfft(frames(samples, 512))) ** 2).mean(0)
    bands = 10 * np.log10(power[: 6 * 31].reshape(31, 6).mean(1))
    return bands - bands.mean()


def test_a_higher_pitch_is_heard_as_such() -> None:
    measured = [median_f0(say(replace(PLAIN, pitch_low_hz=low, pitch_high_hz=low + 10))) for low in (80, 120, 180, 240)]
    assert measured == sorted(measured)
    assert np.all(np.abs(np.array(measured) / [80, 120, 180, 240] - 1) < 0.15)


def test_a_session_shifts_the_pitch_by_its_semitones() -> None:
    low, high = (median_f0(say(PLAIN.shifted(shift))) for shift in (-2.0, 2.0))
    assert 12 * np.log2(high / low) == pytest.approx(4.0, abs=0.5)
    assert PLAIN.shifted(2.0).formant_percent == PLAIN.formant_percent


def test_a_session_changes_the_rate_by_its_factor() -> None:
    slow, fast = (say(PLAIN, rate=rate).size for rate in (0.9, 1.1))
    assert slow / fast == pytest.approx(1.1 / 0.9, rel=0.05)


def changes() -> list[tuple[str, Voice]]:
    """PLAIN with one number changed, for every number that a voice has."""
    strong = {
        "pitch_low_hz": 90,
        "pitch_high_hz": 150,
        "rate_wpm": 180,
        "formant_percent": 108,
        "height_percent": 75,
        "width_percent": 140,
        "flutter": 10,
        "roughness": 6,
        "voicing_percent": 75,
        "consonants_percent": 75,
        "breath": 12,
        "stress_add": 25,
    }
    cases = []
    for field in fields(Voice):
        old, new = getattr(PLAIN, field.name), strong[field.name]
        if isinstance(old, int):
            cases.append((field.name, replace(PLAIN, **{field.name: new})))
        elif field.name in ("breath", "stress_add"):
            cases.append((field.name, replace(PLAIN, **{field.name: (new,) * len(old)})))
        else:
            for i in range(len(old)):
                values = (*old[:i], new, *old[i + 1 :])
                cases.append((f"{field.name}[{i}]", replace(PLAIN, **{field.name: values})))
    return cases


@pytest.mark.parametrize(("name", "voice"), changes(), ids=[name for name, _ in changes()])
def test_every_number_of_a_voice_is_measurable(name: str, voice: Voice) -> None:
    plain, changed = say(PLAIN), say(voice)
    difference = np.abs(spectrum_db(changed) - spectrum_db(plain))
    assert abs(changed.size / plain.size - 1) > 0.01 or difference.max() > 0.3, name


def test_formants_move_the_centre_of_the_spectrum() -> None:
    def centroid(percent: int) -> float:
        power = 10 ** (spectrum_db(say(replace(PLAIN, formant_percent=(percent,) * 6))) / 10)
        return float((power * np.arange(31)).sum() / power.sum())

    assert centroid(88) < centroid(100) < centroid(112)


def test_accents_say_the_same_words_differently() -> None:
    spoken = [say(PLAIN, accent) for accent in ACCENTS]
    assert len({samples.tobytes() for samples in spoken}) == len(ACCENTS) >= 4


@pytest.mark.parametrize("sex", SEXES)
def test_voices_stay_within_their_limits(sex: str) -> None:
    rng = np.random.default_rng(0)
    voices = [draw_voice(rng, sex) for _ in range(300)]
    low, high = PITCH_HZ[sex]
    assert all(low - 1 <= voice.pitch_low_hz < voice.pitch_high_hz <= 1.6 * high + 1 for voice in voices)
    mean = np.mean([voice.formant_percent for voice in voices])
    assert mean == pytest.approx(100 * TRACT[sex], rel=0.02)
    assert len(set(voices)) == len(voices)
    assert all(voice.rate_wpm * 0.9 >= 80 and voice.rate_wpm * 1.1 <= 450 for voice in voices)


def test_no_drawn_voice_is_clipped() -> None:
    rng = np.random.default_rng(1)
    assert all(np.abs(say(draw_voice(rng, sex))).max() < 0.99 for sex in SEXES for _ in range(10))


def test_a_voice_file_says_all_that_the_voice_holds() -> None:
    lines = PLAIN.variant_text().splitlines()
    assert len({line.split()[0] + line.split()[1] * line.startswith("formant") for line in lines}) == len(lines)
    assert "pitch 100 130" in lines
    assert "formant 4 100 100 100" in lines
    assert sum(line.startswith("formant ") for line in lines) == 7


def test_sessions_differ_and_never_clip() -> None:
    rng = np.random.default_rng(0)
    sessions = [draw_session(rng) for _ in range(200)]
    assert len(set(sessions)) == 200
    assert all(session.peak_db < 0 < session.snr_db and 0.9 <= session.rate_factor <= 1.1 for session in sessions)


def test_age_moves_pitch_and_rate_and_nothing_else() -> None:
    for sex, later in (("f", -3.0), ("m", 3.0)):
        old = aged(PLAIN, sex, 80)
        assert 12 * np.log2(old.pitch_low_hz / PLAIN.pitch_low_hz) == pytest.approx(later, abs=0.1)
        assert old.rate_wpm == round(0.85 * PLAIN.rate_wpm)
        assert replace(old, pitch_low_hz=100, pitch_high_hz=130, rate_wpm=165) == PLAIN
        assert aged(PLAIN, sex, 35) == PLAIN
