"""Exported files: equal to the network at lengths and batches that the tracer never saw; what they say; refusals."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ham import backbones, frontends
from ham.backbones import BACKBONES
from ham.errors import ConfigError, DataError
from ham.model import export
from ham.model.encoder import Network, SpeakerEncoder
from ham.model.export import export_model, open_onnx, open_torch, parity, speech_like
from tests.frontends.signals import waveforms
from tests.self_supervised import SMALL_ENCODERS, marks
from tests.tiny_system import write_model

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra `export`)")
pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra `export`)")

DIM, BANDS = 16, 24
OPTIONS: Mapping[str, dict[str, Any]] = {
    "ecapa_tdnn": {"channels": 16, "scale": 4, "dilations": [2, 3], "mfa_channels": 32, "attention_channels": 8},
    "eres2netv2": {"width": 4},
    "redimnet2": {"size": "b0"},
    "resnet18": {"width": 4, "pooling": "attentive"},
    "resnet34": {"width": 4, "pooling": "factorised_attention"},
    **SMALL_ENCODERS,
}
FRONTEND = {"resnet18": "kaldi_fbank", "redimnet2": "tf_mel", "w2v_bert": "w2vbert_fbank", "wavlm": "waveform"}
CASES = [
    pytest.param(
        name,
        FRONTEND.get(name, "mel"),
        {},
        marks=[pytest.mark.long] * (name != "ecapa_tdnn") + marks(name),
    )
    for name in BACKBONES
]
VARIANTS = [
    pytest.param(backbone, frontend, options, marks=[pytest.mark.long])
    for backbone, frontend, options in (
        ("ecapa_tdnn", "kaldi_fbank", {"variant": "wespeaker", "global_context": False}),
        ("ecapa_tdnn", "speechbrain_fbank", {"variant": "speechbrain"}),
        ("redimnet2", "kaldi_fbank", {"group_norm": True}),
    )
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> SpeakerEncoder:
    write_model(tmp_path_factory.mktemp("tiny"), "softmax")
    return SpeakerEncoder.load(tmp_path_factory.getbasetemp() / "tiny0", "cpu")


@pytest.fixture(scope="module")
def model_proto(tiny: SpeakerEncoder) -> Any:
    return export.to_onnx(export.trace(export.Exportable(tiny.network)))


@pytest.fixture
def converted(model_proto: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny system is traced and converted once for all tests."""
    monkeypatch.setattr(export, "trace", lambda exportable: None)
    monkeypatch.setattr(export, "to_onnx", lambda program: copy.deepcopy(model_proto))


def build(tiny: SpeakerEncoder, backbone: str, frontend: str, options: Mapping[str, Any]) -> SpeakerEncoder:
    """A system whose batch normalisations have seen something."""
    torch.manual_seed(2)
    network = Network(
        frontends.build(frontend, num_mel_bins=BANDS),
        backbones.build(backbone, BANDS, DIM, **OPTIONS.get(backbone, {}), **options),
    )
    with torch.no_grad():
        for seed in range(30):
            network(0.3 * waveforms(4, 16000, seed))
    return replace(tiny, network=network.eval())


def assert_equal(encoder: SpeakerEncoder, embed: export.Embed, shortest: int, least: float = 0.99999) -> None:
    for num_samples in (shortest, shortest + 159, shortest + 160, 2345, 8104, 16000, 31999, 70001, 160000):
        for batch in (1, 2, 5):
            samples = waveforms(batch, num_samples, seed=num_samples)
            samples[0] += torch.from_numpy(speech_like(num_samples, 130.0))
            with torch.no_grad():
                expected = encoder.network(samples.clamp(-1, 1))
            found = torch.from_numpy(embed(samples.clamp(-1, 1).numpy()))
            assert found.shape == expected.shape
            assert torch.cosine_similarity(found, expected).min() >= least, (num_samples, batch)


@pytest.mark.parametrize(("backbone", "frontend", "options"), CASES + VARIANTS)
def test_onnx_equals_the_network_at_lengths_that_were_not_traced(
    tiny: SpeakerEncoder, tmp_path: Path, backbone: str, frontend: str, options: Mapping[str, Any]
) -> None:
    encoder = build(tiny, backbone, frontend, options)
    worst = export_model(encoder, tmp_path / "new/model.onnx")
    assert worst.cosine > 0.99999
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.onnx"]
    shapes = onnxruntime.InferenceSession(tmp_path / "new/model.onnx").get_inputs()[0].shape
    assert [type(size) for size in shapes] == [str, str]
    assert_equal(encoder, open_onnx(tmp_path / "new/model.onnx"), encoder.network.frontend.min_samples)


