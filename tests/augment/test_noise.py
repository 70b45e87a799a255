from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ham.augment.noise import AddNoise, BatchBabble, ColouredNoise, StoreNoise
from ham.augment.waveforms import PUBLISHED_ADDED_POWER, Crops
from ham.data.store import ArrayStore, write_store
from ham.errors import ConfigError, DataError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def store(tmp_path: Path) -> ArrayStore:
    """Every sample tells its recording (thousands) and its place."""
    items = {
        "music-fma-0": np.arange(1000, 1050, dtype=np.int16),
        "noise-free-0": np.arange(2000, 2500, dtype=np.int16),
        "noise-free-1": np.arange(3000, 3007, dtype=np.int16),
        "noise-empty": np.zeros(0, np.int16),
    }
    write_store(tmp_path / "noise", items.items(), {"sample_rate": 16000})
    return ArrayStore(tmp_path / "noise")


def draw(source: StoreNoise, num: int, num_samples: int) -> torch.Tensor:
    """Crops of recordings, one each, as whole numbers."""
    generator = seeded()
    picks = source.pick(num, 1, generator).squeeze(1)
    return source.make(source.draw(picks, num_samples, generator), num_samples) * 32768


def test_a_store_gives_recordings_of_its_prefix_only(store: ArrayStore) -> None:
    drawn = draw(StoreNoise(store, "noise"), 200, 20)
    assert drawn.shape == (200, 20)
    assert set((drawn // 1000).unique().tolist()) == {2.0, 3.0}


def test_long_recordings_are_read_in_one_piece_from_anywhere(store: ArrayStore) -> None:
    drawn = draw(StoreNoise(store, "music"), 300, 48)
    assert torch.equal(drawn.diff(dim=1), torch.ones(300, 47))
    assert set(drawn[:, 0].tolist()) == {1000.0, 1001.0, 1002.0}


def test_short_recordings_wrap_around_from_anywhere(store: ArrayStore) -> None:
    drawn = draw(StoreNoise(store, "noise-free-1"), 100, 20)
    assert set(drawn[:, 0].tolist()) == set(range(3000, 3007))
    assert set(drawn.diff(dim=1).unique().tolist()) == {1.0, -6.0}


def test_a_recording_as_long_as_the_crop_is_read_from_its_begin(store: ArrayStore) -> None:
    drawn = draw(StoreNoise(store, "noise-free-1"), 20, 7)
    assert drawn.tolist() == [list(range(3000, 3007))] * 20


def test_a_store_without_the_recordings_is_refused(store: ArrayStore) -> None:
    with pytest.raises(DataError, match=r"speech\*"):
        StoreNoise(store, "speech")
    with pytest.raises(DataError):
        StoreNoise(store, "noise-empty")


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 1.0, 2.0])
def test_coloured_noise_falls_by_its_exponent(alpha: float) -> None:
    source = ColouredNoise(exponent=(alpha, alpha), modulation_db=0.0)
    noise = source.sample(64, 16000, seeded()).double()
    power = torch.fft.rfft(noise).abs().square().mean(dim=0)[100:7000]
    log_frequency = torch.arange(100, 7000, dtype=torch.float64).log()
    # Bins are weighted by 1/f so that every octave counts alike.
    slope = np.polyfit(log_frequency.numpy(), power.log().numpy(), 1, w=np.arange(100, 7000) ** -0.5)[0]
    assert slope == pytest.approx(-alpha, abs=0.05)


def test_coloured_noise_is_flat_below_its_corner() -> None:
    source = ColouredNoise(exponent=(2.0, 2.0), corner_hz=200.0, modulation_db=0.0)
    power = torch.fft.rfft(source.sample(200, 16000, seeded())).abs().square().mean(dim=0)
    assert (power[10:90].mean() / power[110:190].mean()).item() == pytest.approx(1.0, abs=0.1)


def test_the_exponent_differs_from_noise_to_noise() -> None:
    noise = ColouredNoise(modulation_db=0.0).sample(50, 8000, seeded())
    spectrum = torch.fft.rfft(noise).abs().square()
    tilt_db = 10 * (spectrum[:, 2000:].mean(1) / spectrum[:, 50:200].mean(1)).log10()
    assert tilt_db.min() < -20
    assert tilt_db.max() > 5


def test_modulation_makes_the_level_wander() -> None:
    def spread_db(modulation_db: float) -> torch.Tensor:
        noise = ColouredNoise(exponent=(0.0, 0.0), modulation_db=modulation_db).sample(40, 32000, seeded())
        return (10 * noise.view(40, 20, 1600).square().mean(dim=2).log10()).std(dim=1)

    assert spread_db(0.0).max() < 0.5
    assert spread_db(8.0).mean() > 2.0
    assert spread_db(8.0).min() < 1.0


def test_noise_is_a_function_of_the_generator() -> None:
    source = ColouredNoise()
    assert torch.equal(source.sample(3, 777, seeded(5)), source.sample(3, 777, seeded(5)))
    assert not torch.equal(source.sample(3, 777, seeded(5)), source.sample(3, 777, seeded(6)))


