from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.signal import fftconvolve

from ham.augment.reverb import LARGE_ROOM, SMALL_ROOM, DecayingRooms, Reverberate, RoomSize, RoomSource, StoreRooms
from ham.augment.waveforms import Crops
from ham.data.store import ArrayStore, write_store
from ham.errors import ConfigError, DataError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fixed_room(rt60_s: float, mixing_s: float = 0.02, direct_db: float = 0.0) -> RoomSize:
    return RoomSize((rt60_s, rt60_s), (mixing_s, mixing_s), (direct_db, direct_db))


def responses(rooms: DecayingRooms, num: int) -> torch.Tensor:
    return rooms.responses(rooms.draw(num, 1, seeded()))


def taps(rooms: RoomSource, num: int, num_taps: int, generator: torch.Generator) -> torch.Tensor:
    return rooms.make(rooms.draw(num, num_taps, generator), num_taps)


def schroeder_rt60_s(response: npt.NDArray[np.float64], sample_rate: int = 16000) -> float:
    """RT60 from the line through the backward-integrated energy between -5 and -25 dB."""
    energy = np.cumsum(response[::-1] ** 2)[::-1]
    level_db = 10 * np.log10(np.maximum(energy / energy[0], 1e-12))
    inside = np.flatnonzero((level_db < -5) & (level_db > -25))
    slope = np.polyfit(inside / sample_rate, level_db[inside], 1)[0]
    return float(-60 / slope)


@pytest.mark.parametrize("rt60_s", [0.1, 0.3, 0.8])
def test_reverberation_decays_in_the_time_asked_for(rt60_s: float) -> None:
    rooms = responses(DecayingRooms(sizes=[fixed_room(rt60_s, mixing_s=0.005)]), 20).double().numpy()
    measured = [schroeder_rt60_s(room[1:]) for room in rooms]
    assert np.median(measured) == pytest.approx(rt60_s, rel=0.1)
    assert max(measured) < 1.5 * rt60_s
    assert min(measured) > 0.6 * rt60_s


@pytest.mark.parametrize("direct_db", [-3.0, 12.0])
def test_the_direct_sound_comes_first_and_has_its_share(direct_db: float) -> None:
    rooms = responses(DecayingRooms(sizes=[fixed_room(0.3, direct_db=direct_db)]), 10)
    assert torch.equal(rooms[:, 0], torch.ones(10))
    ratio_db = -10 * torch.log10(rooms[:, 1:].square().sum(dim=1))
    assert torch.allclose(ratio_db, torch.full((10,), direct_db), atol=1e-3)


def test_reflections_grow_denser_until_the_mixing_time() -> None:
    rooms = responses(DecayingRooms(sizes=[fixed_room(0.4, mixing_s=0.08)]), 50)
    share = (rooms[:, 1:1601] != 0).float().view(50, 10, 160).mean(dim=(0, 2))
    middle_s = (torch.arange(10) + 0.5) * 0.01 + 0.003
    assert torch.allclose(share, (middle_s / 0.083).square().clamp(max=1.0), atol=0.04)


def test_early_reflections_lose_no_energy_for_being_few() -> None:
    rooms = responses(DecayingRooms(sizes=[fixed_room(0.8, mixing_s=0.08)]), 2000)
    early, late = rooms[:, 1:1280].square().mean(), rooms[:, 1280:2560].square().mean()
    # 80 ms later an RT60 of 0.8 s leaves 6 dB less.
    assert (10 * torch.log10(early / late)).item() == pytest.approx(6.0, abs=1.0)


def test_the_energy_of_reverberation_falls_steadily_whatever_the_mixing_time() -> None:
    """Few reflections are as much stronger as they are fewer; beyond the mixing time nothing is changed."""
    size = RoomSize((0.8, 0.8), (0.0, 0.08), (0.0, 0.0))
    rooms = responses(DecayingRooms(sizes=[size]), 4000)
    # Without the first 10 ms: a room of few, strong reflections there is scaled down as a whole.
    energy = rooms[:, 161:2561].square().view(4000, 15, 160).mean(dim=(0, 2))
    level_db = 10 * torch.log10(energy) + 60 / 0.8 * 0.01 * torch.arange(15)
    assert (level_db - level_db.mean()).abs().max() < 0.1


def test_parameters_of_a_room_are_uniform_over_their_ranges() -> None:
    size = RoomSize((0.1, 0.1), (0.01, 0.01), (-3.0, 9.0))
    rooms = responses(DecayingRooms(sizes=[size]), 2000)
    direct_db = -10 * torch.log10(rooms[:, 1:].square().sum(dim=1))
    quantiles = direct_db.quantile(torch.tensor([0.0, 0.25, 0.5, 0.75, 1.0]))
    assert torch.allclose(quantiles, torch.tensor([-3.0, 0.0, 3.0, 6.0, 9.0]), atol=0.5)


def test_sizes_differ_in_length() -> None:
    small = responses(DecayingRooms(sizes=[SMALL_ROOM]), 30).double().numpy()
    large = responses(DecayingRooms(sizes=[LARGE_ROOM]), 30).double().numpy()
    assert max(schroeder_rt60_s(room[1:]) for room in small) < min(schroeder_rt60_s(room[1:]) for room in large)
    assert large.shape[1] == 1 + 12800
    assert responses(DecayingRooms(), 2).shape == (2, 12801)