@pytest.mark.long
def test_an_archive_of_torch_equals_the_network(tiny: SpeakerEncoder, tmp_path: Path) -> None:
    export_model(tiny, tmp_path / "model.pt2", "torch")
    extra = {"ham.json": ""}
    torch.export.load(tmp_path / "model.pt2", extra_files=extra)
    said = json.loads(extra["ham.json"])
    assert said["fingerprint"] == tiny.fingerprint
    assert_equal(tiny, open_torch(tmp_path / "model.pt2"), int(said["min_samples"]))


@pytest.mark.usefixtures("converted")
def test_a_file_says_whose_it_is(tiny: SpeakerEncoder, tmp_path: Path) -> None:
    export_model(tiny, tmp_path / "model.onnx", precision="int8")
    said = onnxruntime.InferenceSession(tmp_path / "model.onnx").get_modelmeta().custom_metadata_map
    numbers = {"embedding_dim": "8", "sample_rate": "16000", "min_samples": "400", "precision": "int8"}
    assert said.items() >= {**numbers, "fingerprint": tiny.fingerprint}.items()
    assert_equal(tiny, open_onnx(tmp_path / "model.onnx"), 400, least=0.9)


@pytest.mark.usefixtures("converted")
def test_weights_in_half_precision_are_written(tiny: SpeakerEncoder, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    export_model(tiny, tmp_path / "model.onnx", precision="float16")
    weights = onnx.load(tmp_path / "model.onnx").graph.initializer
    kinds = {one.data_type for one in weights if one.name.startswith("backbone.") and len(one.dims) > 1}
    assert kinds == {onnx.TensorProto.FLOAT16}
    assert_equal(tiny, open_onnx(tmp_path / "model.onnx"), 400, least=0.9999)


def test_a_function_that_knows_one_length_only_is_found(tiny: SpeakerEncoder) -> None:
    def _first_second(samples: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return tiny.network(torch.from_numpy(samples)[:, :16000]).numpy()

    worst = parity(tiny.network, _first_second, 400)
    assert worst.cosine < 0.99999
    assert int(worst.where.split(" x ")[1].split()[0]) > 16000


@pytest.mark.usefixtures("converted")
def test_a_file_that_differs_is_not_kept(tiny: SpeakerEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.onnx").write_text("an older one", encoding="utf-8")
    for worst in (0.5, float("nan")):
        monkeypatch.setattr(export, "parity", lambda *_, worst=worst: export.Parity(worst, "noise, 3 x 5 samples"))
        with pytest.raises(DataError, match=r"model.onnx: .* with noise, 3 x 5 samples; not kept"):
            export_model(tiny, tmp_path / "model.onnx")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["an older one"]


def test_an_embedding_that_is_not_finite_is_the_worst(tiny: SpeakerEncoder) -> None:
    def _broken(samples: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            found = tiny.network(torch.from_numpy(samples)).numpy()
        return np.where(samples.shape[1] == 16000, np.nan, -found)

    worst = parity(tiny.network, _broken, 400)
    assert np.isnan(worst.cosine)
    assert "16000 samples" in worst.where


def test_requests_that_cannot_be_met(tiny: SpeakerEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "model.onnx"
    with pytest.raises(ConfigError, match="--format"):
        export_model(tiny, out, "tflite")
    with pytest.raises(ConfigError, match="--precision"):
        export_model(tiny, out, precision="int4")
    with pytest.raises(ConfigError, match="expected float32 with --format torch"):
        export_model(tiny, out, "torch", "int8")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r'found no onnxscript; pip install "ham-speaker\[export\]"'):
        export_model(tiny, out)
    assert not any(tmp_path.iterdir())


def test_a_signal_like_speech_is_loud_and_within_range() -> None:
    samples = speech_like(48000, 120.0)
    assert (samples.shape, samples.dtype) == ((48000,), np.float32)
    assert 0.4 < np.abs(samples).max() <= 0.5
