"""ERes2NetV2 (Chen et al. 2024, arXiv 2406.02167): residual blocks whose channels are convolved part by part.

Within a block the parts of the channels build a hierarchy, as in Res2Net: each sees what the part before it found. In
the deeper half of the network attention weighs the two against each other instead of adding them, and at the end the
results of the last two stages. Maps lie as in resnet.py, ``(B, C, F, T)``.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ham.backbones.base import Backbone
from ham.backbones.resnet import STRIDES, lengthen, zero_padded
from ham.schema import check_count

NUM_BLOCKS = (3, 4, 6, 3)
"""Blocks of the four stages."""

FUSING = 2
"""Stage from which on attention joins the parts of a block; the stages before add them."""

CEILING = 20.0
"""No value after a ReLU of a block is larger."""

REDUCTION = 4
"""So many times fewer channels inside the attention than it joins."""

LEAST_VARIANCE = 1e-8
"""Floor of a variance over time, as published."""


def clipped(x: Tensor) -> Tensor:
    """ReLU that ends at ``CEILING``; overwrites its argument."""
    return F.hardtanh(x, 0.0, CEILING, inplace=True)


class Fusion(nn.Module):
    r"""Joins two maps: :math:`(1 + a) x + (1 - a) y` with :math:`a = \tanh(f([x; y]))` in every place.

    Args:
        channels: of each map.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // REDUCTION)
        self.squeeze = nn.Conv2d(2 * channels, hidden, 1)
        self.squeeze_norm = nn.BatchNorm2d(hidden)
        self.excite = nn.Conv2d(hidden, channels, 1)
        self.excite_norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Join two maps ``(B, C, F, T)``."""
        hidden = F.silu(self.squeeze_norm(self.squeeze(torch.cat((x, y), 1))), inplace=True)
        weight = torch.tanh(self.excite_norm(self.excite(hidden)))
        return torch.as_tensor(x * (1 + weight) + y * (1 - weight))


class Res2Block(nn.Module):
    """1x1 convolution, 3x3 convolutions in a hierarchy of ``scale`` parts of its channels, 1x1 convolution, shortcut.

    Args:
        in_channels: channels of the input.
        channels: channels of the result.
        width: channels of a part.
        scale: number of parts.
        stride: in frequency and in time.
        fuses: attention joins a part with the result for the part before it; otherwise their sum.
    """

    def __init__(self, in_channels: int, channels: int, width: int, scale: int, stride: int, *, fuses: bool) -> None:
        super().__init__()
        self.stride = stride
        self.first = nn.Conv2d(in_channels, width * scale, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(width * scale)
        self.parts = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(scale))
        self.part_norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(scale))
        self.fusions = nn.ModuleList(Fusion(width) for _ in range(scale - 1 if fuses else 0))
        self.last = nn.Conv2d(width * scale, channels, 1, bias=False)
        self.last_norm = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor, padded: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Transform a batch; arguments and results as those of :class:`ham.backbones.resnet.BasicBlock`."""
        # A 1x1 convolution with a stride sees no more than this; see BasicBlock for why it is taken here.
        x = x[:, :, :: self.stride, :: self.stride]
        padded = None if padded is None else padded[..., :: self.stride]
        inputs = clipped(self.first_norm(self.first(x))).chunk(len(self.parts), 1)
        outputs: list[Tensor] = []
        for index, (conv, norm) in enumerate(zip(self.parts, self.part_norms, strict=True)):
            part = self._joined(outputs[-1], inputs[index], index) if outputs else inputs[index]
            outputs.append(clipped(norm(conv(zero_padded(part, padded)))))
        y = self.last_norm(self.last(torch.cat(outputs, 1))).add_(self.shortcut(x))
        return zero_padded(clipped(y), padded), padded

    def _joined(self, before: Tensor, part: Tensor, index: int) -> Tensor:
        return self.fusions[index - 1](before, part) if len(self.fusions) else before + part


class ERes2NetV2(Backbone):
    """ERes2NetV2: 17.86 M parameters as published, at 80 bands and embeddings of 192.

    A 3x3 convolution; four stages of ``width`` times 1, 2, 4, 8 channels, times ``expansion`` between blocks; the third
    stage's result through a 3x3 convolution and joined with the fourth's by attention; pooling over time of the
    flattened channel x frequency map; one linear map.

    Args:
        num_mel_bins: ``F``.
        embedding_dim: ``D``.
        width: channels of the first convolution.
        base_width: channels of a part of a block, for every 64 of its stage; 24 in the public model "w24s4ep4".
        scale: parts of the channels in a block; 4 in the public model "w24s4ep4".
        expansion: channels between blocks, for every one of the stage; 4 in the public model "w24s4ep4".
        pooling: one of ``POOLINGS``.
    """

    name: ClassVar[str] = "eres2netv2"

    def __init__(
        self,
        num_mel_bins: int,
        embedding_dim: int,
        *,
        width: int = 64,
        base_width: int = 26,
        scale: int = 2,
        expansion: int = 2,
        pooling: str = "statistics",
    ) -> None:
        super().__init__(num_mel_bins, embedding_dim)
        width = check_count(self._place("width"), width)
        base_width = check_count(self._place("base_width"), base_width)
        scale = check_count(self._place("scale"), scale)
        expansion = check_count(self._place("expansion"), expansion)
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList()
        channels, num_bands = width, self.num_mel_bins
        for stage, (count, stride) in enumerate(zip(NUM_BLOCKS, STRIDES, strict=True)):
            out_channels, part = (width << stage) * expansion, max(1, (width << stage) * base_width // 64)
            for index in range(count):
                step = stride if index == 0 else 1
                self.blocks.append(Res2Block(channels, out_channels, part, scale, step, fuses=stage >= FUSING))
                channels = out_channels
            num_bands = -(-num_bands // stride)
        self.reduce = nn.Conv2d(channels // 2, channels, 3, stride=STRIDES[-1], padding=1, bias=False)
        self.fusion = Fusion(channels)
        self.pooling = self._pooling(pooling, channels * num_bands, least_variance=LEAST_VARIANCE)
        self.embed = nn.Linear(self.pooling.output_dim, self.embedding_dim)
        # As in resnet.py.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _embed(self, features: Tensor, padded: Tensor | None) -> Tensor:
        features, padded = lengthen(features, padded)
        mask = None if padded is None else padded.transpose(1, 2).unsqueeze(1)
        x = features.transpose(1, 2).unsqueeze(1)
        x = third = zero_padded(F.relu(self.stem_norm(self.stem(x)), inplace=True), mask)
        for index, block in enumerate(self.blocks):
            if index == len(self.blocks) - NUM_BLOCKS[-1]:
                third = x
            x, mask = self._through(block, x, mask)
        x = self.fusion(x, self.reduce(third))
        frames = x.permute(0, 3, 1, 2).flatten(2)
        pooled = self.pooling(frames, None if mask is None else mask[:, 0].transpose(1, 2))
        return torch.as_tensor(self.embed(pooled))
