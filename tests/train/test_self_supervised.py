"""Stages of a self-supervised system: encoder frozen, with LoRA, all of it; resumed, given away, embedded."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import ham
from ham.bin import train
from ham.errors import ConfigError
from ham.model import checkpoint
from ham.model.average import average_checkpoints
from ham.model.directory import pack
from tests.self_supervised import needs_transformers, write_encoder
from tests.tiny_training import write_data

pytestmark = needs_transformers

SYSTEM = """
frontend: {name: w2vbert_fbank}
spec_augment: {max_time_width: 0, max_freq_width: 0}
backbone: {name: w2v_bert, embedding_dim: 8, hidden_size: 16, num_layers: 2, num_heads: 2, feed_forward_size: 24}
augment: {mode: "off"}
loss: {name: am_softmax}
data: {batch_size: 8, crop_frames: 20, valid_speakers: 0}
optimiser: {name: adamw, lr: 1e-3}
schedule: {name: constant}
train: {epochs: 1, average_last: 1}
"""
WAVLM = SYSTEM.replace("w2vbert_fbank", "waveform").replace("w2v_bert, ", "wavlm, conv_channels: 512, ")


class Lab:
    """Data, an encoder, and trainings with them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.options = folder, write_data(folder)
        (folder / "tiny.yaml").write_text(SYSTEM, encoding="utf-8")
        self.encoder = folder / "encoder"

    def train(self, name: str, start: str | Path, *changes: str, resume: str = "false") -> dict[str, Tensor]:
        """The backbone after the last epoch."""
        options = ["--exp_dir", str(self.folder / name), "--init_from", str(start), "--resume", resume]
        train.main([*self.options, *options, "--set", *changes])
        (*_, last) = checkpoint.saved_epochs(self.folder / name / "checkpoints")
        return checkpoint.load(checkpoint.epoch_path(self.folder / name / "checkpoints", last))["backbone"]

    def average(self, name: str) -> Path:
        """The experiment, with what stage 5 leaves."""
        average_checkpoints(self.folder / name)
        return self.folder / name


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_the_stages_move_what_they_should(lab: Lab) -> None:
    published = {f"encoder.{name}": value for name, value in write_encoder(lab.encoder).state_dict().items()}
    del published["encoder.masked_spec_embed"]

    frozen = lab.train("frozen", lab.encoder, "train.freeze=[encoder]", "train.precision=bfloat16")
    encoder = {name for name in frozen if name.startswith("encoder.")}
    assert {name: frozen[name] for name in encoder}.keys() == published.keys()
    assert all(torch.equal(frozen[name], value) for name, value in published.items())

    further = lab.train("further", lab.average("frozen"), "train.freeze=[encoder]")
    assert moved(frozen, further) == {name for name in frozen if name not in encoder}

    full = lab.train("full", lab.average("frozen"), "train.rate_factors={encoder: 0.01}", "train.recompute=true")
    unmoved = {name for name in frozen if name.endswith("linear_k.bias")}  # the softmax takes them out
    assert moved(frozen, full) >= {*frozen} - unmoved
    name = "encoder.encoder.layers.0.ffn1.output_dense.weight"
    steps = [(after[name] - frozen[name]).abs().mean() for after in (full, lab.train("fast", lab.average("frozen")))]
    assert steps[0] < 0.1 * steps[1]


def test_lora_is_trained_beside_a_frozen_encoder_and_then_merged(lab: Lab) -> None:
    write_encoder(lab.encoder)
    lora = lab.train(
        "lora", lab.encoder, "train.freeze=[encoder]", "backbone.lora_rank=2", "data.crops_per_utterance=2"
    )
    again = lab.train("again", lab.average("lora"), "train.freeze=[encoder]", "backbone.lora_rank=2")
    still = {name for name in lora if name.startswith("encoder.") or name.endswith(".factor")}
    assert moved(lora, again) == {*lora} - still
    merged = lab.train("merged", lab.average("lora"), "train.freeze=[backbone]")
    name = "encoder.encoder.layers.1.self_attn.linear_v.weight"
    change = 128.0 / 2 * lora["lora.1.linear_v.up"] @ lora["lora.1.linear_v.down"]
    assert change.abs().max() > 1e-3
    torch.testing.assert_close(merged[name], lora[name] + change)
    assert not any(name.startswith("lora.") for name in merged)


def test_a_stopped_training_goes_on_as_if_it_had_not(lab: Lab) -> None:
    write_encoder(lab.encoder)
    whole = lab.train("whole", lab.encoder, "train.epochs=2", "train.average_last=2")
    shutil.copytree(lab.folder / "whole", lab.folder / "stopped")
    (lab.folder / "stopped/checkpoints/epoch_0002.pt").unlink()
    again = lab.train("stopped", lab.encoder, "train.epochs=2", "train.average_last=2", resume="true")
    assert moved(whole, again) == set()  # dropout's random numbers too


@pytest.mark.parametrize("name", ["w2v_bert", "wavlm"])
def test_a_model_that_is_given_away_needs_no_encoder(lab: Lab, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write_encoder(lab.encoder, name)
    if name == "wavlm":
        (lab.folder / "tiny.yaml").write_text(WAVLM, encoding="utf-8")
    lab.train("exp", lab.encoder, "train.freeze=[encoder]")
    pack(lab.average("exp"), lab.folder / "model")
    samples = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    expected = ham.load(lab.folder / "exp", "cpu").embed(samples, 16000)
    shutil.rmtree(lab.encoder)
    shutil.rmtree(lab.folder / "exp")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    encoder = ham.load(lab.folder / "model", "cpu")
    assert np.array_equal(encoder.embed(samples, 16000), expected)
    assert encoder.embed(samples[:8000], 16000).shape == (8,)


def test_another_backbone_than_the_encoder_is_refused(lab: Lab) -> None:
    write_encoder(lab.encoder)
    words = r"--init_from .*encoder: expected backbone: \{hidden_size: 16\}, found \{hidden_size: 32\}$"
    with pytest.raises(ConfigError, match=words):
        lab.train("other", lab.encoder, "backbone.hidden_size=32")
    words = r"feature_projection\.[a-z_.]+: expected the shape \(.*160.*\), found \(.*80.*\); frontend\.num_mel_bins"
    with pytest.raises(ConfigError, match=words):
        lab.train("other", lab.encoder, "frontend.num_mel_bins=40")
    write_encoder(lab.encoder, "wavlm")
    with pytest.raises(
        ConfigError, match=r"expected backbone: \{name: wavlm, layer_norm: False\}, found \{name: w2v_bert"
    ):
        lab.train("other", lab.encoder)
