"""A trained system as one object: what it takes, what it refuses, and the example of its module."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ham import backbones, frontends
from ham.data.store import ArrayStore
from ham.errors import CheckpointError, ConfigError
from ham.model import checkpoint, encoder
from ham.model.encoder import Network, SpeakerEncoder
from tests.tiny_system import DIM, write_corpus, write_experiment, write_model


def test_the_example_of_the_module_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path / "data")
    write_experiment(tmp_path / "exp/ham_softmax", tmp_path / "data", "ham_softmax")
    for name in ("one.wav", "other.wav"):
        soundfile.write(tmp_path / name, np.random.default_rng(len(name)).normal(0, 0.1, 20000), 16000)
    monkeypatch.chdir(tmp_path)
    outcome = doctest.testmod(encoder)
    assert (outcome.failed, outcome.attempted > 5) == (0, True)


def test_samples_features_and_lists_of_waveforms_are_embedded_alike() -> None:
    torch.manual_seed(0)
    frontend = frontends.build("mel", num_mel_bins=24)
    network = Network(frontend, backbones.build("resnet18", 24, DIM, width=4)).eval()
    samples = torch.randn(2, 8000)
    expected = network.backbone(frontend(samples))
    torch.testing.assert_close(network(samples), expected, rtol=0, atol=0)
    torch.testing.assert_close(network(frontend(samples)), expected, rtol=0, atol=0)
    found = network([samples[0], torch.randn(12000), samples[1]])
    torch.testing.assert_close(found[[0, 2]], expected, rtol=1e-4, atol=1e-5)


def test_an_experiment_is_loaded_with_all_that_it_says(tmp_path: Path) -> None:
    loss = write_model(tmp_path, "ham_softmax", seed=4)
    found = SpeakerEncoder.load(tmp_path, "cpu")
    state = checkpoint.load(tmp_path / "average.pt")
    assert (found.folder, found.seed, found.command, found.valid_speakers) == (tmp_path, 4, "./run.sh --stage 4", ())
    assert found.digest == checkpoint.weights_digest(state)
    assert found.config.loss.name == "ham_softmax"
    assert torch.equal(found.loss.weight, loss.weight)
    assert all(torch.equal(x, state["backbone"][name]) for name, x in found.network.backbone.state_dict().items())
    assert not any(part.training for part in (*found.network.modules(), *found.loss.modules()))


def test_recordings_are_embedded_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    write_model(tmp_path, "softmax")
    found, store = SpeakerEncoder.load(tmp_path, "cpu"), ArrayStore(tmp_path / "store/test")
    rows = found.embed_recordings(store, batch_size=4)
    assert (rows.shape, rows.dtype) == ((len(store), DIM), np.float32)
    np.testing.assert_allclose(found.embed_recordings(store, [7, 2]), rows[[7, 2]], atol=1e-5)


def test_models_that_do_not_fit_and_devices_that_are_not_there(tmp_path: Path) -> None:
    write_model(tmp_path, "softmax")
    state = checkpoint.load(tmp_path / "average.pt")
    for change, message in (
        ({"backbone": {}}, "the backbone does not fit its configuration"),
        ({"num_speakers": 9}, "the loss does not fit its configuration"),
    ):
        checkpoint.save(tmp_path / "average.pt", {**state, **change})
        with pytest.raises(CheckpointError, match=message):
            SpeakerEncoder.load(tmp_path, "cpu")
    checkpoint.save(tmp_path / "average.pt", {key: value for key, value in state.items() if key != "seed"})
    with pytest.raises(CheckpointError, match=r"expected the entry 'seed', found none; average again \(stage 5\)"):
        SpeakerEncoder.load(tmp_path, "cpu")
    with pytest.raises(ConfigError, match="--device cuda:77"):
        SpeakerEncoder.load(tmp_path, "cuda:77")
