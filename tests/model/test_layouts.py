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
from tests.public_models import (
    campplus,
    eres2netv2,
    redimnet2,
    speechbrain_ecapa,
    taoruijie_ecapa,
    wespeaker_ecapa,
    wespeaker_resnet34,
)

FILES = {
    "campplus": campplus,
    "wespeaker_resnet34": wespeaker_resnet34,
    "wespeaker_ecapa": partial(wespeaker_ecapa, 64, 96),
    "taoruijie_ecapa": partial(taoruijie_ecapa, 64, 96),
    "speechbrain_ecapa": partial(speechbrain_ecapa, 64, 96),
    "eres2netv2": partial(eres2netv2, 16, 8, 3),
    "redimnet2": partial(redimnet2, group_norm=True),
}
"""What makes a file of each layout, narrow where its width may be any."""

LEFT_OUT = {
    "projection.weight",
    "speaker_loss.weight",
    "speaker_encoder.torchfbank.0.flipped_filter",
    "speaker_encoder.torchfbank.1.spectrogram.window",
    "speaker_encoder.torchfbank.1.mel_scale.fb",
    "spec.torchfbank.1.flipped_filter",
    "spec.torchfbank.2.real_kernel_pt",
    "spec.torchfbank.2.image_kernel_pt",
    "spec.torchfbank.2.melbanks_pt",
    "backbone.stage0.0.w",
}
"""Classifiers, constants of front ends, and the weight of a sum of one map."""


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


def test_public_files_of_eres2netv2_have_their_sizes() -> None:
    for make, parameters in ((eres2netv2, 17_859_632), (partial(eres2netv2, 64, 24, 4, 4), 53_513_632)):
        found = compare(LAYOUTS["eres2netv2"], make())
        assert found.whole, str(found)
        assert sum(value.numel() for name, value in found.backbone.items() if _is_weight(name)) == parameters


def test_the_public_file_of_redimnet2_b2_has_its_729_tensors() -> None:
    tensors = redimnet2(20, (40, 30, 30, 20, 20, 10), 0, (1, 2, 1, 3, 1, 2))
    assert len(tensors) == 729
    found = compare(LAYOUTS["redimnet2"], tensors)
    assert found.whole, str(found)
    assert found.config.backbone.options == {"size": "b2", "group_norm": False}
    assert sum(value.numel() for name, value in found.backbone.items() if _is_weight(name)) == 3_676_320
    changed = compare(LAYOUTS["redimnet2"], {**tensors, "spec.torchfbank.1.flipped_filter": torch.ones(1, 1, 2)})
    assert str(changed).endswith("1 tensor of other values (spec.torchfbank.1.flipped_filter)")


def _is_weight(name: str) -> bool:
    return not name.endswith(("running_mean", "running_var", "num_batches_tracked"))


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
    features = torch.randn(2, 230, found.config.frontend.num_mel_bins)
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


def _fused(state: dict[str, Tensor], at: str, x: Tensor, y: Tensor) -> Tensor:
    """Two maps of ERes2NetV2 joined by attention."""
    hidden = _norm(state, f"{at}.local_att.1", _conv_of(state, f"{at}.local_att.0", torch.cat([x, y], 1)))
    weight = 1 + _norm(state, f"{at}.local_att.4", _conv_of(state, f"{at}.local_att.3", F.silu(hidden))).tanh()
    return x * weight + y * (2 - weight)


def _forward_eres2netv2(state: dict[str, Tensor], features: Tensor) -> Tensor:
    def _layer(conv: str, norm: str, x: Tensor, **how: Any) -> Tensor:
        return _norm(state, norm, _conv_of(state, conv, x, **how))

    x, stages = _layer("conv1", "bn1", features.mT[:, None], padding=1).relu(), []
    for stage, blocks in enumerate((3, 4, 6, 3), 1):
        for block in range(blocks):
            at, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            parts = _layer(f"{at}.conv1", f"{at}.bn1", x, stride=stride).clamp(0, 20).chunk(3, 1)
            found: list[Tensor] = []
            for index, part in enumerate(parts):
                joined = part
                if index:
                    fusion = f"{at}.fuse_models.{index - 1}"
                    joined = _fused(state, fusion, found[-1], part) if stage > 2 else found[-1] + part
                found.append(_layer(f"{at}.convs.{index}", f"{at}.bns.{index}", joined, padding=1).clamp(0, 20))
            y = _layer(f"{at}.conv3", f"{at}.bn3", torch.cat(found, 1))
            if block == 0:
                x = _layer(f"{at}.shortcut.0", f"{at}.shortcut.1", x, stride=stride)
            x = (y + x).clamp(0, 20)
        stages.append(x)
    third = _conv_of(state, "layer3_ds", stages[2], stride=2, padding=1)
    maps = _fused(state, "fuse34", stages[3], third).flatten(1, 2)
    return _linear(state, "seg_1", torch.cat([maps.mean(2), (maps.var(2) + 1e-8).sqrt()], 1))


