"""ReDimNet2 (Yakovlev and Okhotnikov 2026, arXiv 2603.11841): one map of an utterance, seen as image and as sequence.

Every stage takes the weighted sum of all maps before it as an image, frequencies by frames, for 2-D convolutions; then
the same numbers as a sequence, all frequencies and channels of a frame side by side, for convolutions and attention
over time. Images have fewer frequencies with every stage and as many more channels, so that a frame has as many numbers
throughout. From the third stage on a stage works on every second frame, then on every fourth.

Sequences lie ``(B, T, F C)``, the channels of a frequency side by side; images are the same memory seen as
``(B, C, T, F)``. What the sizes are is read in the authors' code and training recipes (b3, b6) and in wespeaker's
(channels, blocks, expansions and reductions of b0, b1, b2, b4, b5). How ``b0``, ``b1``, ``b2`` and ``b5`` hand their
last image to the pooling is inferred from the published numbers of parameters, and for ``b2`` from those of its file;
that ``b1`` and ``b4`` hand on its channels by frequency, and not the reverse, from their sisters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ham.backbones.base import Backbone
from ham.backbones.pooling import masked_mean, over_frames
from ham.backbones.resnet import zero_padded
from ham.schema import accept, choose

TIME_STRIDES = (1, 1, 2, 1, 2, 1)
"""So many frames of the image before become one, by stage."""

FRAMES = math.prod(TIME_STRIDES)
"""An utterance is cut to a multiple of so many frames; a shorter one is filled up with zeros."""

KERNELS = (7, 19, 31, 59)
"""Frames that the convolutions over time see, one after the other."""

NUM_HEADS = 4
"""Of the attention over time."""

ATTENTION_CHANNELS, LEAST_VARIANCE = 128, 1e-7
"""Of the pooling."""

EPSILON = 1e-6
"""Added to the variances of layer normalisations, and of the batch normalisation at the end of a stage's image part."""


@dataclass(frozen=True)
class Size:
    """Sizes of one of the published networks; what has six numbers has one for each stage.

    Attributes:
        channels: ``C`` of the first image.
        expansions: channels inside the image part of a stage, for every one that comes out of it.
        reductions: so many times fewer numbers a frame has inside the sequence part.
        num_blocks: residual blocks of the image part.
        freq_strides: so many frequencies become one.
        head_channels: channels of the image that is pooled; None for those that it has.
    """

    channels: int
    expansions: tuple[float, ...]
    reductions: tuple[int, ...]
    num_blocks: tuple[int, ...] = (2, 3, 4, 5, 4, 3)
    freq_strides: tuple[int, ...] = (1, 2, 1, 2, 1, 2)
    head_channels: int | None = None


_PLAIN, _WIDE = (2, 1, 1, 1, 1, 1), (4, 3, 2, 1, 1, 1)

SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "b0": Size(12, _PLAIN, (36, 36, 36, 36, 18, 18), head_channels=64),
        "b1": Size(16, _PLAIN, (32, 32, 32, 32, 16, 16)),
        "b2": Size(20, _PLAIN, (40, 30, 30, 20, 20, 10), freq_strides=(1, 2, 1, 3, 1, 2)),
        "b3": Size(24, _WIDE, (24,) * 6),
        "b4": Size(32, _WIDE, (24,) * 6),
        "b5": Size(48, _WIDE, (48, 48, 48, 48, 32, 32), head_channels=256),
        "b6": Size(64, (3, 2, 2, 1, 0.75, 0.5), (64, 64, 48, 48, 32, 24), (3, 4, 5, 5, 4, 3), head_channels=224),
    }
)
"""Every size by its name."""


class ImageConv(nn.Conv2d):
    """Convolution of images ``(B, C, T, F)``; kernel, stride and padding are said frequency first, as published."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve a batch."""
        weight, stride = self.weight.transpose(2, 3), (self.stride[1], self.stride[0])
        # Kernels of more than one frame and frequency are square where they are padded.
        return F.conv2d(x, weight, self.bias, stride, self.padding, groups=self.groups)


