from __future__ import annotations

import numpy as np
import pytest
import torch
import torchaudio
from channel import FADE_S, add_noise, band, finish, resample, reverberate, tilt, trim
from numpy.typing import NDArray

from ham.audio import SAMPLE_RATE


def sine(frequency_hz: float, rate: int, num_samples: int) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * frequency_hz * np.arange(num_samples) / rate)


def test_trim_leaves_the_margin_and_nothing_of_silence() -> None:
    rate = 1000
    samples = np.zeros(1000, np.float32)
    samples[400:600] = 0.5
    samples[:100] = 0.004
    assert np.array_equal(trim(samples, rate), samples[370:630])
    assert trim(np.zeros(100, np.float32), rate).size == 0
    assert trim(np.zeros(0, np.float32), rate).size == 0


def test_trim_adds_silence_where_there_is_too_little() -> None:
    got = trim(np.ones(50, np.float32), 1000)
    assert np.array_equal(got, np.pad(np.ones(50, np.float32), 30))


@pytest.mark.parametrize("num_samples", [66150, 66151, 70000, 88200])
def test_resample_agrees_with_torchaudio(num_samples: int) -> None:
    rng = np.random.default_rng(0)
    # speech-like: falling towards high frequencies, silent at the ends
    samples = np.convolve(rng.standard_normal(num_samples), np.hanning(12), "same") * np.hanning(num_samples)
    got = resample(samples.astype(np.float32), 22050, SAMPLE_RATE)
    wanted = torchaudio.functional.resample(torch.from_numpy(samples), 22050, SAMPLE_RATE, lowpass_filter_width=64)
    assert got.size == num_samples * SAMPLE_RATE // 22050
    error = got - wanted.numpy()[: got.size]
    assert np.sqrt(np.mean(error**2)) < 0.01 * got.std()


def test_resample_keeps_three_and_four_seconds_exact() -> None:
    assert resample(np.zeros(3 * 22050, np.float32), 22050, SAMPLE_RATE).size == 3 * SAMPLE_RATE
    assert resample(np.zeros(4 * 22050, np.float32), 22050, SAMPLE_RATE).size == 4 * SAMPLE_RATE


def test_resample_removes_what_the_new_rate_cannot_hold() -> None:
    samples = sine(9000, 22050, 44100).astype(np.float32)
    assert resample(samples, 22050, SAMPLE_RATE)[4000:-4000].std() < 1e-3


@pytest.mark.parametrize(("frequency_hz", "octaves"), [(250, -2), (1000, 0), (2000, 1), (4000, 2)])
def test_tilt_changes_a_sine_by_the_law(frequency_hz: float, octaves: int) -> None:
    samples = sine(frequency_hz, SAMPLE_RATE, SAMPLE_RATE)
    ratio = tilt(samples, 1.5)[2000:-2000].std() / samples[2000:-2000].std()
    assert 20 * np.log10(ratio) == pytest.approx(1.5 * octaves, abs=0.05)


def test_tilts_cancel() -> None:
    samples = np.random.default_rng(0).standard_normal(4096) * np.hanning(4096)
    there_and_back = tilt(tilt(samples, 2.0), -2.0)
    # what rings beyond the ends is cut off between the two
    assert np.abs(there_and_back - samples).max() < 0.02


@pytest.mark.parametrize("snr_db", [0.0, 12.0, 30.0])
def test_noise_has_the_ratio_asked_for(snr_db: float) -> None:
    samples = sine(300, SAMPLE_RATE, SAMPLE_RATE)
    noise = add_noise(samples, np.random.default_rng(0), snr_db=snr_db, noise_tilt_db_per_octave=-3.0) - samples
    assert 10 * np.log10(np.mean(samples**2) / np.mean(noise**2)) == pytest.approx(snr_db, abs=1e-6)


def test_noise_has_the_colour_asked_for() -> None:
    samples = sine(300, SAMPLE_RATE, 4 * SAMPLE_RATE)
    noise = add_noise(samples, np.random.default_rng(0), snr_db=0.0, noise_tilt_db_per_octave=-3.0) - samples
    power = np.abs(np.fft.rfft(noise)) ** 2
    frequency = np.fft.rfftfreq(noise.size, 1 / SAMPLE_RATE)
    low, high = (power[(frequency > f) & (frequency < 1.1 * f)].mean() for f in (500, 4000))
    assert 10 * np.log10(low / high) == pytest.approx(9.0, abs=1.0)


@pytest.mark.parametrize("peak_db", [-1.0, -24.0])
def test_finish_sets_the_peak_and_fades(peak_db: float) -> None:
    ended = finish(np.full(SAMPLE_RATE, -0.3), peak_db)
    assert ended.dtype == np.int16
    assert 20 * np.log10(np.abs(ended).max() / 32767) == pytest.approx(peak_db, abs=0.01)
    ramp = round(FADE_S * SAMPLE_RATE)
    assert ended[0] == ended[-1] == 0
    assert np.all(np.diff(np.abs(ended[:ramp].astype(int))) >= 0)
    assert np.all(ended[ramp:-ramp] == ended[ramp])


@pytest.mark.parametrize(("frequency_hz", "gain_db"), [(1000, 0), (300, -3), (3400, -3), (100, -38), (7000, -25)])
def test_a_band_has_the_gains_of_its_filter(frequency_hz: float, gain_db: float) -> None:
    samples = sine(frequency_hz, SAMPLE_RATE, 16384)
    heard = band(samples, 300.0, 3400.0)[4096:12288]
    assert 20 * np.log10(heard.std() / samples.std()) == pytest.approx(gain_db, abs=1.0)


def test_an_echo_has_its_energy_and_falls_by_60_db() -> None:
    click = np.zeros(SAMPLE_RATE)
    click[0] = 1.0
    heard = reverberate(click, np.random.default_rng(0), reverb_s=0.5, direct_db=6.0)
    echo = heard[1:]
    assert heard[0] == pytest.approx(1.0)
    assert 10 * np.log10(np.sum(echo**2)) == pytest.approx(-6.0, abs=0.05)
    early, late = (echo[round(at * 8000) :][:800] for at in (0.1, 0.6))
    assert 10 * np.log10(np.sum(early**2) / np.sum(late**2)) == pytest.approx(30, abs=1.5)
    assert np.abs(echo[8001:]).max() < 1e-6