def _linear(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def _layer_normed(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Over the second dimension."""
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return F.layer_norm(x.transpose(1, -1), weight.shape, weight, bias, 1e-6).transpose(1, -1)


def _context(state: dict[str, Tensor], at: str, x: Tensor) -> Tensor:
    """The part over time of a stage of ReDimNet2, on (B, C, T)."""
    y = _layer_normed(state, f"{at}.red_dim_conv.1", _conv_of(state, f"{at}.red_dim_conv.0", x))
    for number, reach in enumerate((3, 9, 15, 29)):
        name = f"{at}.tcm.{number}"
        z = _norm(state, f"{name}.norm", _conv_of(state, f"{name}.dwconvs.0", y, padding=reach, groups=y.shape[1]))
        y = y + _conv_of(state, f"{name}.pwconv1", F.gelu(z))
    at4, y = f"{at}.tcm.4", y.mT
    query, key, value = (
        _linear(state, f"{at4}.attention.{name}_proj", y).unflatten(2, (4, -1)).transpose(1, 2) for name in "qkv"
    )
    heads = (query @ key.mT / query.shape[3] ** 0.5).softmax(3) @ value
    y = y + _linear(state, f"{at4}.attention.out_proj", heads.transpose(1, 2).flatten(2))
    y = _layer_normed(state, f"{at4}.layer_norm", y.mT).mT
    hidden = F.gelu(_linear(state, f"{at4}.feed_forward.intermediate_dense", y), approximate="tanh")
    y = _layer_normed(
        state, f"{at4}.final_layer_norm", (y + _linear(state, f"{at4}.feed_forward.output_dense", hidden)).mT
    )
    return x + _conv_of(state, f"{at}.exp_dim_conv", y)


def _forward_redimnet2(state: dict[str, Tensor], features: Tensor) -> Tensor:
    """ReDimNet2-B0 with group normalisation."""

    def _grouped(name: str, x: Tensor) -> Tensor:
        return F.group_norm(x, 12, state[f"{name}.weight"], state[f"{name}.bias"])

    def _sum(name: str, maps: list[Tensor]) -> Tensor:
        return (state[name].softmax(1) * torch.stack(maps, 1)).sum(1)

    x = _conv_of(state, "backbone.stem.0", features.mT[:, None, :, : features.shape[1] // 4 * 4], padding=1)
    maps = [_grouped("backbone.stem_gnorm", _layer_normed(state, "backbone.stem.1", x).transpose(1, 2).flatten(1, 2))]
    channels, every = 12, 1
    strides = ((1, 1), (2, 1), (1, 2), (2, 1), (1, 2), (2, 1))
    for index, (blocks, stride) in enumerate(zip((2, 3, 4, 5, 4, 3), strides, strict=True)):
        at, every = f"backbone.stage{index}", every * stride[1]
        x = _sum(f"{at}.0.w", maps).unflatten(1, (-1, channels)).transpose(1, 2)
        x = _conv_of(state, f"{at}.2", x, stride=(stride[0], every), groups=channels)
        for block in range(3, 3 + blocks):
            name, y = f"{at}.{block}.conv_block", x
            for number in (1, 2):
                y = _conv_of(state, f"{name}.conv{number}", y, padding=1, groups=y.shape[1])
                y = _conv_of(state, f"{name}.conv{number}pw", y)
                y = _norm(state, f"{name}.bn{number}", y.relu() if number == 1 else y)
            x = (x + y).relu()
        context = 4 + blocks
        if index == 0:
            mean, var = (state[f"{at}.5.1.running_{which}"] for which in ("mean", "var"))
            x = _conv_of(state, f"{at}.5.0", x)
            x = F.batch_norm(x, mean, var, state[f"{at}.5.1.weight"], state[f"{at}.5.1.bias"], eps=1e-6)
            context += 1
        x = _context(state, f"{at}.{context}", x.transpose(1, 2).flatten(1, 2))
        maps.append(_grouped(f"{at}.{context + 2}", x.repeat_interleave(every, 2)))
        channels *= stride[0]
    x = _sum("backbone.fin_wght1d.w", maps).unflatten(1, (-1, channels)).transpose(1, 2)
    x = _conv_of(state, "backbone.head", x).flatten(1, 2)
    seen = [x, x.mean(2, keepdim=True).expand_as(x), (x.var(2, keepdim=True) + 1e-7).sqrt().expand_as(x)]
    weights = _conv_of(state, "pool.linear2", _conv_of(state, "pool.linear1", torch.cat(seen, 1)).tanh()).softmax(2)
    mean, variance = _moments(x, weights)
    pooled = torch.cat([mean, variance.clamp_min(1e-7).sqrt()], 1)[:, :, 0]
    return _linear(state, "linear", _norm(state, "bn", pooled))


FORWARD = {
    "campplus": _forward_campplus,
    "wespeaker_resnet34": _forward_resnet34,
    "wespeaker_ecapa": _forward_wespeaker_ecapa,
    "taoruijie_ecapa": _forward_taoruijie_ecapa,
    "speechbrain_ecapa": _forward_speechbrain_ecapa,
    "eres2netv2": _forward_eres2netv2,
    "redimnet2": _forward_redimnet2,
}
