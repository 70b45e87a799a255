"""ERes2NetV2: published sizes, a forward pass spelt out with torch's own layers, utterances of any length, refusals."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ham.backbones import build
from ham.backbones.eres2netv2 import ERes2NetV2, Fusion, Res2Block
from ham.errors import ConfigError

SMALL = {"width": 4, "base_width": 48, "scale": 3}


def small(num_mel_bins: int = 19, embedding_dim: int = 7) -> ERes2NetV2:
    """A small one in float64 whose batch normalisations are not those of the beginning."""
    torch.manual_seed(0)
    net = build("eres2netv2", num_mel_bins, embedding_dim, **SMALL).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(5, 60, num_mel_bins).double())
    assert isinstance(net, ERes2NetV2)
    return net.eval()


def test_published_number_of_parameters() -> None:
    with torch.device("meta"):
        backbone = build("eres2netv2", 80, 192)
    assert round(sum(p.numel() for p in backbone.parameters()) / 1e6, 2) == 17.86


def test_published_shapes() -> None:
    with torch.device("meta"):
        shapes = {key: tuple(p.shape) for key, p in ERes2NetV2(80, 192).named_parameters()}
        wide = {
            key: tuple(p.shape)
            for key, p in ERes2NetV2(80, 192, base_width=24, scale=4, expansion=4).named_parameters()
        }
    assert shapes["stem.weight"] == (64, 1, 3, 3)
    assert shapes["blocks.0.first.weight"] == (52, 64, 1, 1)
    assert shapes["blocks.3.parts.1.weight"] == (52, 52, 3, 3)
    assert shapes["blocks.7.fusions.0.squeeze.weight"] == (26, 208, 1, 1)
    assert shapes["blocks.13.shortcut.0.weight"] == (1024, 512, 1, 1)
    assert "blocks.6.fusions.0.squeeze.weight" not in shapes
    assert shapes["reduce.weight"] == (1024, 512, 3, 3)
    assert shapes["fusion.excite.weight"] == (1024, 256, 1, 1)
    assert shapes["embed.weight"] == (192, 2 * 1024 * 10)
    assert wide["blocks.0.last.weight"] == (256, 96, 1, 1)
    assert wide["embed.weight"] == (192, 2 * 2048 * 10)


def fused(module: Fusion, x: Tensor, y: Tensor) -> Tensor:
    hidden = F.silu(module.squeeze_norm(module.squeeze(torch.cat([x, y], 1))))
    weight = 1 + torch.tanh(module.excite_norm(module.excite(hidden)))
    return x * weight + y * (2 - weight)


def strided(conv: nn.Module, x: Tensor, stride: int) -> Tensor:
    assert isinstance(conv, nn.Conv2d)
    return F.conv2d(x, conv.weight, stride=stride)


def residual(module: Res2Block, x: Tensor, stride: int) -> Tensor:
    parts = F.hardtanh(module.first_norm(strided(module.first, x, stride)), 0, 20).chunk(3, 1)
    found: list[Tensor] = []
    for index, part in enumerate(parts):
        joined = part
        if index and len(module.fusions):
            joined = fused(module.fusions[index - 1], found[-1], part)
        elif index:
            joined = found[-1] + part
        found.append(F.hardtanh(module.part_norms[index](module.parts[index](joined)), 0, 20))
    shortcut = x
    if isinstance(module.shortcut, nn.Sequential):
        shortcut = module.shortcut[1](strided(module.shortcut[0], x, stride))
    return F.hardtanh(module.last_norm(module.last(torch.cat(found, 1))) + shortcut, 0, 20)


@pytest.mark.parametrize("num_frames", [9, 64, 93])
def test_forward_equals_the_published_wiring(num_frames: int) -> None:
    net = small()
    x = torch.randn(2, num_frames, 19).double()
    y = net.stem_norm(net.stem(x.mT[:, None])).relu()
    stages, blocks = [], iter(net.blocks)
    for count, stride in ((3, 1), (4, 2), (6, 2), (3, 2)):
        for index in range(count):
            y = residual(next(blocks), y, 1 if index else stride)
        stages.append(y)
    third = F.conv2d(stages[2], net.reduce.weight, stride=2, padding=1)
    maps = fused(net.fusion, stages[3], third).flatten(1, 2)
    pooled = torch.cat([maps.mean(2), maps.var(2).clamp_min(1e-8).sqrt()], 1)
    torch.testing.assert_close(net(x), net.embed(pooled))


def test_very_short_and_long_utterances() -> None:
    net = small()
    with torch.no_grad():
        for num_frames in (1, 2, 5000):
            assert net(torch.randn(1, num_frames, 19).double()).isfinite().all()


def test_long_padding_changes_nothing() -> None:
    net, lengths = small(), [1, 8, 9, 120, 333]
    batch = torch.randn(len(lengths), 400, 19).double()
    with torch.no_grad():
        together = net(batch, torch.tensor(lengths))
        alone = torch.cat([net(row[None, :length]) for row, length in zip(batch, lengths, strict=True)])
    torch.testing.assert_close(together, alone)


def test_a_traced_graph_takes_other_lengths() -> None:
    net, open_ended = small(), torch.export.Dim.DYNAMIC
    with torch.no_grad():
        program = torch.export.export(
            net, (torch.randn(2, 99, 19).double(),), dynamic_shapes=({0: open_ended, 1: open_ended},), strict=False
        )
        graph = program.module(check_guards=False)
        for num_frames in (9, 30, 101):
            features = torch.randn(3, num_frames, 19).double()
            torch.testing.assert_close(graph(features), net(features))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"scale": 0}, "scale: expected a whole number of at least 1, found 0"),
        ({"base_width": "26"}, "base_width: expected a whole number of at least 1, found '26'"),
        ({"pooling": "max"}, "pooling: expected one of mean, statistics, attentive, factorised_attention, found 'max'"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"backbone eres2netv2: {sentence}"):
        build("eres2netv2", 80, 192, **options)
