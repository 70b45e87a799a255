from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ham.augment.augmenter import KINDS, UNTOUCHED, Augmenter, Materials, available_kinds, build_kinds
from ham.augment.effect import Effect
from ham.augment.waveforms import Crops
from ham.data.store import ArrayStore, write_store
from ham.errors import ConfigError, DataError


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_store(path: Path, *prefixes: str) -> ArrayStore:
    """A store of ten recordings of each prefix, of different lengths."""
    draw = np.random.default_rng(0).integers
    names = [f"{prefix}-{i}" for prefix in prefixes for i in range(10)]
    items = ((name, draw(-3000, 3000, 100 + 90 * k, dtype=np.int16)) for k, name in enumerate(names))
    write_store(path, items, {"sample_rate": 16000})
    return ArrayStore(path)


OFFLINE = Materials()


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Materials:
    folder = tmp_path_factory.mktemp("stores")
    return Materials(
        noise_store=random_store(folder / "noise", "noise", "music", "speech"),
        room_store=random_store(folder / "rooms", "room"),
    )


def batch(num: int = 64, num_samples: int = 800) -> Crops:
    return Crops(0.1 * torch.randn(num, num_samples, generator=seeded(99)), torch.arange(num) // 2)


class Adds(Effect):
    """Adds a constant and remembers which rows it was given."""

    def __init__(self, value: float) -> None:
        self.value = value
        self.rows: list[int] = []

    def draw(self, labels: Tensor, rows: Tensor, num_samples: int, generator: torch.Generator, own: slice) -> None:
        self.rows += rows.tolist()

    def apply(self, waveforms: Tensor, rows: Tensor, drawn: None) -> Tensor:
        return waveforms[rows] + self.value


class Doubles(Adds):
    """Gives twice the samples."""

    def apply(self, waveforms: Tensor, rows: Tensor, drawn: None) -> Tensor:
        return 2 * waveforms[rows]


def test_every_row_gets_at_most_one_kind_and_the_shares_are_right() -> None:
    one, two = Adds(1.0), Adds(2.0)
    crops = Crops(torch.zeros(3000, 4), torch.zeros(3000, dtype=torch.int64))
    out = Augmenter({"one": one, "two": two}, probability=0.6)(*crops, seeded())
    shares = torch.bincount(out[:, 0].long(), minlength=3) / 3000
    assert torch.allclose(shares, torch.tensor([0.4, 0.3, 0.3]), atol=0.03)
    assert len(out.unique()) == 3
    assert not set(one.rows) & set(two.rows)


def test_kinds_are_drawn_by_their_weights() -> None:
    kinds = {name: Adds(value) for name, value in (("reverb", 1.0), ("noise", 2.0), ("music", 3.0), ("voice", 4.0))}
    crops = Crops(torch.zeros(20000, 4), torch.zeros(20000, dtype=torch.int64))
    augmenter = Augmenter(kinds, probability=0.6, weights=[2016, 930, 660, 426])
    shares = torch.bincount(augmenter(*crops, seeded())[:, 0].long(), minlength=5) / 20000
    expected = 0.6 * torch.tensor([2016, 930, 660, 426]) / 4032
    assert shares[0].item() == pytest.approx(0.4, abs=0.015)
    assert torch.allclose(shares[1:], expected, atol=0.01)


def test_small_weights_and_zeros_are_weights() -> None:
    kinds = {"one": Adds(1.0), "two": Adds(2.0)}
    crops = Crops(torch.zeros(100, 4), torch.zeros(100, dtype=torch.int64))
    out = Augmenter(kinds, probability=1.0, weights=[0.0, 0.01])(*crops, seeded())
    assert torch.equal(out, torch.full((100, 4), 2.0))


def test_only_augmented_rows_are_scaled_to_full_scale() -> None:
    crops = batch()
    kinds = {"double": Doubles(0.0)}
    out = Augmenter(kinds, probability=0.5, peak_normalise=True)(*crops, seeded())
    peak = crops.waveforms.abs().amax(dim=1, keepdim=True)
    changed = (out != crops.waveforms).any(dim=1)
    assert 10 < changed.sum() < 54
    assert torch.allclose(out[changed], (2 * crops.waveforms / (2 * peak + 1e-4))[changed])
    assert torch.equal(Augmenter(kinds, probability=1.0)(*crops, seeded()), 2 * crops.waveforms)


@pytest.mark.parametrize(
    "weights", [[1.0], [1.0, 2.0, 3.0], [1.0, -1.0], [0.0, 0.0], [float("nan"), 1.0], [math.inf, 1]]
)
def test_weights_that_do_not_fit_are_refused(weights: list[float]) -> None:
    with pytest.raises(ConfigError, match="weights: expected a number of at least 0 for each of one, two"):
        Augmenter({"one": Adds(1.0), "two": Adds(2.0)}, probability=0.5, weights=weights)


def test_only_the_rows_of_a_kind_are_computed() -> None:
    one, two = Adds(1.0), Adds(2.0)
    crops = Crops(torch.zeros(100, 4), torch.zeros(100, dtype=torch.int64))
    out = Augmenter({"one": one, "two": two}, probability=1.0)(*crops, seeded())
    assert sorted(one.rows + two.rows) == list(range(100))
    assert torch.nonzero(out[:, 0] == 1.0).squeeze(1).tolist() == one.rows


@pytest.mark.parametrize("stores", [False, True])
def test_untouched_rows_are_bit_identical_and_the_others_differ(stores: bool, full: Materials) -> None:
    materials = full if stores else OFFLINE
    crops = batch()
    before = crops.waveforms.clone()
    augmenter = Augmenter(build_kinds(tuple(KINDS)[-1:] + available_kinds(materials), materials), probability=0.5)
    out = augmenter(*crops, seeded(1))
    untouched = augmenter.kinds(64, seeded(1)) == UNTOUCHED
    assert 0 < untouched.sum() < 64
    assert torch.equal(out[untouched], before[untouched])
    assert ((out - before)[~untouched].abs().amax(dim=1) > 1e-3).all()
    assert torch.equal(crops.waveforms, before)


@pytest.mark.parametrize("kind", ["reverb", "music", "speech", "noise", "voice", "channel"])
def test_each_kind_is_finite_on_silence_and_a_function_of_the_generator(kind: str, full: Materials) -> None:
    augmenter = Augmenter(build_kinds([kind], full), probability=1.0)
    crops = batch(8)
    assert torch.equal(augmenter(*crops, seeded(3)), augmenter(*crops, seeded(3)))
    assert not torch.equal(augmenter(*crops, seeded(3)), augmenter(*crops, seeded(4)))
    silent = crops.waveforms.clone()
    silent[::2] = 0.0
    assert torch.isfinite(augmenter(silent, crops.labels, seeded())).all()
    assert torch.isfinite(augmenter(torch.zeros_like(silent), crops.labels, seeded())).all()


def test_the_whole_augmenter_is_a_function_of_the_generator() -> None:
    augmenter = Augmenter(build_kinds(available_kinds(OFFLINE), OFFLINE), probability=0.7)
    crops = batch()
    torch.manual_seed(1)
    first = augmenter(*crops, seeded(3))
    torch.manual_seed(2)
    assert torch.equal(first, augmenter(*crops, seeded(3)))


def test_a_generator_that_goes_on_gives_something_new() -> None:
    augmenter = Augmenter(build_kinds(["noise"], OFFLINE), probability=1.0)
    crops, generator = batch(), seeded()
    assert not torch.equal(augmenter(*crops, generator), augmenter(*crops, generator))


def test_probability_zero_and_one() -> None:
    crops = batch()
    kinds = build_kinds(available_kinds(OFFLINE), OFFLINE)
    assert torch.equal(Augmenter(kinds, probability=0.0)(*crops, seeded()), crops.waveforms)
    changed = Augmenter(kinds, probability=1.0)(*crops, seeded()) != crops.waveforms
    assert changed.any(dim=1).all()


def test_published_kinds_by_material(full: Materials) -> None:
    assert available_kinds(full) == ("reverb", "music", "speech", "noise")
    assert available_kinds(OFFLINE) == ("reverb", "speech", "noise")
    assert set(available_kinds(full)) <= set(KINDS)


@pytest.mark.parametrize(
    ("kind", "low_db", "high_db"),
    [("noise", 0.0, 15.0), ("music", 5.0, 15.0), ("speech", 4.0, 15.3), ("voice", 10.0, 30.0)],
)
def test_published_ratios(kind: str, low_db: float, high_db: float, full: Materials) -> None:
    """Speech: 8 independent voices at 13 dB are at 4 dB together, 3 at 20 dB at 15.2 dB."""
    crops = batch(400, 2000)
    materials = replace(full, snr="exact")
    added = Augmenter(build_kinds([kind], materials), probability=1.0)(*crops, seeded()) - crops.waveforms
    snr_db = 10 * torch.log10(crops.waveforms.square().sum(1) / added.square().sum(1))
    if kind == "speech":
        assert low_db - 0.5 < snr_db.min() < low_db + 3.0
        assert high_db - 3.0 < snr_db.max() < high_db + 0.5
    else:
        assert snr_db.min().item() == pytest.approx(low_db, abs=0.3)
        assert snr_db.max().item() == pytest.approx(high_db, abs=0.3)


@pytest.mark.parametrize("kind", ["noise", "music", "speech"])
def test_recordings_have_the_published_ratio_unless_the_exact_one_is_asked_for(kind: str, tmp_path: Path) -> None:
    """All recordings here have one level: the two rules differ by one factor, as the released arithmetic has it."""
    level, sign = 50, np.where(np.arange(3000) % 2, 1, -1).astype(np.int16)
    items = [(f"{kind}-{i}", np.roll(level * sign, i)) for i in range(10)]
    write_store(tmp_path / "n", items, {"sample_rate": 16000})
    store = ArrayStore(tmp_path / "n")
    crops = Crops(0.02 * torch.randn(16, 800, generator=seeded(99)), torch.arange(16))
    published, exact = (
        (Augmenter(build_kinds([kind], m), probability=1.0)(*crops, seeded()) - crops.waveforms).double()
        for m in (Materials(noise_store=store), Materials(noise_store=store, snr="exact"))
    )
    speech, noise = crops.waveforms.double().square().mean(1), (level / 32768) ** 2
    factor = ((speech + 1e-4) / (noise + 1e-4) * noise / speech).sqrt()
    assert torch.allclose(published.norm(dim=1) / exact.norm(dim=1), factor, rtol=1e-3)


def test_without_a_store_one_voice_is_another_speaker_of_the_batch() -> None:
    crops = batch(200)
    added = Augmenter(build_kinds(["voice"], OFFLINE), probability=1.0)(*crops, seeded()) - crops.waveforms
    snr_db = 10 * torch.log10(crops.waveforms.square().sum(1) / added.square().sum(1))
    assert 9.9 < snr_db.min() < 12.0
    assert 28.0 < snr_db.max() < 30.1


def test_what_is_made_here_has_the_exact_ratio_always() -> None:
    crops = batch()
    kinds = available_kinds(OFFLINE)
    one, other = (
        Augmenter(build_kinds(kinds, m), probability=1.0)(*crops, seeded())
        for m in (Materials(), Materials(snr="exact"))
    )
    assert torch.equal(one, other)
    added = Augmenter(build_kinds(["noise"], OFFLINE), probability=1.0)(1e-3 * crops[0], crops[1], seeded())
    added -= 1e-3 * crops.waveforms
    snr_db = 10 * torch.log10(1e-6 * crops.waveforms.square().sum(1) / added.square().sum(1))
    assert -0.1 < snr_db.min() < 2.0
    assert 13.0 < snr_db.max() < 15.1


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["reverb", "sppech"], "'sppech', choose from reverb, music, speech, noise, voice, channel"),
        (["noise", "noise"], "once"),
        (["music"], "needs the MUSAN store"),
    ],
)
def test_wrong_kinds_are_refused(names: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        build_kinds(names, OFFLINE)


def test_a_store_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="music"):
        build_kinds(["music"], Materials(noise_store=random_store(tmp_path / "store", "id10001")))


def test_a_store_of_another_sample_rate_is_refused(full: Materials) -> None:
    with pytest.raises(DataError, match="expected 8000 Hz, found 16000 Hz"):
        build_kinds(["noise"], Materials(8000, full.noise_store))


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_wrong_probability_is_refused(probability: float) -> None:
    with pytest.raises(ConfigError, match="probability"):
        Augmenter({"one": Adds(1.0)}, probability=probability)


def test_no_kind_at_all_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one kind"):
        Augmenter({}, probability=0.5)
