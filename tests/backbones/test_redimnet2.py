"""ReDimNet2: published sizes, a forward pass spelt out in (B, C, F, T), groups of frames, refusals."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ham.backbones import build
from ham.backbones.redimnet2 import SIZES, Context, ReDimNet2, Stage, whole_groups
from ham.errors import ConfigError

BANDS = 24


def small(size: str = "b0", **options: bool) -> ReDimNet2:
    """The smallest, of few bands, in float64, whose normalisations are not those of the beginning."""
    torch.manual_seed(0)
    net = build("redimnet2", BANDS, 7, size=size, **options).double()
    for name, parameter in net.named_parameters():
        if "norm" in name or name.startswith("sums"):
            nn.init.uniform_(parameter, 0.5, 1.5)
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(5, 60, BANDS).double())
    assert isinstance(net, ReDimNet2)
    return net.eval()


@pytest.mark.parametrize(
    ("size", "published", "exact"),
    [
        ("b0", 1.1, 1_114_356),
        ("b1", 2.1, 2_160_336),
        ("b2", 3.6, 3_676_320),  # that of the public file, which has 1,440 more that are not learnt
        ("b3", 4.1, 4_179_848),
        ("b4", 6.6, 6_657_440),
        ("b5", 8.9, 8_955_816),
        ("b6", 12.3, 12_390_176),
    ],
)
def test_published_number_of_parameters(size: str, published: float, exact: int) -> None:
    with torch.device("meta"):
        backbone = build("redimnet2", 72, 192, size=size)
    number = sum(p.numel() for p in backbone.parameters())
    assert number == exact
    assert int(number / 1e5) / 10 == published


def test_every_size_is_tested() -> None:
    assert list(SIZES) == [f"b{number}" for number in range(7)]


def test_published_shapes() -> None:
    with torch.device("meta"):
        shapes = {key: tuple(p.shape) for key, p in ReDimNet2(72, 192, group_norm=True).named_parameters()}
    assert shapes["stem.weight"] == (64, 1, 3, 3)
    assert shapes["maps_norm.weight"] == (4608,)
    assert shapes["blocks.1.first.weight"] == (256, 1, 2, 1)
    assert shapes["blocks.2.first.weight"] == (256, 1, 1, 2)
    assert shapes["blocks.4.first.weight"] == (192, 4, 1, 4)
    assert shapes["blocks.4.last.0.weight"] == (256, 192)
    assert shapes["blocks.0.blocks.2.conv2.weight"] == (192, 1, 3, 3)
    assert shapes["blocks.5.context.convs.3.conv.weight"] == (192, 1, 59)
    assert "blocks.3.last.0.weight" not in shapes
    assert shapes["sums.5.weight"] == (1, 7, 4608)
    assert shapes["head.weight"] == (224, 512)
    assert shapes["pooling.hidden.weight"] == (128, 3 * 224 * 9)
    assert shapes["embed.weight"] == (192, 2 * 224 * 9)


def over_channels(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """Layer normalisation of the second dimension."""
    return norm(x.transpose(1, -1)).transpose(1, -1)


def sequence(module: Context, x: Tensor) -> Tensor:
    """On (B, C, T)."""
    y = over_channels(module.norm, F.conv1d(x, module.reduce.weight[:, :, None], module.reduce.bias))
    for conv in module.convs:
        z = F.gelu(conv.norm(conv.conv(y)))
        y = y + F.conv1d(z, conv.mix.weight[:, :, None], conv.mix.bias)
    attention = module.attention
    y = y.mT
    width = y.shape[2] // 4
    query, key, value = (
        part(y).reshape(*y.shape[:2], 4, width) for part in (attention.query, attention.key, attention.value)
    )
    scores = torch.einsum("bqhc,bkhc->bhqk", query, key) / width**0.5
    y = attention.norm(y + attention.merge(torch.einsum("bhqk,bkhc->bqhc", scores.softmax(3), value).flatten(2)))
    y = attention.out_norm(y + attention.out(F.gelu(attention.hidden(y), approximate="tanh")))
    return x + module.expand(y).mT


def image(module: Stage, x: Tensor, stride: tuple[int, int]) -> Tensor:
    """The part of a stage on (B, C, F, T)."""
    x = F.conv2d(x, module.first.weight, module.first.bias, stride, groups=module.first.groups)
    for block in module.blocks:
        y = F.conv2d(x, block.conv1.weight, padding=1, groups=x.shape[1])
        y = F.conv2d(block.norm1(block.mix1(y).relu()), block.conv2.weight, padding=1, groups=x.shape[1])
        x = (block.norm2(block.mix2(y)) + x).relu()
    return module.last(x)


def flat(x: Tensor) -> Tensor:
    """(B, C, F, T) as (B, F C, T)."""
    return x.transpose(1, 2).flatten(1, 2)


@pytest.mark.parametrize(("num_frames", "size", "group_norm"), [(4, "b0", False), (67, "b2", False), (30, "b0", True)])
def test_forward_equals_the_published_wiring(num_frames: int, size: str, group_norm: bool) -> None:
    net = small(size, group_norm=group_norm)
    x = torch.randn(2, num_frames, BANDS).double()
    y = x.mT[:, None, :, : num_frames // 4 * 4]
    y = F.conv2d(y, net.stem.weight, net.stem.bias, padding=1)
    channels, bands, every = y.shape[1], BANDS, 1

    def _normalised(norm: nn.GroupNorm | None, maps: Tensor) -> Tensor:
        return maps if norm is None else F.group_norm(maps, norm.num_groups, norm.weight, norm.bias)

    maps = [_normalised(net.maps_norm, flat(over_channels(net.stem_norm, y)))]
    total = maps[0]
    for stage, weighted, freq_stride, time_stride in zip(
        net.blocks, net.sums, SIZES[size].freq_strides, (1, 1, 2, 1, 2, 1), strict=True
    ):
        assert isinstance(stage, Stage)
        every *= time_stride
        y = total.reshape(2, bands, channels, -1).transpose(1, 2)
        y = sequence(stage.context, flat(image(stage, y, (freq_stride, every))))
        maps.append(_normalised(stage.norm, y.repeat_interleave(every, 2)))
        weights = weighted.weight.softmax(1)[..., None]
        total = (weights * torch.stack(maps, 1)).sum(1)
        channels, bands = channels * freq_stride, bands // freq_stride
    last = total.reshape(2, bands, channels, -1)
    last = net.head(last.transpose(2, 3)).transpose(2, 3).transpose(1, 2).flatten(1, 2)
    expected = net.embed(net.pooled_norm(net.pooling(last.mT)))
    torch.testing.assert_close(net(x), expected)


@pytest.mark.parametrize("group_norm", [False, True])
def test_what_is_left_of_a_group_changes_nothing(group_norm: bool) -> None:
    net = small(group_norm=group_norm)
    x = torch.randn(1, 31, BANDS).double()
    torch.testing.assert_close(net(x), net(x[:, :28]))
    torch.testing.assert_close(net(x, torch.tensor([30])), net(x[:, :28]))


def test_utterances_below_one_group_are_filled_up() -> None:
    features, padded = torch.ones(3, 3, 2), torch.tensor([[0, 0, 0], [0, 0, 1], [0, 1, 1]]).bool()[:, :, None]
    for frames, mask in (whole_groups(features, None), whole_groups(features.masked_fill(padded, 0), padded)):
        assert mask is not None
        assert frames.shape[1] == 4
        assert not mask.any()
    assert frames.sum((1, 2)).tolist() == [6, 4, 2]
    whole, nothing = whole_groups(torch.ones(3, 11, 2), None)
    assert whole.shape[1] == 8
    assert nothing is None


def test_very_short_and_long_utterances() -> None:
    net = small()
    with torch.no_grad():
        for num_frames in (1, 2, 5000):
            assert net(torch.randn(1, num_frames, BANDS).double()).isfinite().all()


def test_long_padding_changes_nothing() -> None:
    net, lengths = small(group_norm=True), [1, 3, 4, 121, 333]
    batch = torch.randn(len(lengths), 400, BANDS).double()
    with torch.no_grad():
        together = net(batch, torch.tensor(lengths))
        alone = torch.cat([net(row[None, :length]) for row, length in zip(batch, lengths, strict=True)])
    torch.testing.assert_close(together, alone)


def test_bands_are_filled_up_with_zeros() -> None:
    torch.manual_seed(1)
    odd = build("redimnet2", 20, 7, size="b0").eval()
    even = build("redimnet2", 24, 7, size="b0").eval()
    even.load_state_dict(odd.state_dict())
    x = torch.randn(2, 40, 20)
    torch.testing.assert_close(odd(x), even(F.pad(x, (0, 4))))


def test_a_traced_graph_takes_other_lengths() -> None:
    net, open_ended = small(group_norm=True), torch.export.Dim.DYNAMIC
    with torch.no_grad():
        program = torch.export.export(
            net, (torch.randn(2, 99, BANDS).double(),), dynamic_shapes=({0: open_ended, 1: open_ended},), strict=False
        )
        graph = program.module(check_guards=False)
        for num_frames in (4, 30, 101):
            features = torch.randn(3, num_frames, BANDS).double()
            torch.testing.assert_close(graph(features), net(features))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"size": "b7"}, "size: expected one of b0, b1, b2, b3, b4, b5, b6, found 'b7'"),
        ({"group_norm": 1}, "group_norm: expected true or false, found 1"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"backbone redimnet2: {sentence}"):
        build("redimnet2", 80, 192, **options)
