"""ResNet: published sizes, a forward pass spelt out, short utterances, refusals."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ham.backbones import build
from ham.backbones.resnet import SHORTEST, BasicBlock, ResNet18
from ham.errors import ConfigError


def test_published_number_of_parameters() -> None:
    with torch.device("meta"):
        backbone = build("resnet34", 80, 256)
    assert round(sum(p.numel() for p in backbone.parameters()) / 1e6, 1) == 6.6


@pytest.mark.parametrize(("name", "num_convs"), [("resnet18", 1 + 16 + 3), ("resnet34", 1 + 32 + 3)])
def test_published_shapes(name: str, num_convs: int) -> None:
    with torch.device("meta"):
        backbone = build(name, 80, 256)
    convs = [m for m in backbone.modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == num_convs
    assert convs[-1].out_channels == 256
    assert dict(backbone.named_parameters())["embed.weight"].shape == (256, 2 * 256 * 10)


def block(module: BasicBlock, x: Tensor) -> Tensor:
    """A basic block whose 1x1 convolution has the stride itself."""
    y = module.norm2(module.conv2(module.norm1(module.conv1(x)).relu()))
    if isinstance(module.shortcut, nn.Sequential):
        projection, norm = module.shortcut
        x = norm(nn.functional.conv2d(x, projection.weight, stride=module.conv1.stride))  # type: ignore[arg-type]
    return (y + x).relu()


@pytest.mark.parametrize("num_frames", [SHORTEST, 23, 24])
def test_forward_equals_the_published_wiring(num_frames: int) -> None:
    torch.manual_seed(0)
    net = ResNet18(21, 5, width=3).double()
    net(torch.randn(4, 30, 21).double())
    net.eval()
    x = torch.randn(2, num_frames, 21).double()
    y = net.stem_norm(net.stem(x.mT[:, None])).relu()
    for module in net.blocks:
        assert isinstance(module, BasicBlock)
        y = block(module, y)
    assert y.shape == (2, 24, 3, -(-num_frames // 8))
    flat = y.flatten(1, 2)
    deviation = flat.var(2).clamp_min(1e-4).sqrt()
    torch.testing.assert_close(net(x), net.embed(torch.cat([flat.mean(2), deviation], 1)))


@pytest.mark.parametrize("num_frames", [1, 2, 3, 8])
def test_short_utterances_equal_those_without_padding(num_frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = ResNet18(20, 5, width=4)
    net(torch.randn(4, 30, 20))
    net.eval()
    x = torch.randn(3, num_frames, 20)
    padded = net(x)
    monkeypatch.setattr("ham.backbones.resnet.SHORTEST", 0)
    torch.testing.assert_close(padded, net(x), rtol=1e-5, atol=1e-5)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"pooling: expected one of mean, statistics, .*found 'atentive'; did you"):
        build("resnet18", 80, 192, pooling="atentive")
    with pytest.raises(ConfigError, match=r"width: expected a whole number of at least 1, found 8\.5"):
        build("resnet18", 80, 192, width=8.5)
    with pytest.raises(ConfigError, match=r"added_variance: expected a finite number at least 0, found -1e-07"):
        build("resnet18", 80, 192, added_variance=-1e-7)


def test_channels_come_last_through_all_blocks() -> None:
    backbone, orders = build("resnet18", 24, 16, width=4), []
    for one in backbone.blocks:
        one.register_forward_hook(
            lambda _, __, out: orders.append(out[0].is_contiguous(memory_format=torch.channels_last))
        )
    backbone(torch.randn(3, 40, 24))
    assert orders == [True] * 8