@pytest.mark.parametrize(
    "options", [{"exponent": (2.0, 1.0)}, {"modulation_db": -1.0}, {"corner_hz": 0.0}, {"modulation_hz": 0.0}]
)
def test_coloured_noise_refuses_nonsense(options: dict) -> None:
    with pytest.raises(ConfigError):
        ColouredNoise(**options)


class Impulses:
    """Every noise is an impulse somewhere: what was added can be read off."""

    def pick(self, num: int, num_files: int, generator: torch.Generator) -> torch.Tensor:
        return torch.zeros(num, num_files, dtype=torch.int64)

    def draw(self, picks: torch.Tensor, num_samples: int, generator: torch.Generator, own: slice) -> torch.Tensor:
        return torch.randint(num_samples, (len(picks),), generator=generator)

    def make(self, drawn: torch.Tensor, num_samples: int) -> torch.Tensor:
        return torch.nn.functional.one_hot(drawn, num_samples).float()


def test_ratios_are_uniform_over_the_range() -> None:
    clean = torch.randn(2000, 100, generator=seeded())
    mixed = AddNoise(Impulses(), snr_db=(3.0, 9.0))(Crops(clean, torch.zeros(2000)), torch.arange(2000), seeded())
    snr_db = 10 * torch.log10(clean.square().sum(1) / (mixed - clean).square().sum(1))
    assert snr_db.min().item() == pytest.approx(3.0, abs=0.1)
    assert snr_db.max().item() == pytest.approx(9.0, abs=0.1)
    assert snr_db.mean().item() == pytest.approx(6.0, abs=0.15)


def test_the_number_of_files_is_uniform_and_each_has_its_own_ratio() -> None:
    clean = torch.full((600, 2000), 0.1)
    effect = AddNoise(Impulses(), snr_db=(13.0, 20.0), num_files=(3, 5))
    added = effect(Crops(clean, torch.zeros(600)), torch.arange(600), seeded()) - clean
    counts = torch.bincount((added > 0.001).sum(dim=1), minlength=6)
    # A few impulses fall on the same sample.
    assert counts[3:6].min() > 150
    assert counts[6:].sum() == 0
    ratio_db = 10 * torch.log10(0.01 * 2000 / added[added > 0.001].square())
    assert ratio_db.quantile(0.01) > 12.9
    assert ratio_db.max() < 20.1


@pytest.fixture
def tones(tmp_path: Path) -> ArrayStore:
    """Ten voices, each at a frequency of its own and of one period that fits the crop: no start changes its line."""
    time = np.arange(128) / 128
    items = {f"speech-{k}": (8000 * np.sin(2 * np.pi * (k + 1) * time)).astype(np.int16) for k in range(10)}
    write_store(tmp_path / "tones", items.items(), {"sample_rate": 16000})
    return ArrayStore(tmp_path / "tones")


def lines(added: torch.Tensor, num: int = 10) -> torch.Tensor:
    """Which voices are in each crop."""
    return torch.fft.rfft(added).abs()[:, 1 : num + 1] > 1.0


def test_the_files_of_one_crop_are_different_ones(tones: ArrayStore) -> None:
    clean = torch.randn(400, 128, generator=seeded())
    rows = torch.arange(400)
    for fewest, most in [(3, 8), (10, 10), (7, 7)]:
        effect = AddNoise(StoreNoise(tones), snr_db=(0.0, 0.0), num_files=(fewest, most))
        counts = lines(effect(Crops(clean, rows), rows, seeded()) - clean).sum(dim=1)
        assert set(counts.tolist()) == set(range(fewest, most + 1))


def test_all_files_are_drawn_equally_often_and_in_every_pair(tones: ArrayStore) -> None:
    clean = torch.randn(3000, 128, generator=seeded())
    rows = torch.arange(3000)
    effect = AddNoise(StoreNoise(tones), snr_db=(0.0, 0.0), num_files=(3, 3))
    present = lines(effect(Crops(clean, rows), rows, seeded()) - clean).double()
    together = present.T @ present / 3000
    assert torch.allclose(together.diagonal(), torch.full((10,), 0.3, dtype=torch.float64), atol=0.03)
    pairs = together[~torch.eye(10, dtype=torch.bool)]
    assert torch.allclose(pairs, torch.full((90,), 3 / 10 * 2 / 9, dtype=torch.float64), atol=0.02)


def test_a_store_of_fewer_recordings_than_voices_gives_all_it_has(store: ArrayStore) -> None:
    clean = torch.full((20, 20), 0.1)
    effect = AddNoise(StoreNoise(store, "noise"), snr_db=(0.0, 0.0), num_files=(3, 8))
    both = AddNoise(StoreNoise(store, "noise"), snr_db=(0.0, 0.0), num_files=(2, 2))
    crops, rows = Crops(clean, torch.zeros(20)), torch.arange(20)
    power = [(e(crops, rows, seeded()) - clean).square().mean().item() for e in (effect, both)]
    assert power[0] == pytest.approx(power[1], rel=0.01)


