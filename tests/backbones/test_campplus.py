"""CAM++: published sizes, a forward pass spelt out in (B, C, T) with torch's own layers, padding, a traced graph."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ham.backbones import build
from ham.backbones.campplus import CamPlusPlus, DenseBlock, DenseLayer, FrameNorm, segment_means
from ham.errors import ConfigError

SMALL = {"width": 3, "channels": 16, "layers": [2, 1, 2], "growth": 8, "bottleneck": 12}


def small(num_mel_bins: int = 21, embedding_dim: int = 7) -> CamPlusPlus:
    """A small one in float64 whose batch normalisations are not those of the beginning."""
    torch.manual_seed(0)
    net = build("campplus", num_mel_bins, embedding_dim, **SMALL).double()
    for module in net.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    for _ in range(10):
        net(torch.randn(5, 60, num_mel_bins).double())
    assert isinstance(net, CamPlusPlus)
    return net.eval()


def test_published_number_of_parameters() -> None:
    with torch.device("meta"):
        backbone = build("campplus", 80, 512)
    assert round(sum(p.numel() for p in backbone.parameters()) / 1e6, 2) == 7.18


def test_published_shapes() -> None:
    with torch.device("meta"):
        shapes = {key: tuple(p.shape) for key, p in CamPlusPlus(80, 192).named_parameters()}
    assert shapes["head.stem.weight"] == (32, 1, 3, 3)
    assert shapes["head.blocks.2.shortcut.0.weight"] == (32, 32, 1, 1)
    assert "head.blocks.1.shortcut.0.weight" not in shapes
    assert shapes["first.weight"] == (128, 320, 5)
    assert shapes["blocks.1.layers.23.narrow.weight"] == (128, 256 + 23 * 32)
    assert shapes["blocks.2.layers.15.local.weight"] == (32, 128, 3)
    assert shapes["blocks.0.layers.0.mask.squeeze.weight"] == (64, 128)
    assert shapes["blocks.2.halve.weight"] == (512, 1024)
    assert shapes["embed.weight"] == (192, 1024)
    assert not any(key.startswith("embedding_norm") for key in shapes)


def norm(module: FrameNorm, x: Tensor) -> Tensor:
    """Batch normalisation and ReLU on (B, C, T)."""
    return F.batch_norm(x, module.running_mean, module.running_var, module.weight, module.bias).relu()


def dense(module: DenseLayer, x: Tensor, dilation: int) -> Tensor:
    narrow = norm(module.narrow_norm, F.conv1d(norm(module.norm, x), module.narrow.weight[:, :, None]))
    local = F.conv1d(narrow, module.local.weight, padding=dilation, dilation=dilation)
    means = F.avg_pool1d(narrow, 100, 100, ceil_mode=True).repeat_interleave(100, 2)[:, :, : narrow.shape[2]]
    context = (narrow.mean(2, keepdim=True) + means).mT
    return local * torch.sigmoid(module.mask.excite(module.mask.squeeze(context).relu())).mT


@pytest.mark.parametrize("num_frames", [2, 199, 200, 201, 415])
def test_forward_equals_the_published_wiring(num_frames: int) -> None:
    net = small()
    x = torch.randn(2, num_frames, 21).double()
    y = net.head.stem_norm(net.head.stem(x.mT[:, None])).relu()
    for block in net.head.blocks:
        inner = block.norm1(block.conv1(y)).relu()  # type: ignore[operator]
        projected = y
        if isinstance(block.shortcut, nn.Sequential):
            weight = block.shortcut[0].weight
            projected = block.shortcut[1](F.conv2d(y, weight, stride=(2, 1)))  # type: ignore[arg-type]
        y = (block.norm2(block.conv2(inner)) + projected).relu()  # type: ignore[operator]
    y = net.head.last_norm(net.head.last(y)).relu()
    assert y.shape == (2, 3, 3, num_frames)
    y = norm(net.first_norm, F.conv1d(y.flatten(1, 2), net.first.weight, padding=2, stride=2))
    for block, dilation in zip(net.blocks, (1, 2, 2), strict=True):
        assert isinstance(block, DenseBlock)
        for layer in block.layers:
            assert isinstance(layer, DenseLayer)
            y = torch.cat([y, dense(layer, y, dilation)], 1)
        y = F.conv1d(norm(block.norm, y), block.halve.weight[:, :, None])
    y = norm(net.last_norm, y)
    deviation = y.std(2) if y.shape[2] > 1 else torch.full_like(y[:, :, 0], 1e-5)
    expected = net.embedding_norm(net.embed(torch.cat([y.mean(2), deviation.clamp_min(1e-5)], 1)))
    torch.testing.assert_close(net(x), expected)


def test_padding_changes_nothing_over_several_segments() -> None:
    net, lengths = small(), [1, 150, 200, 201, 399, 400, 403, 700]
    batch = torch.randn(len(lengths), 720, 21).double()
    with torch.no_grad():
        together = net(batch, torch.tensor(lengths))
        alone = torch.cat([net(row[None, :length]) for row, length in zip(batch, lengths, strict=True)])
    torch.testing.assert_close(together, alone)


def test_segments_have_the_frames_that_are_left() -> None:
    x = torch.arange(230.0)[None, :, None].repeat(2, 1, 1)
    padded = (torch.arange(230) >= torch.tensor([[230], [120]]))[:, :, None]
    found = segment_means(x, padded)[:, :, 0]
    assert found.tolist() == [[49.5, 149.5, 214.5], [49.5, 109.5, 0.0]]
    assert torch.equal(segment_means(x[:1], None)[:, :, 0], found[:1])


def test_very_short_and_long_utterances() -> None:
    net = small()
    with torch.no_grad():
        for num_frames in (1, 2, 5000):
            assert net(torch.randn(1, num_frames, 21).double()).isfinite().all()


def test_a_traced_graph_takes_other_lengths() -> None:
    net = small()
    open_ended = torch.export.Dim.DYNAMIC
    with torch.no_grad():
        program = torch.export.export(
            net, (torch.randn(2, 199, 21).double(),), dynamic_shapes=({0: open_ended, 1: open_ended},), strict=False
        )
        graph = program.module(check_guards=False)
        for num_frames in (30, 200, 415):
            features = torch.randn(3, num_frames, 21).double()
            torch.testing.assert_close(graph(features), net(features))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"layers": [12, 24]}, r"layers: expected a list of three whole numbers such as \[12, 24, 16\]"),
        ({"layers": [12, 0, 16]}, r"layers\[1\]: expected a whole number of at least 1, found 0"),
        ({"growth": "32"}, "growth: expected a whole number of at least 1, found '32'"),
        ({"width": 0}, "width: expected a whole number of at least 1, found 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"backbone campplus: {sentence}"):
        build("campplus", 80, 192, **options)
