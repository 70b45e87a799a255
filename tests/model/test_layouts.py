"""Layouts of public models: every weight of a network has one name there, and its output is that of their wiring."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ham.model.build import build_backbone, build_frontend
from ham.model.imported import compare, there
from ham.model.layouts import LAYOUTS
from tests.public_models import campplus, speechbrain_ecapa, taoruijie_ecapa, wespeaker_ecapa, wespeaker_resnet34

FILES = {
    "campplus": campplus,
    "wespeaker_resnet34": wespeaker_resnet34,
    "wespeaker_ecapa": partial(wespeaker_ecapa, 64, 96),
    "taoruijie_ecapa": partial(taoruijie_ecapa, 64, 96),
    "speechbrain_ecapa": partial(speechbrain_ecapa, 64, 96),
}
"""What makes a file of each layout, narrow where its width may be any."""

LEFT_OUT = {
    "projection.weight",
    "speaker_loss.weight",
    "speaker_encoder.torchfbank.0.flipped_filter",
    "speaker_encoder.torchfbank.1.spectrogram.window",
    "speaker_encoder.torchfbank.1.mel_scale.fb",
}
"""Classifiers and constants of front ends."""


def test_every_layout_is_tested() -> None:
    assert FILES.keys() == LAYOUTS.keys()


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_tensor_has_its_place(name: str) -> None:
    tensors = FILES[name]()
    found = compare(LAYOUTS[name], tensors)
    assert found.whole, str(found)
    names = there(LAYOUTS[name], found.backbone)
    assert sorted([*names.values(), *found.left_out]) == sorted(tensors)
    assert set(found.left_out) <= LEFT_OUT
    for own, value in found.backbone.items():
        assert torch.equal(value.flatten(), tensors[names[own]].flatten())
    backbone = build_backbone(found.config)
    backbone.load_state_dict(dict(found.backbone))


def test_campplus_has_937_tensors_and_two_sizes() -> None:
    assert len(campplus()) == 937
    assert compare(LAYOUTS["campplus"], campplus(512)).config.backbone.embedding_dim == 512


@pytest.mark.parametrize(
    ("name", "make", "number", "parameters"),
    [
        ("wespeaker_ecapa", wespeaker_ecapa, 221, 14_657_088),
        ("wespeaker_ecapa", partial(wespeaker_ecapa, 512), 221, 6_190_720),
        ("wespeaker_ecapa", partial(wespeaker_ecapa, 512, global_context=False), 221, 5_797_504),
        ("taoruijie_ecapa", taoruijie_ecapa, 231, 15_444_544),
        ("speechbrain_ecapa", speechbrain_ecapa, 231, 20_767_552),
    ],
)
def test_public_files_of_ecapa_have_their_sizes(
    name: str, make: Callable[[], dict[str, Tensor]], number: int, parameters: int
) -> None:
    found = compare(LAYOUTS[name], make())
    assert found.whole, str(found)
    assert len(found.backbone) == number
    with torch.device("meta"):
        assert sum(p.numel() for p in build_backbone(found.config).parameters()) == parameters


def test_a_width_that_cannot_be_is_told_as_a_shape() -> None:
    tensors = {**wespeaker_ecapa(64, 96), "layer1.conv.weight": torch.ones(60, 80, 5), "conv.weight": torch.ones(3)}
    found = compare(LAYOUTS["wespeaker_ecapa"], tensors)
    assert found.config.backbone.options["channels"] == 56
    assert "layer1.conv.weight: expected (56, 80, 5), found (60, 80, 5)" in found.reshaped


def test_another_filterbank_in_the_file_is_told() -> None:
    at = "speaker_encoder.torchfbank.1.mel_scale.fb"
    tensors = taoruijie_ecapa(64, 96)
    found = compare(LAYOUTS["taoruijie_ecapa"], {**tensors, at: tensors[at].roll(1, 0)})
    assert not found.whole
    assert str(found) == f"231 fit, 1 tensor of other values ({at})"


def test_campplus_hears_kaldi_s_filterbank_of_samples_as_they_are() -> None:
    import torchaudio.compliance.kaldi as kaldi

    samples = 1e-4 * torch.randn(2, 4000)  # so soft that the floor of the energies counts
    frontend = build_frontend(compare(LAYOUTS["campplus"], campplus()).config)
    expected = torch.stack([kaldi.fbank(row[None], num_mel_bins=80, dither=0.0) for row in samples])
    assert expected.min() < -15.9
    torch.testing.assert_close(frontend(samples), expected - expected.mean(1, keepdim=True), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_network_computes_what_its_names_say(name: str) -> None:
    state = FILES[name]()
    found = compare(LAYOUTS[name], state)
    backbone = build_backbone(found.config).eval()
    backbone.load_state_dict(dict(found.backbone))
    features = torch.randn(2, 230, 80)
    with torch.no_grad():
        expected, embeddings = FORWARD[name](state, features), backbone(features)
    assert F.cosine_similarity(embeddings, expected).min() > 0.999999
    torch.testing.assert_close(embeddings, expected, atol=1e-4, rtol=1e-3)


def _norm(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
    return F.batch_norm(x, mean, var, state.get(f"{name}.weight"), state.get(f"{name}.bias"))


def _conv_of(state: dict[str, Tensor], name: str, x: Tensor, **how: Any) -> Tensor:
    value = state[f"{name}.weight"]
    run = F.conv2d if value.ndim == 4 else F.conv1d
    return run(x, value, state.get(f"{name}.bias"), **how)


def _block(state: dict[str, Tensor], at: str, x: Tensor, stride: tuple[int, int]) -> Tensor:
    """A residual block."""
    y = _norm(state, f"{at}.bn1", _conv_of(state, f"{at}.conv1", x, stride=stride, padding=1)).relu()
    y = _norm(state, f"{at}.bn2", _conv_of(state, f"{at}.conv2", y, padding=1))
    if f"{at}.shortcut.0.weight" in state:
        x = _norm(state, f"{at}.shortcut.1", _conv_of(state, f"{at}.shortcut.0", x, stride=stride))
    return (y + x).relu()


def _forward_resnet34(state: dict[str, Tensor], features: Tensor) -> Tensor:
    """wespeaker's network, by the names of the file."""
    x = _norm(state, "bn1", _conv_of(state, "conv1", features.mT[:, None], padding=1)).relu()
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            stride = 2 if stage > 1 and block == 0 else 1
            x = _block(state, f"layer{stage}.{block}", x, (stride, stride))
    pooled = torch.cat([x.mean(3).flatten(1), (x.var(3) + 1e-7).sqrt().flatten(1)], 1)
    return F.linear(pooled, state["seg_1.weight"], state["seg_1.bias"])


