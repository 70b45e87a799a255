"""Packing: decoded once, in order, repeated only when something changed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ham.data.pack import content_fingerprint, pack_audio, pack_features
from ham.data.store import ArrayStore
from ham.errors import DataError
from ham.features import build


@pytest.fixture
def wav(tmp_path: Path) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    found = {}
    for i in range(40):
        path = tmp_path / f"{i}.wav"
        soundfile.write(path, rng.integers(-9999, 9999, 4000 + 10 * i).astype(np.int16), 16000)
        found[f"s{i % 3}-u{i:02d}"] = path
    return found


def pack(tmp_path: Path, wav: dict[str, Path], num_workers: int = 3) -> bool:
    return pack_audio(tmp_path / "store", wav, sample_rate=16000, num_workers=num_workers)


def test_samples_are_those_of_the_files_in_the_order_of_the_ids(tmp_path: Path, wav: dict[str, Path]) -> None:
    assert pack(tmp_path, wav)
    store = ArrayStore(tmp_path / "store")
    assert list(store.utts) == sorted(wav)
    for i, utt in enumerate(store.utts):
        np.testing.assert_array_equal(store.read(i), soundfile.read(wav[utt], dtype="int16")[0])


def test_repeated_only_when_a_file_changed(tmp_path: Path, wav: dict[str, Path]) -> None:
    assert pack(tmp_path, wav)
    assert not pack(tmp_path, wav)
    os.utime(next(iter(wav.values())), ns=(1, 1))
    assert pack(tmp_path, wav)
    wav.popitem()
    assert pack(tmp_path, wav)
    assert len(ArrayStore(tmp_path / "store")) == 39


@pytest.mark.parametrize("how", ["missing", "cut"])
def test_a_damaged_store_is_packed_again(tmp_path: Path, wav: dict[str, Path], how: str) -> None:
    pack(tmp_path, wav)
    shard = tmp_path / "store/shard-00000.npy"
    content = shard.read_bytes()
    shard.unlink()
    if how == "cut":
        shard.write_bytes(content[:1000])
    assert pack(tmp_path, wav)
    assert shard.read_bytes() == content


def test_an_unreadable_file_leaves_the_old_store(tmp_path: Path, wav: dict[str, Path]) -> None:
    pack(tmp_path, wav)
    path = wav["s2-u20"]
    path.write_text("not audio", encoding="utf-8")
    with pytest.raises(DataError, match=r"20\.wav"):
        pack(tmp_path, wav)
    assert len(ArrayStore(tmp_path / "store")) == 40


def test_features_are_those_of_the_front_end(tmp_path: Path, wav: dict[str, Path]) -> None:
    pack(tmp_path, wav)
    audio = ArrayStore(tmp_path / "store")
    frontend = build("mel")
    assert pack_features(tmp_path / "features", audio, frontend, {"frontend": {"name": "mel"}})
    assert not pack_features(tmp_path / "features", audio, frontend, {"frontend": {"name": "mel"}})
    stored = ArrayStore(tmp_path / "features")
    direct = frontend(torch.from_numpy(audio.read(7)).float()[None] / 32768)[0]
    torch.testing.assert_close(torch.from_numpy(stored.read(7)), direct)
    assert pack_features(tmp_path / "features", audio, frontend, {"frontend": {"name": "other"}})


def test_content_fingerprint_follows_speakers_not_places(tmp_path: Path, wav: dict[str, Path]) -> None:
    pack(tmp_path, wav)
    store = ArrayStore(tmp_path / "store")
    utt2spk = {utt: utt[:2] for utt in wav}
    first = content_fingerprint(store, utt2spk)
    os.utime(next(iter(wav.values())), ns=(1, 1))
    pack(tmp_path, wav)
    assert content_fingerprint(ArrayStore(tmp_path / "store"), utt2spk) == first
    assert content_fingerprint(store, {**utt2spk, "s0-u00": "s1"}) != first
