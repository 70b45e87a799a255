"""Crops and pieces of recordings lie where they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ham.data.store import ArrayStore, write_store
from ham.embeddings.recordings import Cuts, RandomChunks, SpacedCrops, Waveforms


def test_random_chunks_are_pieces_and_repeat_short_speech(store: ArrayStore) -> None:
    num_samples = int(np.sort(store.lengths)[2])
    chunks = RandomChunks(store, num_samples, seed=3)
    assert (list(chunks.utts), chunks.sample_rate) == (list(store.utts), 16000)
    assert chunks.lengths.tolist() == [num_samples] * len(store)
    places = []
    for index in range(len(store)):
        whole, found = store.read(index), chunks.read(index)
        if len(whole) < num_samples:
            assert found.tolist() == np.resize(whole, num_samples).tolist()
            continue
        starts = [at for at in range(len(whole) - num_samples + 1) if whole[at] == found[0]]
        places += [at for at in starts if np.array_equal(whole[at : at + num_samples], found)]
        assert np.array_equal(RandomChunks(store, num_samples, seed=3).read(index), found)
    assert len({*places}) > 2
    others = RandomChunks(store, num_samples, seed=4)
    assert any(not np.array_equal(others.read(index), chunks.read(index)) for index in range(len(store)))


def test_random_chunks_begin_at_every_sample_equally_often(tmp_path: Path) -> None:
    write_store(
        tmp_path / "s", [(f"u{k:03d}", np.arange(7, dtype=np.int16)) for k in range(600)], {"sample_rate": 16000}
    )
    chunks = RandomChunks(ArrayStore(tmp_path / "s"), 4, seed=0)
    firsts = np.bincount([int(chunks.read(index)[0]) for index in range(600)])
    assert len(firsts) == 4
    assert firsts.min() > 110  # 150 each, 4 standard deviations below


def test_crops_are_evenly_spaced_and_short_speech_is_repeated(store: ArrayStore) -> None:
    num_samples = int(np.sort(store.lengths)[1])
    crops = SpacedCrops(store, 3, num_samples)
    assert crops.utts[:4] == (f"{store.utts[0]}/1", f"{store.utts[0]}/2", f"{store.utts[0]}/3", f"{store.utts[1]}/1")
    assert crops.lengths.tolist() == [num_samples] * 3 * len(store)
    for index, name in enumerate(crops.utts):
        utt, number = name.rsplit("/", 1)
        whole, found = store.read(list(store.utts).index(utt)), crops.read(index)
        if len(whole) >= num_samples:
            start = int(np.linspace(0, len(whole) - num_samples, 3)[int(number) - 1])
            assert found.tolist() == whole[start : start + num_samples].tolist()
        else:
            assert found.tolist() == np.pad(whole, (0, num_samples - len(whole)), "wrap").tolist()


def test_cuts_lie_within_longer_ones_and_short_speech_stays_whole(store: ArrayStore) -> None:
    median = int(np.median(store.lengths))
    short, long = Cuts(store, 2000, seed=3), Cuts(store, median, seed=3)
    assert (list(long.utts), long.sample_rate) == (list(store.utts), 16000)
    assert 0 < (store.lengths <= median).sum() < len(store)
    places = []
    for index in range(len(store)):
        whole, outer, inner = (one.read(index) for one in (store, long, short))
        assert len(outer) == long.lengths[index] == min(len(whole), median)
        assert len(inner) == 2000
        if len(whole) <= median:
            assert np.array_equal(outer, whole)
        assert inner.tobytes() in outer.tobytes()
        assert outer.tobytes() in whole.tobytes()
        places.append(whole.tobytes().index(inner.tobytes()) / 2 / max(1, len(whole) - 2000))
        assert np.array_equal(Cuts(store, 2000, seed=3).read(index), inner)
    assert min(places) < 0.3
    assert max(places) > 0.7
    assert any(not np.array_equal(Cuts(store, 2000, seed=4).read(index), short.read(index)) for index in range(21))


def test_waveforms_in_memory_come_on_the_scale_of_int16_without_a_loss() -> None:
    waveforms = [np.random.default_rng(seed).uniform(-1, 1, 50 + seed).astype(np.float32) for seed in range(3)]
    found = Waveforms(["a", "b", "c"], waveforms)
    assert (found.utts, found.sample_rate, found.lengths.tolist()) == (("a", "b", "c"), 16000, [50, 51, 52])
    for index, samples in enumerate(waveforms):
        np.testing.assert_array_equal(found.read(index) / np.float32(32768), samples)