def _forward_campplus(state: dict[str, Tensor], features: Tensor) -> Tensor:
    """3D-Speaker's network, in (B, C, T), by the names of the file."""

    def _conv(name: str, x: Tensor, **how: Any) -> Tensor:
        return _conv_of(state, name, x, **how)

    x = _norm(state, "head.bn1", _conv("head.conv1", features.mT[:, None], padding=1)).relu()
    for name, stride in (("1.0", 2), ("1.1", 1), ("2.0", 2), ("2.1", 1)):
        x = _block(state, f"head.layer{name}", x, (stride, 1))
    x = _norm(state, "head.bn2", _conv("head.conv2", x, stride=(2, 1), padding=1)).relu().flatten(1, 2)
    x = _norm(state, "xvector.tdnn.nonlinear.batchnorm", _conv("xvector.tdnn.linear", x, stride=2, padding=2)).relu()
    for number, (layers, dilation) in enumerate(((12, 1), (24, 2), (16, 2)), 1):
        for layer in range(1, layers + 1):
            at = f"xvector.block{number}.tdnnd{layer}"
            y = _conv(f"{at}.linear1", _norm(state, f"{at}.nonlinear1.batchnorm", x).relu())
            y = _norm(state, f"{at}.nonlinear2.batchnorm", y).relu()
            means = [part.mean(2, keepdim=True).expand_as(part) for part in y.split(100, 2)]
            context = _conv(f"{at}.cam_layer.linear1", y.mean(2, keepdim=True) + torch.cat(means, 2)).relu()
            local = _conv(f"{at}.cam_layer.linear_local", y, padding=dilation, dilation=dilation)
            x = torch.cat([x, local * torch.sigmoid(_conv(f"{at}.cam_layer.linear2", context))], 1)
        at = f"xvector.transit{number}"
        x = _conv(f"{at}.linear", _norm(state, f"{at}.nonlinear.batchnorm", x).relu())
    x = _norm(state, "xvector.out_nonlinear.batchnorm", x).relu()
    x = _conv("xvector.dense.linear", torch.cat([x.mean(2), x.std(2)], 1)[:, :, None])
    return _norm(state, "xvector.dense.nonlinear.batchnorm", x)[:, :, 0]