class Mix(nn.Linear):
    """Linear map of the channels of images ``(B, C, T, F)`` whose memory is that of a sequence: one matrix product."""

    def forward(self, x: Tensor) -> Tensor:
        """Map a batch."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """Twice a 3x3 convolution within each channel and a linear map of the channels; then the shortcut.

    Args:
        channels: ``C``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = ImageConv(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.mix1 = Mix(channels, channels)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = ImageConv(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.mix2 = Mix(channels, channels)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Transform images ``(B, C, T, F)`` under the mask ``(B, 1, T, 1)``."""
        y = self.norm1(F.relu(self.mix1(self.conv1(zero_padded(x, mask))), inplace=True))
        y = self.norm2(self.mix2(self.conv2(zero_padded(y, mask))))
        return F.relu(y.add_(x), inplace=True)


class ContextConv(nn.Module):
    """A convolution over time within each channel, batch normalisation, GELU, linear map; then the shortcut.

    Args:
        channels: ``C``.
        kernel_size: odd number of frames.
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, kernel_size, padding=kernel_size // 2, groups=channels)
        self.norm = nn.BatchNorm1d(channels)
        self.mix = nn.Linear(channels, channels)

    def forward(self, x: Tensor, padded: Tensor | None) -> Tensor:
        """Transform frames ``(B, T, C)``."""
        y = self.conv((x if padded is None else x.masked_fill(padded, 0.0)).transpose(1, 2)).transpose(1, 2)
        return torch.as_tensor(x + self.mix(F.gelu(over_frames(self.norm, y.contiguous()))))


class Attention(nn.Module):
    """Self-attention of ``NUM_HEADS`` heads and two linear maps, each with its shortcut and then layer normalisation.

    Args:
        channels: ``C``, a multiple of ``NUM_HEADS``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(channels, channels) for _ in range(3))
        self.merge = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels, EPSILON)
        self.hidden = nn.Linear(channels, channels)
        self.out = nn.Linear(channels, channels)
        self.out_norm = nn.LayerNorm(channels, EPSILON)

    def forward(self, x: Tensor, padded: Tensor | None) -> Tensor:
        """Transform frames ``(B, T, C)``; padded ones are not looked at."""
        query, key, value = (
            part(x).reshape(*x.shape[:2], NUM_HEADS, -1).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        mask = None if padded is None else ~padded.mT.unsqueeze(1)
        heads = F.scaled_dot_product_attention(query, key, value, mask)
        x = self.norm(x + self.merge(heads.transpose(1, 2).flatten(2)))
        return torch.as_tensor(self.out_norm(x + self.out(F.gelu(self.hidden(x), approximate="tanh"))))


class Context(nn.Module):
    """The sequence part of a stage: fewer numbers a frame, convolutions and attention over time, as many as before.

    Args:
        frame_dim: numbers of a frame.
        hidden_dim: inside.
    """

    def __init__(self, frame_dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(frame_dim, hidden_dim)
        self.norm = nn.LayerNorm(hidden_dim, EPSILON)
        self.convs = nn.ModuleList(ContextConv(hidden_dim, kernel_size) for kernel_size in KERNELS)
        self.attention = Attention(hidden_dim)
        self.expand = nn.Linear(hidden_dim, frame_dim)

    def forward(self, x: Tensor, padded: Tensor | None) -> Tensor:
        """Transform frames ``(B, T, frame_dim)``."""
        y = self.norm(self.reduce(x))
        for conv in self.convs:
            y = conv(y, padded)
        return torch.as_tensor(x + self.expand(self.attention(y, padded)))


class SequenceNorm(nn.GroupNorm):
    """Group normalisation of sequences ``(B, T, F C)`` over the frames that count, ``C`` groups side by side.

    It is computed in float32 or wider, also under autocast.
    """

    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:
        """Normalise a batch."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        groups = wide.reshape(*x.shape[:2], self.num_groups, -1)
        centred = groups - masked_mean(groups.mean(3), padded)[:, None, :, None]
        variance = masked_mean(centred.square().mean(3), padded)[:, None, :, None]
        normalised = (centred * (variance + self.eps).rsqrt()).flatten(2)
        return torch.addcmul(self.bias, normalised, self.weight)


class Stage(nn.Module):
    """A stage: frequencies and frames of the image are reduced, its blocks; then the sequence part; all frames again.

    Args:
        channels: of the image that comes in.
        num_bands: frequencies of it.
        freq_stride: so many of them become one.
        time_stride: so many frames become one.
        num_blocks: residual blocks.
        expansion: channels inside, for every one of the image that comes out.
        hidden_dim: numbers of a frame inside the sequence part.
        norm: how the result is normalised.
    """

    def __init__(
        self, channels: int, num_bands: int, freq_stride: int, time_stride: int, num_blocks: int, expansion: float,
        hidden_dim: int, norm: SequenceNorm | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.channels, self.time_stride = channels, time_stride
        out_channels = channels * freq_stride
        inside, strides = int(out_channels * expansion), (freq_stride, time_stride)
        self.first = ImageConv(channels, inside, strides, strides, groups=math.gcd(channels, inside))
        self.blocks = nn.ModuleList(ResidualBlock(inside) for _ in range(num_blocks))
        self.last: nn.Module = nn.Identity()
        if expansion != 1:
            self.last = nn.Sequential(Mix(inside, out_channels), nn.BatchNorm2d(out_channels, EPSILON))
        self.context = Context(channels * num_bands, hidden_dim)
        self.norm = norm

    def forward(self, x: Tensor, padded: Tensor | None) -> Tensor:
        """Transform sequences ``(B, T, F C)``, ``T`` a multiple of ``FRAMES``, and so many padded at every end."""
        every = None if padded is None else padded[:, :: self.time_stride]
        mask = None if every is None else every.unsqueeze(1)
        image = self.first(as_image(x, self.channels))
        for block in self.blocks:
            image = block(image, mask)
        y = self.context(as_sequence(self.last(image)), every)
        y = y[:, :, None].expand(-1, -1, self.time_stride, -1).flatten(1, 2)
        return y if self.norm is None else torch.as_tensor(self.norm(y, padded))


class WeightedSum(nn.Module):
    """Sum of maps under weights that every number of a frame has for itself, of sum 1; in the beginning all alike.

    Args:
        num_maps: how many.
        frame_dim: numbers of a frame.
    """

    def __init__(self, num_maps: int, frame_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, num_maps, frame_dim))

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Sum sequences ``(B, T, frame_dim)``."""
        weights = self.weight.softmax(1)[0]
        total = maps[0] * weights[0]
        for index, one in enumerate(maps[1:], 1):
            total = torch.addcmul(total, one.to(total.dtype), weights[index])
        return total


class ReDimNet2(Backbone):
    """ReDimNet2, at 72 bands and embeddings of 192: 1.1, 2.1, 3.6, 4.1, 6.6, 8.9 and 12.3 M parameters as published.

    A 3x3 convolution and layer normalisation; six stages; the weighted sum of all maps; attentive statistics pooling of
    the flattened channel x frequency map with global context; batch normalisation; one linear map. Features are filled
    up to a multiple of 8 bands (12 in ``b2``) with zeros.

    Args:
        num_mel_bins: ``F``.
        embedding_dim: ``D``.
        size: one of ``SIZES``.
        group_norm: normalise the maps that are summed over time, as public models do whose training set has VoxBlink2.
        pooling: one of ``POOLINGS``.
    """

    name: ClassVar[str] = "redimnet2"

    def __init__(
        self, num_mel_bins: int, embedding_dim: int, *, size: str = "b6", group_norm: bool = False,
        pooling: str = "attentive",
    ) -> None:  # fmt: skip
        super().__init__(num_mel_bins, embedding_dim)
        sizes = SIZES[choose(self._place("size"), size, SIZES)]
        normalised = accept(self._place("group_norm"), group_norm, bool)
        channels = sizes.channels
        reduced = math.prod(sizes.freq_strides)
        self.num_bands = -(-self.num_mel_bins // reduced) * reduced
        frame_dim, bands, every = channels * self.num_bands, self.num_bands, 1

        def _norm() -> SequenceNorm | None:
            return SequenceNorm(sizes.channels, frame_dim) if normalised else None

        self.stem = ImageConv(1, channels, 3, padding=1)
        self.stem_norm = nn.LayerNorm(channels, EPSILON)
        self.maps_norm = _norm()
        self.blocks = nn.ModuleList()
        for index, (freq_stride, time_stride) in enumerate(zip(sizes.freq_strides, TIME_STRIDES, strict=True)):
            every *= time_stride
            hidden_dim = max(1, frame_dim // sizes.reductions[index] // NUM_HEADS) * NUM_HEADS
            num_blocks, expansion = sizes.num_blocks[index], sizes.expansions[index]
            stage = Stage(channels, bands, freq_stride, every, num_blocks, expansion, hidden_dim, _norm())
            self.blocks.append(stage)
            channels, bands = channels * freq_stride, bands // freq_stride
        self.sums = nn.ModuleList(WeightedSum(number, frame_dim) for number in range(2, len(self.blocks) + 2))
        self.last_channels = channels
        self.head = nn.Linear(channels, sizes.head_channels) if sizes.head_channels else nn.Identity()
        self.pooling = self._pooling(
            pooling,
            (sizes.head_channels or channels) * bands,
            attention_channels=ATTENTION_CHANNELS,
            normalised=False,
            least_variance=LEAST_VARIANCE,
        )
        self.pooled_norm = nn.BatchNorm1d(self.pooling.output_dim)
        self.embed = nn.Linear(self.pooling.output_dim, self.embedding_dim)

    def _embed(self, features: Tensor, padded: Tensor | None) -> Tensor:
        features, padded = whole_groups(features, padded)
        features = F.pad(features, (0, self.num_bands - self.num_mel_bins))
        image = self.stem(features.unsqueeze(1))
        x = self.stem_norm(image.permute(0, 2, 3, 1)).flatten(2)
        maps = [x if self.maps_norm is None else self.maps_norm(x, padded)]
        x = maps[0]
        for block, weighted in zip(self.blocks, self.sums, strict=True):
            maps.append(self._through(block, x, padded))
            x = weighted(maps)
        image = self.head(x.reshape(*x.shape[:2], -1, self.last_channels))
        pooled = self.pooling(image.transpose(2, 3).flatten(2), padded)
        return torch.as_tensor(self.embed(self.pooled_norm(pooled)))


def as_image(x: Tensor, channels: int) -> Tensor:
    """A sequence ``(B, T, F C)`` seen as images ``(B, C, T, F)``."""
    return x.reshape(*x.shape[:2], -1, channels).permute(0, 3, 1, 2)


def as_sequence(image: Tensor) -> Tensor:
    """Images ``(B, C, T, F)`` seen as a sequence ``(B, T, F C)``."""
    return image.permute(0, 2, 3, 1).flatten(2)


def whole_groups(features: Tensor, padded: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Cut every utterance to a multiple of ``FRAMES`` frames; fill up with zeros one that has fewer.

    Args:
        features: shape ``(B, T, F)``, 0 on padded frames.
        padded: mask.

    Returns:
        Features of a multiple of ``FRAMES`` frames, 0 on padded frames, and the mask.
    """
    num_frames = features.shape[1]
    if padded is None and not torch.compiler.is_exporting() and num_frames >= FRAMES:
        return features[:, : num_frames // FRAMES * FRAMES], None
    if padded is None:
        padded = torch.zeros_like(features[:, :, :1], dtype=torch.bool)
    # In groups, with at least one frame more: a tracer then has one case for all lengths, and sees a multiple.
    groups = F.pad(features, (0, 0, 0, FRAMES)).unfold(1, FRAMES, FRAMES)
    features = groups.transpose(2, 3).flatten(1, 2)
    kept = ((~padded).sum(1, keepdim=True) // FRAMES * FRAMES).clamp_min(FRAMES)
    padded = torch.arange(features.shape[1], device=features.device)[None, :, None] >= kept
    return features.masked_fill(padded, 0.0), padded