def test_a_room_without_reflections_is_finite() -> None:
    rooms = responses(DecayingRooms(sizes=[fixed_room(1 / 16000)]), 50)
    assert torch.isfinite(rooms).all()


def test_made_rooms_are_given_with_energy_one_and_cut_afterwards() -> None:
    whole, cut = (taps(DecayingRooms(), 20, num_taps, seeded()) for num_taps in (99999, 500))
    assert torch.allclose(whole.square().sum(dim=1), torch.ones(20))
    assert torch.equal(cut, whole[:, :500])


@pytest.mark.parametrize(
    "sizes", [[], [RoomSize((0.4, 0.2), (0.0, 0.1), (0.0, 1.0))], [RoomSize((0.0, 0.2), (0.0, 0.1), (0.0, 1.0))]]
)
def test_rooms_refuse_nonsense(sizes: list[RoomSize]) -> None:
    with pytest.raises(ConfigError):
        DecayingRooms(sizes=sizes)


@pytest.fixture
def store(tmp_path: Path) -> ArrayStore:
    clips = {
        "small-0": [0, 1000, 0, 0, 500],
        "small-1": [0, 0],
        "large-0": [2000],
        "large-1": [],
        "long-0": [1] * 40000,
    }
    items = ((utt, np.array(clip, np.int16)) for utt, clip in clips.items())
    write_store(tmp_path / "rooms", items, {"sample_rate": 16000})
    return ArrayStore(tmp_path / "rooms")


def test_a_store_gives_its_responses_filled_with_zeros(store: ArrayStore) -> None:
    drawn = taps(StoreRooms(store, "small"), 40, 99, seeded()) * 1250**0.5
    # The damaged one, all zeros, becomes a room that changes nothing.
    rows = {tuple(round(tap, 3) for tap in row) for row in drawn.tolist()}
    assert rows == {(0.0, 31.623, 0.0, 0.0, 15.811), (35.355, 0.0, 0.0, 0.0, 0.0)}


def test_no_more_taps_are_kept_than_the_crop_has(store: ArrayStore) -> None:
    drawn = taps(StoreRooms(store, "long"), 2, 300, seeded())
    assert torch.allclose(drawn, torch.full((2, 300), 40000**-0.5))
    assert taps(StoreRooms(store), 2, 1 << 30, seeded()).shape == (2, 40000)


@pytest.mark.parametrize(("num_taps", "num_samples"), [(24000, 32240), (24000, 9000), (40000, 32240), (7, 20)])
def test_the_energy_is_that_of_the_whole_response(tmp_path: Path, num_taps: int, num_samples: int) -> None:
    """Against NumPy on the released code's rule: whole response to energy 1, full convolution, first samples."""
    rng = np.random.default_rng(num_taps)
    response = (9000 * rng.standard_normal(num_taps) * np.exp(-np.arange(num_taps) / num_taps)).astype(np.int16)
    write_store(tmp_path / "one", [("room-0", response)], {"sample_rate": 16000})
    clean = torch.randn(2, num_samples, generator=seeded())
    out = Reverberate(StoreRooms(ArrayStore(tmp_path / "one")))(Crops(clean, torch.zeros(2)), torch.arange(2), seeded())
    scaled = response / np.sqrt(np.sum(response.astype(np.float64) ** 2))
    for row, source in zip(out.numpy(), clean.double().numpy(), strict=True):
        np.testing.assert_allclose(row, fftconvolve(source, scaled)[:num_samples], atol=2e-5)


def test_a_store_without_the_responses_is_refused(store: ArrayStore) -> None:
    with pytest.raises(DataError, match="medium"):
        StoreRooms(store, "medium")
    with pytest.raises(DataError):
        StoreRooms(store, "large-1")


def test_the_effect_convolves_with_the_response_of_energy_one(store: ArrayStore) -> None:
    clean = torch.randn(5, 300, generator=seeded())
    crops = Crops(clean, torch.zeros(5))
    out = Reverberate(StoreRooms(store, "small-0"))(crops, torch.tensor([3, 0]), seeded())
    response = np.array([0, 1000, 0, 0, 500]) / np.sqrt(1000**2 + 500**2)
    for row, source in zip(out.numpy(), clean[[3, 0]].numpy(), strict=True):
        np.testing.assert_allclose(row, np.convolve(source, response)[:300], atol=1e-5)


def test_a_silent_response_or_crop_stays_finite(store: ArrayStore) -> None:
    crops = Crops(torch.randn(1, 100, generator=seeded()), torch.zeros(1))
    same = Reverberate(StoreRooms(store, "small-1"))(crops, torch.tensor([0]), seeded())
    assert torch.allclose(same, crops.waveforms, atol=1e-6)
    silent = Reverberate(DecayingRooms())(Crops(torch.zeros(2, 100), torch.zeros(2)), torch.arange(2), seeded())
    assert torch.equal(silent, torch.zeros(2, 100))


def test_rooms_are_a_function_of_the_generator() -> None:
    rooms = DecayingRooms()
    assert torch.equal(taps(rooms, 3, 999, seeded(5)), taps(rooms, 3, 999, seeded(5)))
    assert not torch.equal(taps(rooms, 3, 999, seeded(5)), taps(rooms, 3, 999, seeded(6)))