def published_gain(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> float:
    """The released code's arithmetic, one crop at a time."""
    speech_db = 10 * np.log10(np.mean(speech**2) + 1e-4)
    noise_db = 10 * np.log10(np.mean(noise**2) + 1e-4)
    return float(np.sqrt(10 ** ((speech_db - noise_db - snr_db) / 10)))


@pytest.mark.parametrize(
    ("speech_db", "noise_db", "ends_at_db"), [(-20, -45, 13.7), (-20, -60, 27.5), (-40, -25, 4.6), (-20, -20, 7.5)]
)
def test_the_published_ratio_depends_on_the_levels(
    tmp_path: Path, speech_db: float, noise_db: float, ends_at_db: float
) -> None:
    sign = np.where(np.arange(4000) % 2, 1, -1)
    noise = np.round(32768 * 10 ** (noise_db / 20) * sign).astype(np.int16)
    speech = 10 ** (speech_db / 20) * np.random.default_rng(0).choice([-1.0, 1.0], (3, 4000))
    write_store(tmp_path / "n", [("noise-0", noise)], {"sample_rate": 16000})
    source = StoreNoise(ArrayStore(tmp_path / "n"))
    clean = torch.from_numpy(speech).float()
    for added_power, expected_db in [(PUBLISHED_ADDED_POWER, ends_at_db), (0.0, 7.5)]:
        effect = AddNoise(source, snr_db=(7.5, 7.5), added_power=added_power)
        added = (effect(Crops(clean, torch.zeros(3)), torch.arange(3), seeded()) - clean).double()
        achieved_db = 10 * torch.log10(clean.double().square().mean(1) / added.square().mean(1))
        assert achieved_db.tolist() == pytest.approx([expected_db] * 3, abs=0.1)
        if added_power:
            gain = published_gain(speech[0], noise / 32768, 7.5)
            assert added.abs().mean().item() == pytest.approx(gain * np.abs(noise / 32768).mean(), rel=1e-3)


def test_only_the_rows_asked_for_are_given() -> None:
    clean = torch.randn(6, 50, generator=seeded())
    before = clean.clone()
    mixed = AddNoise(ColouredNoise())(Crops(clean, torch.zeros(6)), torch.tensor([4, 1]), seeded())
    assert mixed.shape == (2, 50)
    assert torch.corrcoef(torch.stack([mixed[0], clean[4]]))[0, 1] > 0.5
    assert torch.equal(clean, before)


@pytest.mark.parametrize("options", [{"snr_db": (5.0, 1.0)}, {"num_files": (0, 3)}, {"num_files": (4, 3)}])
def test_adding_refuses_nonsense(options: dict) -> None:
    with pytest.raises(ConfigError):
        AddNoise(ColouredNoise(), **options)


def constant_voices(num: int) -> torch.Tensor:
    """Row b occupies frequency bin b + 1 only, which rolling leaves in place."""
    time = torch.arange(128) / 128
    return torch.stack([torch.sin(2 * torch.pi * (b + 1) * time) for b in range(num)])


def test_babble_is_made_of_three_to_eight_others_but_never_the_own_speaker() -> None:
    labels = torch.arange(40) // 4
    crops = Crops(constant_voices(40), labels)
    rows = torch.arange(40)
    seen = set()
    for seed in range(5):
        added = BatchBabble()(crops, rows, seeded(seed)) - crops.waveforms
        present = torch.fft.rfft(added).abs()[:, 1:41] > 0.1
        assert not present[labels.unsqueeze(1) == labels.unsqueeze(0)].any()
        seen |= set(present.sum(dim=1).tolist())
    assert seen == {3, 4, 5, 6, 7, 8}


def test_each_voice_has_its_own_ratio() -> None:
    crops = Crops(constant_voices(30), torch.arange(30))
    added = BatchBabble()(crops, torch.arange(30), seeded()) - crops.waveforms
    amplitude = torch.fft.rfft(added).abs()[:, 1:31] / 64
    ratio_db = -20 * amplitude[amplitude > 0.05].log10()
    assert ratio_db.min() + 0.1 >= 13.0
    assert ratio_db.max() <= 20.1
    assert ratio_db.std() > 1.5


def test_babble_is_rolled() -> None:
    crops = Crops(constant_voices(2), torch.arange(2))
    phases = [
        torch.fft.rfft(BatchBabble()(crops, torch.tensor([0]), seeded(seed)) - crops.waveforms[:1])[0, 2]
        for seed in range(20)
    ]
    assert torch.stack(phases).angle().std() > 0.5


def test_babble_makes_do_with_a_small_batch() -> None:
    crops = Crops(constant_voices(3), torch.tensor([0, 0, 1]))
    added = BatchBabble()(crops, torch.tensor([0, 2]), seeded()) - crops.waveforms[[0, 2]]
    present = torch.fft.rfft(added).abs()[:, 1:4] > 0.1
    assert present.tolist() == [[False, False, True], [True, True, False]]


def test_a_batch_of_one_speaker_stays_as_it_is() -> None:
    crops = Crops(constant_voices(5), torch.zeros(5, dtype=torch.int64))
    assert torch.equal(BatchBabble()(crops, torch.arange(5), seeded()), crops.waveforms)
