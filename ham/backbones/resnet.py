"""ResNet over the time-frequency plane (He et al. 2016) in the manner of wespeaker's recipe."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ham.backbones.base import Backbone
from ham.backbones.pooling import LEAST_VARIANCE
from ham.schema import check_count, check_number

STRIDES = (1, 2, 2, 2)
"""Strides of the four stages, in frequency and in time: three halvings."""

SHORTEST = 9
"""Frames below which an utterance is padded: the last halving then meets 3 frames. On 1 or 2, oneDNN's 3x3 convolution
of stride 2 in bfloat16 reads memory that nobody wrote (seen in torch 2.11)."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch normalisation, and a shortcut.

    Args:
        in_channels: channels of the input.
        channels: channels of the result.
        stride: in frequency and in time.
        time_stride: another one in time; None for the same.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, time_stride: int | None = None) -> None:
        super().__init__()
        self.stride, self.time_stride = stride, stride if time_stride is None else time_stride
        strides = (self.stride, self.time_stride)
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride=strides, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            projection = nn.Conv2d(in_channels, channels, 1, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(channels))

    def forward(self, x: Tensor, padded: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Transform a batch.

        Args:
            x: shape ``(B, C, F, T)``, 0 on padded frames.
            padded: True on frames that do not count, shape ``(B, 1, 1, T)``; None if all do.

        Returns:
            The result, shape ``(B, C', F', T')`` with ``F'`` and ``T'`` divided by their strides and rounded up, 0 on
            padded frames, and the mask of its frames.
        """
        # The stride of the 1x1 convolution is taken here: oneDNN's own writes out of bounds in its backward pass where
        # channels come last and are fewer than 16 (https://github.com/uxlfoundation/oneDNN/issues/6035).
        shortcut = self.shortcut(x[:, :, :: self.stride, :: self.time_stride])
        if padded is not None:
            # Frame t of the result stands on frame t * stride: ceil(length / stride) of them count.
            padded = padded[..., :: self.time_stride]
        y = zero_padded(F.relu(self.norm1(self.conv1(x)), inplace=True), padded)
        y = self.norm2(self.conv2(y)).add_(shortcut)
        return zero_padded(F.relu(y, inplace=True), padded), padded


class ResNet(Backbone):
    """Base of the residual networks; subclasses give ``name`` and ``num_blocks``.

    A 3x3 convolution; four stages of ``width`` times 1, 2, 4, 8 channels; pooling over time of the flattened channel x
    frequency map; one linear map.

    Args:
        num_mel_bins: ``F``.
        embedding_dim: ``D``.
        width: channels of the first stage.
        pooling: one of ``POOLINGS``.
        least_variance: floor of the pooling's variances over time, above 0.
        added_variance: added to those variances before, at least 0; wespeaker's models have 1e-7.

    Attributes:
        num_blocks: blocks of each stage.
    """

    num_blocks: ClassVar[tuple[int, int, int, int]]

    def __init__(
        self, num_mel_bins: int, embedding_dim: int, *, width: int = 32, pooling: str = "statistics",
        least_variance: float = LEAST_VARIANCE, added_variance: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__(num_mel_bins, embedding_dim)
        width = check_count(self._place("width"), width)
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList()
        channels, num_bands = width, self.num_mel_bins
        for stage, (count, stride) in enumerate(zip(self.num_blocks, STRIDES, strict=True)):
            for index in range(count):
                self.blocks.append(BasicBlock(channels, width << stage, stride if index == 0 else 1))
                channels = width << stage
            num_bands = -(-num_bands // stride)
        least_variance = check_number(self._place("least_variance"), least_variance, above=0.0)
        added_variance = check_number(self._place("added_variance"), added_variance, least=0.0)
        self.pooling = self._pooling(
            pooling, channels * num_bands, least_variance=least_variance, added_variance=added_variance
        )
        self.embed = nn.Linear(self.pooling.output_dim, self.embedding_dim)
        # The memory order in which CPUs and tensor cores convolve fastest; state dictionaries do not see it.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _embed(self, features: Tensor, padded: Tensor | None) -> Tensor:
        features, padded = lengthen(features, padded)
        x = features.transpose(1, 2).unsqueeze(1)
        if padded is not None:
            padded = padded.transpose(1, 2).unsqueeze(1)
        x = zero_padded(F.relu(self.stem_norm(self.stem(x)), inplace=True), padded)
        for block in self.blocks:
            x, padded = self._through(block, x, padded)
        frames = x.permute(0, 3, 1, 2).flatten(2)
        pooled = self.pooling(frames, None if padded is None else padded[:, 0].transpose(1, 2))
        return torch.as_tensor(self.embed(pooled))


class ResNet18(ResNet):
    """ResNet over the time-frequency plane, 2-2-2-2 blocks in its four stages."""

    name: ClassVar[str] = "resnet18"
    num_blocks: ClassVar[tuple[int, int, int, int]] = (2, 2, 2, 2)


class ResNet34(ResNet):
    """The same with 3-4-6-3 blocks: 6.6 M parameters as published, at 80 bands and embeddings of 256."""

    name: ClassVar[str] = "resnet34"
    num_blocks: ClassVar[tuple[int, int, int, int]] = (3, 4, 6, 3)


def lengthen(features: Tensor, padded: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Pad features to ``SHORTEST`` frames; what an export computes is the same without.

    Args:
        features: shape ``(B, T, F)``.
        padded: mask.

    Returns:
        Features and the mask that says so; both as they are if there are as many frames.
    """
    missing = 0 if torch.compiler.is_exporting() else SHORTEST - features.shape[1]
    if missing <= 0:
        return features, padded
    if padded is None:
        padded = features.new_zeros((*features.shape[:2], 1), dtype=torch.bool)
    return F.pad(features, (0, 0, 0, missing)), F.pad(padded, (0, 0, 0, missing), value=True)


def zero_padded(x: Tensor, padded: Tensor | None) -> Tensor:
    """Zero the padded frames.

    Args:
        x: shape ``(B, C, F, T)``.
        padded: mask, ``(B, 1, 1, T)``; None if all frames count.
    """
    return x if padded is None else x.masked_fill(padded, 0.0)
