"""Quality of speech against signals of known level, noise, distortion and length."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ham.audio import quality
from ham.audio.decoding import to_rate
from ham.audio.quality import (
    CLIPPED_SHARE,
    LEAST_SPEECH_S,
    NOISY_DB,
    Problem,
    Quality,
    assess,
    frame_levels,
    joined,
)
from ham.errors import ConfigError

RATE = 16000


def voice(seconds: float = 4.0, rate: int = RATE, level: float = 0.1) -> NDArray[np.float32]:
    """Bursts of 0.4 s that fade to a half, with pauses of 0.1 s between them, of the given RMS without the pauses."""
    times = np.arange(int(seconds * rate)) / rate
    burst = (times % 0.5) < 0.4
    buzz = sum(np.sin(2 * np.pi * 120 * k * times + k * k) / k for k in range(1, 20)) * (1 - times % 0.5)
    return (level * buzz / np.sqrt(np.mean(buzz[burst] ** 2)) * burst).astype(np.float32)


def noise(samples: NDArray[np.float32], snr_db: float) -> NDArray[np.float32]:
    power = np.mean(samples[np.abs(samples) > 0] ** 2) / 10 ** (snr_db / 10)
    return np.random.default_rng(0).normal(0, np.sqrt(power), len(samples)).astype(np.float32)


def names(found: Quality) -> list[str]:
    return [problem.name for problem in found.problems]


def test_levels_are_those_of_a_tone_and_ignore_an_offset() -> None:
    times = np.arange(RATE) / RATE
    tone = (0.5 * np.sin(2 * np.pi * 400 * times)).astype(np.float32)  # 10 periods a frame
    levels = frame_levels(tone + np.float32(0.2), RATE)
    assert len(levels) == 98
    np.testing.assert_allclose(levels, 10 * np.log10(0.5**2 / 2), atol=0.01)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_clean_speech_has_no_problem_at_any_rate(rate: int) -> None:
    found = assess(voice(rate=rate), rate)
    assert names(found) == []
    assert found.duration_s == pytest.approx(4.0)
    assert found.speech_s == pytest.approx(4.0, abs=0.3)  # the pauses are shorter than those beside speech
    assert found.level_db == pytest.approx(-20, abs=2.5)


@pytest.mark.parametrize("snr_db", [10, 15, 20, 30])
def test_noise_is_measured_within_three_db(snr_db: float) -> None:
    samples = voice()
    found = assess(samples + noise(samples, snr_db), RATE)
    assert found.snr_db == pytest.approx(snr_db, abs=3)
    assert ("noisy" in names(found)) == (found.snr_db < NOISY_DB)


@pytest.mark.parametrize("rate", [16000, 22050, 44100, 48000])
def test_speech_from_a_telephone_is_noted_at_whatever_rate_it_comes(rate: int) -> None:
    times = np.arange(3 * RATE) / RATE
    tones = sum(np.sin(2 * np.pi * 130 * k * times + k * k) / k for k in range(1, 60))
    wide = np.asarray(0.05 * tones * ((times % 0.5) < 0.4), np.float32)
    narrow = to_rate(to_rate(wide, RATE, 8000), 8000, RATE)
    assert names(assess(to_rate(wide, RATE, rate), rate)) == []
    found = assess(to_rate(narrow, RATE, rate), rate)
    assert names(found) == ["narrow_band"]
    assert found.not_to_enrol is found.cannot_say is None
    assert names(assess(to_rate(narrow, RATE, 8000), 8000)) == ["narrow_band"]
    assert found.high_band_db == pytest.approx(
        10 * np.log10(density(narrow, 4800, 7600) / density(narrow, 2400, 3500)), abs=1
    )


def density(samples: NDArray[np.float32], low: float, high: float) -> float:
    """Mean power between two frequencies, of the whole recording at once."""
    power, frequencies = np.abs(np.fft.rfft(samples)) ** 2, np.fft.rfftfreq(len(samples), 1 / RATE)
    return float(power[(frequencies > low) & (frequencies < high)].mean())


def test_pauses_are_not_speech() -> None:
    silence = np.zeros(3 * RATE, np.float32)
    samples = np.concatenate([silence, voice(3.0), silence])
    for disturbed in (samples, samples + noise(samples, 25)):
        found = assess(disturbed, RATE)
        assert (found.duration_s, names(found)) == (9.0, [])
        assert found.speech_s == pytest.approx(3.0, abs=0.4)


@pytest.mark.parametrize("gain_db", [-30, -10, 0])
def test_nothing_but_the_level_depends_on_the_gain(gain_db: float) -> None:
    samples = voice(level=0.05)
    samples = samples + noise(samples, 20)
    base, found = assess(samples, RATE), assess(samples * np.float32(10 ** (gain_db / 20)), RATE)
    assert found.level_db - base.level_db == pytest.approx(gain_db, abs=0.01)
    assert (found.speech_s, found.snr_db) == pytest.approx((base.speech_s, base.snr_db), abs=0.01)


def test_clipping_is_found_and_loud_speech_is_not_clipped() -> None:
    samples = voice()
    loud = samples / np.abs(samples).max()
    assert assess(loud, RATE).clipped < CLIPPED_SHARE
    found = assess(np.clip(4 * loud, -1, 1), RATE)
    assert names(found) == ["clipped"]
    assert found.clipped == pytest.approx(float(np.mean(np.abs(4 * loud) >= 0.98)))


@pytest.mark.parametrize(
    ("samples", "name"),
    [
        (np.zeros(RATE, np.float32), "silent"),
        (np.zeros(0, np.float32), "silent"),
        (np.zeros(3, np.float32), "silent"),
        (voice(level=1e-4), "silent"),
        (np.full(RATE, 0.3, np.float32), "silent"),
        (np.random.default_rng(0).normal(0, 0.1, 4 * RATE).astype(np.float32), "noisy"),
        (np.sin(np.arange(4 * RATE) * 0.2).astype(np.float32), "noisy"),
        (np.concatenate([np.zeros(RATE, np.float32), voice(0.3)]), "too_short"),
    ],
)
def test_what_holds_no_voice_forbids_a_decision(samples: NDArray[np.float32], name: str) -> None:
    found = assess(samples, RATE)
    assert names(found) == [name]
    assert found.cannot_say == found.problems[0]
    assert np.isfinite([found.duration_s, found.speech_s, found.level_db, found.snr_db, found.clipped]).all()


@pytest.mark.parametrize(("seconds", "found_short"), [(1.0, True), (1.7, True), (2.3, False)])
def test_short_speech_is_told_and_still_decided(seconds: float, found_short: bool) -> None:
    padded = np.concatenate([np.zeros(2 * RATE, np.float32), voice(seconds)])
    found = assess(padded, RATE)
    assert (names(found) == ["short"]) == found_short
    assert found.cannot_say is None


def test_sentences_are_single_lines_for_people() -> None:
    for samples in (voice(1.0), np.clip(9 * voice(), -1, 1), np.zeros(9, np.float32)):
        for problem in assess(samples, RATE).problems:
            assert problem.text[0].isupper()
            assert problem.text.endswith(".")
            assert "\n" not in problem.text


def test_several_short_recordings_are_as_long_as_their_sum_and_as_bad_as_the_worst() -> None:
    short = assess(voice(1.2), RATE)
    assert names(short) == ["short"]
    assert names(joined([short, short])) == []
    assert joined([short, short]).speech_s == 2 * short.speech_s
    both = joined([short, assess(np.zeros(RATE, np.float32), RATE)])
    assert [problem.text.endswith(" (recording 2 of 2)") for problem in both.problems] == [True]
    assert names(both) == ["silent"]
    assert both.cannot_say is not None
    assert both.level_db == -120
    assert joined([short]) == short


def test_the_first_problem_that_forbids_counts() -> None:
    warn, forbid = Problem("short", "Short."), Problem("silent", "Silent.", "cannot_say")
    assert Quality(1, 1, -20, 30, 0, problems=(warn,)).cannot_say is None
    assert Quality(1, 1, -20, 30, 0, problems=(warn, forbid)).cannot_say == forbid


def test_the_network_hears_no_voice_in_what_is_loud_but_none() -> None:
    pytest.importorskip("silero_vad")
    sweep = np.sin(np.cumsum(np.linspace(0.05, 0.5, 4 * RATE))).astype(np.float32)
    bursts = (sweep * (np.arange(4 * RATE) % RATE < RATE // 2)).astype(np.float32)
    assert assess(bursts, RATE).speech_s > LEAST_SPEECH_S
    found = assess(bursts, RATE, vad=True)
    assert found.speech_s < LEAST_SPEECH_S
    assert names(found) == ["too_short"]


def test_the_network_leaves_the_number_of_threads_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("silero_vad")
    for name in [name for name in sys.modules if name.startswith("silero_vad")]:
        monkeypatch.delitem(sys.modules, name)
    quality._silero.cache_clear()
    num_threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assess(voice(), RATE, vad=True)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(num_threads)


def test_without_the_network_the_cure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    quality._silero.cache_clear()
    monkeypatch.setitem(sys.modules, "silero_vad", None)
    with pytest.raises(ConfigError, match="needs silero-vad: pip install"):
        assess(voice(), RATE, vad=True)
