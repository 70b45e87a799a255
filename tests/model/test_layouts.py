"""Layouts of public models: every weight of a network has one name there, and its output is that of their wiring."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ham.model.build import build_backbone, build_frontend
from ham.model.imported import compare, there
from ham.model.layouts import LAYOUTS
from tests.public_models import campplus, wespeaker_resnet34

FILES = {"campplus": campplus, "wespeaker_resnet34": wespeaker_resnet34}
"""What makes a file of each layout."""


def test_every_layout_is_tested() -> None:
    assert FILES.keys() == LAYOUTS.keys()


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_tensor_has_its_place(name: str) -> None:
    tensors = FILES[name]()
    found = compare(LAYOUTS[name], tensors)
    assert found.whole, str(found)
    names = there(LAYOUTS[name], found.backbone)
    assert sorted([*names.values(), *found.left_out]) == sorted(tensors)
    assert set(found.left_out) <= {"projection.weight"}
    for own, value in found.backbone.items():
        assert torch.equal(value.flatten(), tensors[names[own]].flatten())
    backbone = build_backbone(found.config)
    backbone.load_state_dict(dict(found.backbone))


def test_campplus_has_937_tensors_and_two_sizes() -> None:
    assert len(campplus()) == 937
    assert compare(LAYOUTS["campplus"], campplus(512)).config.backbone.embedding_dim == 512


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


FORWARD = {"campplus": _forward_campplus, "wespeaker_resnet34": _forward_resnet34}