def _pad_zeros(x: Tensor, reach: int) -> Tensor:
    return F.pad(x, (reach, reach))


def _pad_mirrored(x: Tensor, reach: int) -> Tensor:
    return F.pad(x, (reach, reach), mode="reflect")


def _relu_norm(state: dict[str, Tensor], conv: str, norm: str, x: Tensor, **how: Any) -> Tensor:
    return _norm(state, norm, _conv_of(state, conv, x, **how).relu())


def _gate(state: dict[str, Tensor], names: tuple[str, str], y: Tensor) -> Tensor:
    squeeze, excite = ((state[f"{name}.weight"].flatten(1), state[f"{name}.bias"]) for name in names)
    return y * torch.sigmoid(F.linear(F.linear(y.mean(2), *squeeze).relu(), *excite))[:, :, None]


def _moments(x: Tensor, weights: Tensor) -> list[Tensor]:
    mean = (weights * x).sum(2, keepdim=True)
    return [mean, (weights * (x - mean).square()).sum(2, keepdim=True)]


def _forward_wespeaker_ecapa(state: dict[str, Tensor], features: Tensor) -> Tensor:
    x, outputs = _relu_norm(state, "layer1.conv", "layer1.bn", _pad_zeros(features.mT, 2)), []
    for number, dilation in ((2, 2), (3, 3), (4, 4)):
        at = f"layer{number}.se_res2block"
        parts = list(_relu_norm(state, f"{at}.0.conv", f"{at}.0.bn", x).chunk(8, 1))
        for k in range(7):
            y = _pad_zeros(parts[k] + parts[k - 1] if k else parts[k], dilation)
            parts[k] = _relu_norm(state, f"{at}.1.convs.{k}", f"{at}.1.bns.{k}", y, dilation=dilation)
        y = _relu_norm(state, f"{at}.2.conv", f"{at}.2.bn", torch.cat(parts, 1))
        x = x + _gate(state, (f"{at}.3.linear1", f"{at}.3.linear2"), y)
        outputs.append(x)
    x = _conv_of(state, "conv", torch.cat(outputs, 1)).relu()
    seen = [x, *(one[:, :, None].expand_as(x) for one in (x.mean(2), (x.var(2) + 1e-7).sqrt()))]
    weights = _conv_of(state, "pool.linear2", _conv_of(state, "pool.linear1", torch.cat(seen, 1)).tanh()).softmax(2)
    mean = (weights * x).sum(2)
    deviation = ((weights * x * x).sum(2) - mean**2).clamp_min(1e-7).sqrt()
    return F.linear(_norm(state, "bn", torch.cat([mean, deviation], 1)), state["linear.weight"], state["linear.bias"])


