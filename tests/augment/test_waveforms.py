from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ham.augment.waveforms import (
    convolve,
    fast_fft_length,
    mean_power,
    mix_at_snr,
    normalise_energy,
    normalise_peak,
    roll_rows,
    snr_gain,
    windows,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_mean_power_of_a_sine_is_half_its_squared_amplitude() -> None:
    time_s = torch.arange(16000) / 16000
    waves = torch.stack([0.5 * torch.sin(2 * math.pi * 100 * time_s), torch.zeros(16000)])
    assert mean_power(waves).tolist() == pytest.approx([0.125, 0.0], abs=1e-5)


@pytest.mark.parametrize("level", [1.0, 1e-2, 3e-4])
def test_the_mixture_has_the_ratio_asked_for(level: float) -> None:
    clean = level * torch.randn(16, 4000, generator=seeded())
    noise = 7.0 * torch.rand(16, 4000, generator=seeded(1))
    snr_db = torch.linspace(-5.0, 30.0, 16)
    added = (mix_at_snr(clean, noise, snr_db) - clean).double()
    achieved = 10 * torch.log10(clean.double().square().sum(1) / added.square().sum(1))
    assert (achieved - snr_db).abs().max() < 0.1


def test_gains_broadcast_over_all_pairs() -> None:
    gains = snr_gain(torch.tensor([[1.0], [4.0]]), torch.tensor([[1.0, 0.25, 0.0]]), torch.tensor(20.0))
    expected = torch.tensor([[0.1, 0.2, 0.1 * 1e5], [0.2, 0.4, 0.2 * 1e5]])
    assert torch.allclose(gains, expected)


@pytest.mark.parametrize("added_power", [0.0, 1e-4, 1e-2])
def test_added_power_enters_both_levels_before_the_logarithm(added_power: float) -> None:
    clean, noise, snr_db = (torch.rand(3, 20, generator=seeded(), dtype=torch.float64) + 0.01).unbind()
    levels_db = [10 * torch.log10(power + added_power) for power in (clean, noise)]
    expected = torch.sqrt(10 ** ((levels_db[0] - levels_db[1] - snr_db) / 10))
    assert torch.allclose(snr_gain(clean, noise, snr_db, added_power=added_power), expected)


def test_silence_on_either_side_changes_nothing() -> None:
    speech = torch.randn(1, 100, generator=seeded())
    silence = torch.zeros(1, 100)
    snr_db = torch.zeros(1)
    assert torch.equal(mix_at_snr(silence, speech, snr_db), silence)
    assert torch.equal(mix_at_snr(speech, silence, snr_db), speech)
    assert torch.equal(mix_at_snr(silence, silence, snr_db), silence)


def test_a_barely_audible_noise_is_not_raised_to_speech_level() -> None:
    speech = torch.randn(1, 1000, generator=seeded())
    mixed = mix_at_snr(speech, torch.full((1, 1000), 1e-7), torch.zeros(1))
    assert (mixed - speech).abs().max() < 0.02


@given(
    num_samples=st.integers(1, 400),
    taps=st.integers(1, 500),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_convolution_is_the_full_one_cut_to_length(num_samples: int, taps: int, seed: int) -> None:
    waves = torch.randn(3, num_samples, generator=seeded(seed), dtype=torch.float64)
    responses = torch.randn(3, taps, generator=seeded(seed + 1), dtype=torch.float64)
    expected = [
        np.convolve(x, h, mode="full")[:num_samples] for x, h in zip(waves.numpy(), responses.numpy(), strict=True)
    ]
    np.testing.assert_allclose(convolve(waves, responses).numpy(), np.stack(expected), atol=1e-9)


def test_convolution_in_single_precision_at_the_size_of_a_crop() -> None:
    waves = torch.randn(2, 32240, generator=seeded())
    responses = normalise_energy(torch.randn(2, 8000, generator=seeded(1)))
    expected = np.convolve(waves[1].double().numpy(), responses[1].double().numpy())[:32240]
    np.testing.assert_allclose(convolve(waves, responses)[1].numpy(), expected, atol=1e-4)


def test_a_late_impulse_is_a_delay() -> None:
    response = torch.zeros(1, 10)
    response[0, 4] = 1.0
    out = convolve(torch.arange(1.0, 7.0).unsqueeze(0), response)
    assert torch.allclose(out, torch.tensor([[0.0, 0.0, 0.0, 0.0, 1.0, 2.0]]), atol=1e-5)


def test_energy_becomes_one_and_silence_the_impulse() -> None:
    responses = torch.stack([torch.randn(50, generator=seeded()), torch.full((50,), 1e-6), torch.zeros(50)])
    normalised = normalise_energy(responses)
    assert torch.allclose(normalised.square().sum(1), torch.ones(3))
    assert torch.allclose(normalised[0] * responses[0].norm(), responses[0], atol=1e-5)
    assert normalised[2].tolist() == [1.0] + [0.0] * 49
    energy = responses.square().sum(1)
    assert torch.allclose(normalise_energy(responses[:, :20], energy)[:2], normalised[:2, :20])


@given(st.integers(1, 200000))
@settings(max_examples=60, deadline=None)
def test_fast_lengths_are_smooth_and_close(minimum: int) -> None:
    length = fast_fft_length(minimum)
    assert minimum <= length <= 2 * minimum
    rest = length
    for prime in (2, 3, 5):
        while rest % prime == 0:
            rest //= prime
    assert rest == 1


def test_fast_length_is_the_smallest() -> None:
    assert [fast_fft_length(n) for n in (1, 7, 11, 13, 31, 1000, 1001)] == [1, 8, 12, 15, 32, 1000, 1024]


def test_rows_roll_each_by_their_own_amount() -> None:
    waves = torch.arange(12.0).view(3, 4)
    rolled = roll_rows(waves, torch.tensor([0, 1, 3]))
    assert rolled.tolist() == [[0, 1, 2, 3], [5, 6, 7, 4], [11, 8, 9, 10]]


def test_windows_begin_where_they_are_told_to() -> None:
    waves = torch.arange(30.0).view(3, 10)
    rows, starts = torch.tensor([2, 0, 2]), torch.tensor([0, 3, 6])
    assert windows(waves, rows, starts, 4).tolist() == [[20, 21, 22, 23], [3, 4, 5, 6], [26, 27, 28, 29]]
    assert windows(waves, rows[:0], starts[:0], 4).shape == (0, 4)


def test_the_peak_becomes_full_scale_as_wespeaker_has_it() -> None:
    waves = torch.stack([3 * torch.randn(500, generator=seeded()), 1e-3 * torch.randn(500), torch.zeros(500)])
    expected = [row / (np.max(np.abs(row)) + 1e-4) for row in waves.double().numpy()]
    np.testing.assert_allclose(normalise_peak(waves).numpy(), expected, rtol=1e-5)
