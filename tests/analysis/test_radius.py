"""Versions of utterances, and radii that follow planted conditions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from numpy.typing import NDArray

from ham import losses
from ham.analysis import radius
from ham.analysis.labels import read_utterances
from ham.analysis.radius import CONDITIONS, Versions
from ham.data.store import ArrayStore, write_store
from ham.model.encoder import SpeakerEncoder
from tests.tiny_system import write_corpus, write_model

RATE = 1000


@pytest.fixture
def store(tmp_path: Path) -> ArrayStore:
    generator = np.random.default_rng(0)
    items = [(f"u{at}", generator.normal(0, 3000, size).astype(np.int16)) for at, size in enumerate((900, 2000, 2101))]
    write_store(tmp_path / "s", items, {"sample_rate": RATE})
    return ArrayStore(tmp_path / "s")


def test_versions_are_crops_of_the_middle_and_noise_at_its_ratio(store: ArrayStore) -> None:
    versions, again = Versions(store, [1, 2]), Versions(store, [1, 2])
    assert CONDITIONS == ("0.5 s", "1 s", "2 s", "full", "20 dB", "10 dB", "0 dB")
    assert versions.utts == tuple(f"{utt}/{name}" for name in CONDITIONS for utt in ("u1", "u2"))
    read = {utt: versions.read(index) for index, utt in enumerate(versions.utts)}
    assert versions.lengths.tolist() == [len(samples) for samples in read.values()]
    assert all(np.array_equal(x, again.read(index)) for index, x in enumerate(read.values()))
    first, second = store.read(1), store.read(2)
    assert np.array_equal(read["u1/0.5 s"], first[750:1250])
    assert np.array_equal(read["u2/2 s"], second[50:2050])
    assert np.array_equal(read["u2/full"], second)
    noises = {snr_db: read[f"u2/{snr_db} dB"] - second.astype(np.float64) for snr_db in (20, 10, 0)}
    for snr_db, noise in noises.items():
        ratio = np.mean(second.astype(np.float64) ** 2) / np.mean(noise**2)
        assert 10 * np.log10(ratio) == pytest.approx(snr_db, abs=0.01)
    np.testing.assert_allclose(noises[20] * 10, noises[0], rtol=1e-3, atol=1)


def radii(*values: float) -> dict[str, NDArray[np.float64]]:
    names = ("0.5 s", "1 s", "2 s", "full", "20 dB", "10 dB", "0 dB")
    return {name: np.array([value, value + 0.25]) for name, value in zip(names, values, strict=True)}


def test_radius_follows_duration_and_ratio() -> None:
    durations = np.array([3.0, 4.0])
    found = radius.measure_radius(radii(1, 2, 3, 4, 5, 6, 7), durations)
    assert found.duration.median == {"0.5 s": 1.125, "1 s": 2.125, "2 s": 3.125, "full": 4.125}
    assert list(found.snr.median.values()) == [5.125, 6.125, 7.125]
    values = [0.5, 0.5, 1, 1, 2, 2, 3, 4], [1, 1.25, 2, 2.25, 3, 3.25, 4, 4.25]
    assert found.duration.correlation == pytest.approx(scipy.stats.spearmanr(*values).statistic)
    assert found.snr.correlation is not None
    assert found.snr.correlation < -0.9


def test_a_radius_clipped_to_a_shell_follows_nothing() -> None:
    shell = {name: 1.3169 + 1e-14 * value for name, value in radii(1, 2, 3, 4, 5, 6, 7).items()}
    found = radius.measure_radius(shell, np.array([3.0, 4.0]))
    assert (found.duration.correlation, found.snr.correlation) == (None, None)


def test_quantiles_have_names_in_per_cent() -> None:
    assert radius.quantiles(np.arange(101.0)) == pytest.approx({"p05": 5, "p50": 50, "p95": 95})
    assert radius.quantiles(np.arange(101.0), (0.25,)) == pytest.approx({"p25": 25})


def test_centres_lie_where_the_loss_says() -> None:
    loss = losses.build("ham_softmax", 4, 7)
    radii = loss.centre_radii().tolist()
    assert radius.centre_quantiles(loss)["p50"] == pytest.approx(np.median(radii))


def test_long_utterances_are_drawn_the_same_for_everyone(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    store = ArrayStore(tmp_path / "store/test")
    utt2spk = read_utterances(tmp_path, "tiny")
    chosen = radius.choose_utterances(utt2spk, store)
    assert chosen == radius.choose_utterances(utt2spk, store)
    assert len(set(chosen)) == len(chosen) == 20
    assert min(store.lengths[chosen]) == 33000


def test_a_radius_follows_how_often_a_speaker_was_heard(tmp_path: Path) -> None:
    write_model(tmp_path / "exp", "softmax")
    encoder = SpeakerEncoder.load(tmp_path / "exp", "cpu")
    radii = encoder.loss.centre_radii().detach().numpy()
    counts = {speaker: 10 + int(np.argsort(np.argsort(radii))[at]) for at, speaker in enumerate(encoder.speakers)}
    assert radius.heard_correlation(encoder, counts) == pytest.approx(1)
    assert radius.heard_correlation(encoder, {spk: -number for spk, number in counts.items()}) == pytest.approx(-1)
    assert radius.heard_correlation(encoder, dict.fromkeys(encoder.speakers, 4)) is None
    assert radius.heard_correlation(encoder, {}) is None
    assert radius.heard_correlation(encoder, {**counts, "stranger": 99}) == pytest.approx(1)
