"""The one loop that embeds: the batch changes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ham import backbones, frontends
from ham.data.store import ArrayStore, write_store
from ham.embeddings.extract import batches_by_length, extract, own_share
from ham.embeddings.recordings import JoinedRecordings
from ham.errors import DataError
from ham.model.encoder import Network

CPU = torch.device("cpu")
OPTIONS = {
    "ecapa_tdnn": {"channels": 32, "mfa_channels": 48, "attention_channels": 16, "se_channels": 8},
    "resnet18": {"width": 4},
    "resnet34": {"width": 4, "pooling": "attentive"},
}


def network_of(name: str, frontend_name: str = "mel") -> Network:
    torch.manual_seed(0)
    frontend = frontends.build(frontend_name)
    backbone = backbones.build(name, 80, 24, **OPTIONS[name])
    for _ in range(3):  # batch normalisation needs statistics that are not those of its start
        backbone(frontend(torch.randn(8, 8000)))
    return Network(frontend, backbone)


@pytest.mark.parametrize("frontend_name", ["mel", "kaldi_fbank"])
@pytest.mark.parametrize("name", OPTIONS)
def test_batches_of_1_and_16_agree(store: ArrayStore, name: str, frontend_name: str) -> None:
    network = network_of(name, frontend_name)
    one = extract(network, store, device=CPU, batch_size=1)
    many = extract(network, store, device=CPU, batch_size=16)
    assert np.abs(one - many).max() <= 1e-5 * max(1.0, np.abs(one).max())
    few = extract(network, store, [3, 0], device=CPU)
    np.testing.assert_allclose(few, one[[3, 0]], atol=1e-4)
    assert network.backbone.training


def test_batches_cover_everything_once_and_stay_small() -> None:
    lengths = np.random.default_rng(1).integers(10, 1000, 97)
    batches = batches_by_length(lengths, 8, 3000)
    assert sorted(np.concatenate(batches)) == list(range(97))
    assert all(len(b) == 1 or len(b) * lengths[b].max() <= 3000 for b in batches)
    assert all(len(b) <= 8 for b in batches)
    tops = [lengths[b].max() for b in batches]
    assert tops == sorted(tops, reverse=True)


def test_a_broken_model_is_named_with_its_utterance(store: ArrayStore) -> None:
    network = network_of("ecapa_tdnn")
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    with pytest.raises(DataError, match="that of u00"):
        extract(network, store, [0, 1], device=CPU)


def test_joined_recordings_are_embedded_as_one_recording(store: ArrayStore, tmp_path: Path) -> None:
    models = {"ann": ("u03", "u01"), "bob": ("u07",)}
    joined = JoinedRecordings(store, models)
    assert (list(joined.utts), joined.sample_rate) == (["ann", "bob"], 16000)
    items = [(name, np.concatenate([store.read(int(utt[1:])) for utt in utts])) for name, utts in models.items()]
    write_store(tmp_path / "one", items, {"sample_rate": 16000})
    one = ArrayStore(tmp_path / "one")
    assert joined.lengths.tolist() == one.lengths.tolist()
    network = network_of("ecapa_tdnn")
    np.testing.assert_array_equal(*(extract(network, recordings, device=CPU) for recordings in (joined, one)))
    with pytest.raises(DataError, match="expected the recording u99, found none; run stage 3"):
        JoinedRecordings(store, {"ann": ("u99",)})


def test_shares_are_whole_batches_and_cover_all(store: ArrayStore) -> None:
    chosen = np.arange(len(store))[::-1].copy()
    frames = store.lengths[chosen] // 160
    batches = [tuple(batch) for batch in batches_by_length(frames, 2, 20_000)]
    assert len(batches) > 2
    for num_processes in (1, 2, len(batches) + 1):
        shares = [own_share(store, chosen, 2, rank, num_processes) for rank in range(num_processes)]
        # as each process makes them of its own
        again = [tuple(own[rows]) for own in shares for rows in batches_by_length(frames[own], 2, 20_000)]
        assert sorted(again) == sorted(batches)
