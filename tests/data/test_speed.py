from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ham.data.speed import SpeedPerturbation, speed_input_samples, speed_perturb
from ham.errors import ConfigError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tone(frequency_hz: float, num_samples: int) -> torch.Tensor:
    return torch.sin(2 * math.pi * frequency_hz * torch.arange(num_samples) / 16000)


@pytest.mark.parametrize("speed", [0.9, 1.1, 0.5, 1.25])
def test_pitch_follows_the_speed_and_the_length_is_kept(speed: float) -> None:
    num_samples = 16000
    source = tone(1000.0, speed_input_samples(num_samples, speed)).unsqueeze(0)
    played = speed_perturb(source, speed, num_samples)
    assert played.shape == (1, num_samples)
    peak_hz = torch.fft.rfft(played[0] * torch.hann_window(num_samples)).abs().argmax().item()
    assert peak_hz == pytest.approx(1000.0 * speed, abs=1.0)
    # The same tone sampled directly, away from the edges where the resampling filter sees silence.
    inside = slice(100, num_samples - 100)
    assert torch.allclose(played[0, inside], tone(1000.0 * speed, num_samples)[inside], atol=0.02)


def test_tempo_follows_the_speed() -> None:
    click = torch.zeros(1, 12000)
    click[0, 9900] = 1.0
    assert speed_perturb(click, 1.1, 10000).argmax().item() == 9000
    assert speed_perturb(click, 0.9, 12000).argmax().item() == 11000


@given(num_samples=st.integers(1, 3000), speed=st.sampled_from([0.9, 1.1, 1.0, 0.85, 1.3]))
@settings(max_examples=30, deadline=None)
def test_the_samples_asked_for_suffice(num_samples: int, speed: float) -> None:
    needed = speed_input_samples(num_samples, speed)
    assert speed_perturb(torch.ones(1, needed), speed, num_samples).shape == (1, num_samples)
    assert needed >= num_samples * speed - 1e-6
    assert needed < num_samples * speed + 1


def test_too_short_an_input_is_an_error() -> None:
    with pytest.raises(ValueError, match="110 samples, found 109"):
        speed_perturb(torch.zeros(1, 109), 1.1, 100)


def test_the_original_speed_is_bit_identical() -> None:
    waves = torch.randn(2, 50, generator=seeded())
    assert torch.equal(speed_perturb(waves, 1.0, 40), waves[:, :40])


def test_every_row_is_played_at_the_speed_its_label_says() -> None:
    perturb = SpeedPerturbation(10)
    num_samples = 1000
    waves = torch.randn(90, perturb.input_samples(num_samples), generator=seeded())
    labels = torch.arange(90) % 10
    played, new_labels = perturb(waves, labels, seeded(), num_samples)
    assert perturb.num_classes == 30
    assert torch.equal(new_labels % 10, labels)
    versions = new_labels // 10
    assert torch.bincount(versions, minlength=3).min() > 15
    for version, speed in enumerate((1.0, 0.9, 1.1)):
        rows = versions == version
        assert torch.allclose(played[rows], speed_perturb(waves[rows], speed, num_samples), atol=1e-6)


def test_a_speed_that_no_crop_has_drawn_is_no_trouble() -> None:
    perturb = SpeedPerturbation(3)
    for seed in range(20):
        assert perturb(torch.randn(2, 200), torch.arange(2), seeded(seed), 100).waveforms.shape == (2, 100)


def test_speeds_are_a_function_of_the_generator() -> None:
    perturb = SpeedPerturbation(3)
    waves, labels = torch.randn(20, 200, generator=seeded()), torch.zeros(20, dtype=torch.int64)
    first, again = (perturb(waves, labels, seeded(4), 100) for _ in range(2))
    assert torch.equal(first.labels, again.labels)
    assert torch.equal(first.waveforms, again.waveforms)


def test_silence_stays_silent_and_the_input_untouched() -> None:
    waves = torch.zeros(6, 200)
    played, _ = SpeedPerturbation(1)(waves, torch.zeros(6, dtype=torch.int64), seeded(), 100)
    assert torch.equal(played, torch.zeros(6, 100))
    ones = torch.ones(6, 200)
    SpeedPerturbation(1)(ones, torch.zeros(6, dtype=torch.int64), seeded(), 100)
    assert torch.equal(ones, torch.ones(6, 200))


@pytest.mark.parametrize("speeds", [(1.0,), (0.9, 0.9), (0.0,), (-1.1,), (float("nan"),)])
def test_speeds_that_make_no_sense_are_refused(speeds: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="speed"):
        SpeedPerturbation(3, speeds=speeds)