def _forward_taoruijie_ecapa(state: dict[str, Tensor], features: Tensor) -> Tensor:
    state = {name.removeprefix("speaker_encoder."): value for name, value in state.items()}
    x, outputs = _relu_norm(state, "conv1", "bn1", _pad_zeros(features.mT, 2)), []
    for number, dilation in ((1, 2), (2, 3), (3, 4)):
        at, total = f"layer{number}", sum(outputs, x)
        parts = list(_relu_norm(state, f"{at}.conv1", f"{at}.bn1", total).chunk(8, 1))
        for k in range(7):
            y = _pad_zeros(parts[k] + parts[k - 1] if k else parts[k], dilation)
            parts[k] = _relu_norm(state, f"{at}.convs.{k}", f"{at}.bns.{k}", y, dilation=dilation)
        y = _relu_norm(state, f"{at}.conv3", f"{at}.bn3", torch.cat(parts, 1))
        outputs.append(total + _gate(state, (f"{at}.se.se.1", f"{at}.se.se.3"), y))
    x = _conv_of(state, "layer4", torch.cat(outputs, 1)).relu()
    seen = [x, *(one[:, :, None].expand_as(x) for one in (x.mean(2), x.var(2).clamp_min(1e-4).sqrt()))]
    hidden = _relu_norm(state, "attention.0", "attention.2", torch.cat(seen, 1)).tanh()
    weights = _conv_of(state, "attention.4", hidden).softmax(2)
    mean = (weights * x).sum(2)
    deviation = ((weights * x * x).sum(2) - mean**2).clamp_min(1e-4).sqrt()
    pooled = _norm(state, "bn5", torch.cat([mean, deviation], 1))
    return _norm(state, "bn6", F.linear(pooled, state["fc6.weight"], state["fc6.bias"]))


def _forward_speechbrain_ecapa(state: dict[str, Tensor], features: Tensor) -> Tensor:
    def _tdnn(at: str, x: Tensor, reach: int = 0, **how: Any) -> Tensor:
        return _relu_norm(state, f"{at}.conv.conv", f"{at}.norm.norm", _pad_mirrored(x, reach), **how)

    x, outputs = _tdnn("blocks.0", features.mT, 2), []
    for number, dilation in ((1, 2), (2, 3), (3, 4)):
        at = f"blocks.{number}"
        parts = list(_tdnn(f"{at}.tdnn1", x).chunk(8, 1))
        for k in range(1, 8):
            y = parts[k] + parts[k - 1] if k > 1 else parts[k]
            parts[k] = _tdnn(f"{at}.res2net_block.blocks.{k - 1}", y, dilation, dilation=dilation)
        y = _tdnn(f"{at}.tdnn2", torch.cat(parts, 1))
        x = x + _gate(state, (f"{at}.se_block.conv1.conv", f"{at}.se_block.conv2.conv"), y)
        outputs.append(x)
    x = _tdnn("mfa", torch.cat(outputs, 1))
    mean, variance = _moments(x, torch.full_like(x, 1 / x.shape[2]))
    seen = [x, mean.expand_as(x), variance.clamp_min(1e-12).sqrt().expand_as(x)]
    weights = _conv_of(state, "asp.conv.conv", _tdnn("asp.tdnn", torch.cat(seen, 1)).tanh()).softmax(2)
    mean, variance = _moments(x, weights)
    pooled = _norm(state, "asp_bn.norm", torch.cat([mean, variance.clamp_min(1e-12).sqrt()], 1))
    return _conv_of(state, "fc.conv", pooled)[:, :, 0]


FORWARD = {
    "campplus": _forward_campplus,
    "wespeaker_resnet34": _forward_resnet34,
    "wespeaker_ecapa": _forward_wespeaker_ecapa,
    "taoruijie_ecapa": _forward_taoruijie_ecapa,
    "speechbrain_ecapa": _forward_speechbrain_ecapa,
}
