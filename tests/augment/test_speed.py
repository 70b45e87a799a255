from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ham.augment.speed import SpeedPerturbation, speed_input_samples, speed_perturb
from ham.data.batches import Batch, CropBatches, training_set
from ham.data.sampler import EpochPlan
from ham.data.store import ArrayStore, write_store
from ham.errors import ConfigError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tone(frequency_hz: float, num_samples: int) -> torch.Tensor:
    return torch.sin(2 * math.pi * frequency_hz * torch.arange(num_samples).double() / 16000).float()


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


@pytest.mark.parametrize(("speed", "length"), [(1.1, 110), (0.9, 99), (0.333, 100), (1.0, 57)])
def test_without_a_length_all_is_played(speed: float, length: int) -> None:
    wave = torch.randn(1, length, generator=seeded())
    exact = {1.1: 100, 0.9: 110, 0.333: 300, 1.0: 57}[speed]
    assert torch.equal(speed_perturb(wave, speed), speed_perturb(wave, speed, exact))


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
    played, new_labels = perturb(waves, labels, seeded(), num_samples, places=torch.zeros(90))
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


def level_db(wave: torch.Tensor) -> float:
    """Level of a wave over that of a tone of amplitude 1, away from its edges."""
    return 10 * math.log10(2 * wave[2000:-2000].double().square().mean().item())


def test_a_tone_that_would_pass_half_the_sample_rate_is_gone() -> None:
    source = tone(7500.0, speed_input_samples(20000, 1.1)).unsqueeze(0)
    assert level_db(speed_perturb(source, 1.1, 20000)[0]) < -60


@pytest.mark.parametrize("speed", [0.8, 0.9, 1.1, 1.2])
def test_the_filter_is_flat_up_to_nine_tenths_of_the_band(speed: float) -> None:
    for frequency_hz in np.linspace(50, 0.9 * 8000 / max(speed, 1.0), 20):
        source = tone(frequency_hz, speed_input_samples(20000, speed)).unsqueeze(0)
        assert level_db(speed_perturb(source, speed, 20000)[0]) == pytest.approx(0.0, abs=0.02)


def crops_of_a_ramp(folder: Path, length: int, num_crops: int, num_samples: int) -> tuple[SpeedPerturbation, Batch]:
    """Crops at uniform places of one utterance whose samples count from 0."""
    perturb = SpeedPerturbation(1, speeds=(0.8, 0.9, 1.1, 1.2))
    write_store(folder / "s", [("a-1", np.arange(length, dtype=np.int16))], {"sample_rate": 16000})
    store = ArrayStore(folder / "s")
    places = np.random.default_rng(3).random(num_crops)
    plan = EpochPlan(entries=np.zeros(num_crops, np.int64), places=places)
    data = training_set(store, {"a-1": "a"})
    return perturb, CropBatches(store, data, plan, num_crops, perturb.input_samples(num_samples))[0]


@pytest.mark.parametrize("length", [1050, 1150, 1199, 1300, 4000])
def test_crops_at_every_speed_are_spread_evenly_over_the_whole_utterance(tmp_path: Path, length: int) -> None:
    num_samples = 1000
    perturb, batch = crops_of_a_ramp(tmp_path, length, 2000, num_samples)
    played, labels = perturb(
        batch.rows.float(), batch.labels, seeded(), num_samples, places=batch.places, lengths=batch.lengths
    )
    for version, speed in enumerate(perturb.speeds):
        last_start = length - speed_input_samples(num_samples, speed)
        middle = played[labels == version, num_samples // 2]  # of a ramp; the filter's edges are far away
        starts = (middle - speed * (num_samples // 2)).sort().values
        if last_start < 0:  # the utterance is too short for this speed: from its begin, then wrapped around
            assert torch.allclose(starts, torch.zeros(()), atol=0.5)
            continue
        assert starts[0] > -1
        assert starts[-1] < last_start + 1
        even = (torch.arange(len(starts)) + 0.5) / len(starts)
        # The largest distance of two distributions that are the same is below this in 99 of 100 cases.
        assert ((starts + 0.5) / (last_start + 1) - even).abs().max() < 1.63 / len(starts) ** 0.5


def test_without_places_they_are_drawn() -> None:
    perturb = SpeedPerturbation(1)
    ramp = torch.arange(1100.0).repeat(600, 1)
    played, labels = perturb(ramp, torch.zeros(600, dtype=torch.int64), seeded(), 1000)
    starts = played[labels == 0, 0]
    assert starts.min() < 5
    assert starts.max() > 95
