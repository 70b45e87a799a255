"""Extraction: the batch changes nothing; files hold the contract."""

from __future__ import annotations

from pathlib import Path

import kaldiio
import numpy as np
import pytest
import torch

from ham import backbones, frontends
from ham.data.store import ArrayStore, write_store
from ham.embeddings.extract import (
    Crops,
    JoinedRecordings,
    RandomChunks,
    batches_by_length,
    extract,
    read_source,
    write_ark,
    write_embeddings,
)
from ham.errors import DataError

CPU = torch.device("cpu")
OPTIONS = {
    "ecapa_tdnn": {"channels": 32, "mfa_channels": 48, "attention_channels": 16, "se_channels": 8},
    "resnet18": {"width": 4},
    "resnet34": {"width": 4, "pooling": "attentive"},
}


@pytest.fixture
def store(tmp_path: Path) -> ArrayStore:
    rng = np.random.default_rng(0)
    lengths = rng.integers(3000, 30000, 21)
    items = [(f"u{i:02d}", rng.normal(0, 3000, n).astype(np.int16)) for i, n in enumerate(lengths)]
    write_store(tmp_path / "s", items, {"sample_rate": 16000})
    return ArrayStore(tmp_path / "s")


def backbone_of(name: str, frontend: frontends.Frontend) -> backbones.base.Backbone:
    torch.manual_seed(0)
    backbone = backbones.build(name, 80, 24, **OPTIONS[name])
    for _ in range(3):  # batch normalisation needs statistics that are not those of its start
        backbone(frontend(torch.randn(8, 8000)))
    return backbone


@pytest.mark.parametrize("frontend_name", ["mel", "kaldi_fbank"])
@pytest.mark.parametrize("name", OPTIONS)
def test_batches_of_1_and_16_agree(store: ArrayStore, name: str, frontend_name: str) -> None:
    frontend = frontends.build(frontend_name)
    backbone = backbone_of(name, frontend)
    chosen = np.arange(len(store))
    one = extract(backbone, frontend, store, chosen, device=CPU, batch_size=1)
    many = extract(backbone, frontend, store, chosen, device=CPU, batch_size=16)
    assert np.abs(one - many).max() <= 1e-5 * max(1.0, np.abs(one).max())
    few = extract(backbone, frontend, store, [3, 0], device=CPU)
    np.testing.assert_allclose(few, one[[3, 0]], atol=1e-4)
    assert backbone.training


def test_batches_cover_everything_once_and_stay_small() -> None:
    lengths = np.random.default_rng(1).integers(10, 1000, 97)
    batches = batches_by_length(lengths, 8, 3000)
    assert sorted(np.concatenate(batches)) == list(range(97))
    assert all(len(b) == 1 or len(b) * lengths[b].max() <= 3000 for b in batches)
    assert all(len(b) <= 8 for b in batches)
    tops = [lengths[b].max() for b in batches]
    assert tops == sorted(tops, reverse=True)


def test_a_broken_model_is_named_with_its_utterance(store: ArrayStore) -> None:
    frontend = frontends.build("mel")
    backbone = backbone_of("ecapa_tdnn", frontend)
    with torch.no_grad():
        next(backbone.parameters()).fill_(float("nan"))
    with pytest.raises(DataError, match="that of u00"):
        extract(backbone, frontend, store, [0, 1], device=CPU)


def test_files(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    write_embeddings(tmp_path / "embeddings.npz", ["a", "b", "c"], rows, "made from this")
    with np.load(tmp_path / "embeddings.npz", allow_pickle=False) as archive:
        assert archive["utts"].tolist() == ["a", "b", "c"]
        np.testing.assert_array_equal(archive["embeddings"], rows)
    assert read_source(tmp_path / "embeddings.npz") == "made from this"
    assert read_source(tmp_path / "none.npz") is None
    write_ark(tmp_path / "embeddings.ark", ["a", "b", "c"], rows)
    read = kaldiio.load_scp(str(tmp_path / "embeddings.scp"))
    np.testing.assert_array_equal(read["b"], rows[1])


def test_joined_recordings_are_embedded_as_one_recording(store: ArrayStore, tmp_path: Path) -> None:
    models = {"ann": ("u03", "u01"), "bob": ("u07",)}
    joined = JoinedRecordings(store, models)
    assert (list(joined.utts), joined.sample_rate) == (["ann", "bob"], 16000)
    items = [(name, np.concatenate([store.read(int(utt[1:])) for utt in utts])) for name, utts in models.items()]
    write_store(tmp_path / "one", items, {"sample_rate": 16000})
    one = ArrayStore(tmp_path / "one")
    assert joined.lengths.tolist() == one.lengths.tolist()
    frontend = frontends.build("mel")
    backbone = backbone_of("ecapa_tdnn", frontend)
    np.testing.assert_array_equal(*(extract(backbone, frontend, s, [0, 1], device=CPU) for s in (joined, one)))
    with pytest.raises(DataError, match="expected the recording u99, found none; run stage 3"):
        JoinedRecordings(store, {"ann": ("u99",)})


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
    crops = Crops(store, 3, num_samples)
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
