"""Validation: chosen from the training speakers, never a test list."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ham.backbones.base import Backbone
from ham.data.store import ArrayStore, write_store
from ham.model.encoder import Network
from ham.train import validation
from ham.train.validation import choose_speakers, validation_eer, validation_set

UTT2SPK = {f"s{i % 10}-u{i:03d}": f"s{i % 10}" for i in range(60)} | {"lonely-u1": "lonely"}


def test_the_choice_is_seeded_and_takes_only_speakers_with_trials() -> None:
    chosen = choose_speakers(UTT2SPK, 4, seed=1)
    assert len(set(chosen)) == 4
    assert chosen == choose_speakers(dict(reversed(UTT2SPK.items())), 4, seed=1)
    assert any(choose_speakers(UTT2SPK, 4, seed=s) != chosen for s in range(2, 6))
    assert all("lonely" not in choose_speakers(UTT2SPK, 10, seed=s) for s in range(5))
    assert choose_speakers(UTT2SPK, 0, seed=1) == ()


@pytest.mark.parametrize(("speakers", "expected"), [(20, 12), (177, 12), (185, 12), (186, 13), (1000, 70)])
def test_more_are_kept_aside_where_there_are_more(speakers: int, expected: int) -> None:
    utt2spk = {f"s{k:04d}-{u}": f"s{k:04d}" for k in range(speakers) for u in range(2)}
    chosen = choose_speakers(utt2spk, 12, share=0.07, seed=1)
    assert len(chosen) == expected
    assert {*chosen} >= {*choose_speakers(utt2spk, 12, seed=1)}
    assert choose_speakers(utt2spk, 0, share=0.07, seed=1) == ()


def store_of(tmp_path: Path) -> ArrayStore:
    rng = np.random.default_rng(0)
    items = []
    for utt in sorted(UTT2SPK):
        pitch = 80 + 40 * (hash_of(UTT2SPK[utt]) % 11)
        tone = 8000 * np.sin(2 * np.pi * pitch * np.arange(3000) / 16000)
        items.append((utt, (tone + rng.normal(0, 50, 3000)).astype(np.int16)))
    write_store(tmp_path / "s", items, {"sample_rate": 16000})
    return ArrayStore(tmp_path / "s")


def hash_of(speaker: str) -> int:
    return int(speaker[1:]) if speaker[1:].isdigit() else 10


class Spectrum(nn.Module):
    """(B, N) samples to (B, T, F): magnitudes of 500-sample pieces."""

    def forward(self, waveforms: Tensor) -> Tensor:
        return torch.fft.rfft(waveforms.unfold(1, 500, 500)).abs()


class Mean(Backbone):
    """Mean over the frames."""

    name = "mean"

    def __init__(self) -> None:
        super().__init__(num_mel_bins=251, embedding_dim=251)

    def _embed(self, features: Tensor, padded: Tensor | None) -> Tensor:
        return features.mean(1)


def test_a_perfect_embedding_has_no_errors_and_a_constant_one_half(tmp_path: Path) -> None:
    store = store_of(tmp_path)
    valid = validation_set(store, UTT2SPK, choose_speakers(UTT2SPK, 5, seed=1))
    assert len(valid.indices) == 30
    assert validation_eer(Network(Spectrum(), Mean()), store, valid, device=torch.device("cpu")) == 0.0

    class Constant(Mean):
        def _embed(self, features: Tensor, padded: Tensor | None) -> Tensor:
            return torch.ones(len(features), 3)

    assert validation_eer(Network(Spectrum(), Constant()), store, valid, device=torch.device("cpu")) == 0.5


def test_many_utterances_are_thinned_evenly(tmp_path: Path, monkeypatch: object) -> None:
    store = store_of(tmp_path)
    names = tuple(f"s{i}" for i in range(10))
    original = validation.MAX_UTTERANCES
    try:
        validation.MAX_UTTERANCES = 20
        valid = validation_set(store, UTT2SPK, names)
    finally:
        validation.MAX_UTTERANCES = original
    assert len(valid.indices) == 20
    assert np.bincount(valid.speakers).tolist() == [2] * 10
