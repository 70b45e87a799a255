"""ECAPA-TDNN: published sizes, and a forward pass spelt out in (B, C, T) with torch's own layers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ham.backbones import build
from ham.backbones.ecapa_tdnn import VARIANTS, EcapaTdnn, FrameConv, FrameLayer, SERes2Block, reflected
from ham.errors import ConfigError


@pytest.mark.parametrize(("channels", "millions"), [(1024, 15.44), (512, 6.98)])
def test_published_number_of_parameters(channels: int, millions: float) -> None:
    with torch.device("meta"):
        backbone = build("ecapa_tdnn", 80, 192, channels=channels)
    assert round(sum(p.numel() for p in backbone.parameters()) / 1e6, 2) == millions


def test_published_shapes() -> None:
    with torch.device("meta"):
        backbone = EcapaTdnn(80, 192)
    shapes = {key: tuple(p.shape) for key, p in backbone.named_parameters()}
    assert shapes["first.transform.weight"] == (1024, 80, 5)
    assert shapes["blocks.2.parts.6.transform.weight"] == (128, 128, 3)
    assert "blocks.0.parts.7.transform.weight" not in shapes
    assert shapes["blocks.0.excitation.squeeze.weight"] == (128, 1024)
    assert shapes["aggregate.weight"] == (1536, 3072)
    assert shapes["pooling.hidden.weight"] == (256, 4608)
    assert shapes["pooled_norm.weight"] == (3072,)
    assert shapes["embed.weight"] == (192, 3072)
    assert [block.parts[0].transform.dilation for block in backbone.blocks] == [(2,), (3,), (4,)]  # type: ignore[union-attr,index]


@pytest.mark.parametrize(("kernel", "dilation"), [(5, 1), (3, 2), (3, 4)])
def test_frame_conv_equals_conv1d(kernel: int, dilation: int) -> None:
    conv = FrameConv(6, 8, kernel, dilation).double()
    x = torch.randn(3, 11, 6).double()
    expected = F.conv1d(x.mT, conv.weight, conv.bias, padding=dilation * (kernel // 2), dilation=dilation).mT
    torch.testing.assert_close(conv(x), expected)


@pytest.mark.parametrize("reach", [2, 4])
def test_reflection_equals_torch_s_at_every_length(reach: int) -> None:
    lengths = (11, 7, 5)
    x = torch.randn(3, 11, 2)
    padded = (torch.arange(11) >= torch.tensor(lengths)[:, None])[:, :, None]
    expected = [F.pad(row[:n].mT, (reach, reach), mode="reflect").mT for row, n in zip(x, lengths, strict=True)]
    found = reflected(x, padded, reach)
    assert torch.equal(reflected(x[:1], None, reach)[0], expected[0])
    for row, one, n in zip(found, expected, lengths, strict=True):
        assert torch.equal(row[: n + 2 * reach], one)


def test_reflection_of_few_frames_goes_to_and_fro() -> None:
    x = torch.arange(3.0)[None, :, None]
    assert reflected(x, None, 4).flatten().tolist() == [0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2]
    assert reflected(x[:, 1:2], None, 2).flatten().tolist() == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("pooling", ["attentive", "factorised_attention"])
def test_padding_changes_nothing_in_any_variant(variant: str, pooling: str) -> None:
    torch.manual_seed(0)
    options = {"scale": 4, "se_channels": 8, "mfa_channels": 24, "attention_channels": 8}
    backbone = build("ecapa_tdnn", 10, 6, variant=variant, channels=16, pooling=pooling, **options)
    backbone(torch.randn(6, 33, 10)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())
    backbone.eval()
    lengths = torch.tensor([1, 2, 3, 5, 8, 20])
    batch = torch.full((6, 24, 10), float("nan"))
    for row, length in zip(batch, lengths, strict=True):
        row[:length] = torch.randn(length, 10)
    found = backbone(batch, lengths)
    for row, length, embedding in zip(batch, lengths, found, strict=True):
        torch.testing.assert_close(embedding, backbone(row[None, :length])[0], rtol=1e-4, atol=1e-5)


def layer(module: FrameLayer, x: Tensor) -> Tensor:
    """ReLU before batch normalisation, on (B, C, T)."""
    map_ = module.transform
    if isinstance(map_, FrameConv):
        y = F.conv1d(x, map_.weight, map_.bias, padding=map_.reach, dilation=map_.spread)
    else:
        y = F.conv1d(x, map_.weight[:, :, None], map_.bias)
    norm = module.norm
    return F.batch_norm(y.relu(), norm.running_mean, norm.running_var, norm.weight, norm.bias)


def block(module: SERes2Block, x: Tensor) -> Tensor:
    parts = list(layer(module.first, x).chunk(len(module.parts) + 1, 1))
    for i, part in enumerate(module.parts):
        assert isinstance(part, FrameLayer)
        parts[i] = layer(part, parts[i] + parts[i - 1] if i else parts[i])
    y = layer(module.last, torch.cat(parts, 1))
    gate = module.excitation
    return x + y * torch.sigmoid(gate.excite(gate.squeeze(y.mean(2)).relu()))[:, :, None]


def test_forward_equals_the_published_wiring() -> None:
    torch.manual_seed(0)
    net = EcapaTdnn(10, 7, channels=24, scale=4, se_channels=5, mfa_channels=18, attention_channels=6).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    net(torch.randn(5, 20, 10).double())
    net.eval()
    x = torch.randn(3, 15, 10).double()
    y0 = layer(net.first, x.mT)
    first, second, third = net.blocks
    assert isinstance(first, SERes2Block)
    assert isinstance(second, SERes2Block)
    assert isinstance(third, SERes2Block)
    y1 = block(first, y0)
    y2 = block(second, y0 + y1)
    y3 = block(third, y0 + y1 + y2)
    frames = net.aggregate(torch.cat((y1, y2, y3), 1).mT).relu()
    expected = net.embedding_norm(net.embed(net.pooled_norm(net.pooling(frames))))
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"channels": 100}, "channels: expected a multiple of scale 8, found 100; 96 is one"),
        ({"scale": 1}, "scale: expected a whole number of at least 2, found 1"),
        ({"dilations": []}, r"dilations: expected a list of whole numbers such as \[2, 3, 4\]"),
        ({"dilations": [2, 0]}, r"dilations\[1\]: expected a whole number of at least 1, found 0"),
        ({"mfa_channels": "384"}, "mfa_channels: expected a whole number of at least 1, found '384'"),
        ({"se_channels": True}, "se_channels: expected a whole number"),
        ({"variant": "wespeeker"}, "variant: expected one of published, wespeaker, speechbrain, found 'wespeeker'"),
        ({"pooling": "max"}, "pooling: expected one of mean, statistics, attentive, factorised_attention, found"),
        ({"global_context": 1}, "global_context: expected true or false, found 1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"backbone ecapa_tdnn: {sentence}"):
        build("ecapa_tdnn", 80, 192, **options)


def test_blocks_as_many_as_dilations() -> None:
    net = EcapaTdnn(10, 7, channels=16, dilations=[1, 2], se_channels=4, mfa_channels=8, attention_channels=4)
    assert len(net.blocks) == 2
    assert net(torch.randn(2, 9, 10)).shape == (2, 7)
