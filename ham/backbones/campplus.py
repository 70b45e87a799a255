"""CAM++ (Wang et al. 2023, arXiv 2303.00332): a densely connected TDNN whose layers mask channels by their context.

Every layer of the TDNN sees what all layers before it in its block found, and adds a few channels to it. What it adds
is masked: a channel counts the more, the better it fits the utterance and the second of speech around it. Frames lie in
the second dimension, channels in the last, ``(B, T, C)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ham.backbones.base import Backbone
from ham.backbones.ecapa_tdnn import FrameConv
from ham.backbones.pooling import masked_mean, over_frames
from ham.backbones.resnet import BasicBlock, zero_padded
from ham.errors import ConfigError
from ham.schema import check_count

SEGMENT = 100
"""Frames of a segment, whose mean is the context of each of its frames: 2 s, as every second frame is left out."""

FIRST_KERNEL, KERNEL = 5, 3
"""Frames that the first convolution of the TDNN sees, and one of a layer, ``DILATIONS`` apart."""

DILATIONS = (1, 2, 2)
"""Of the layers of the three blocks."""

LEAST_VARIANCE = 1e-10
"""Floor of a variance: published is none, with which one frame has no deviation and a constant channel no gradient."""


class Head(nn.Module):
    """Two-dimensional convolutions over time and frequency, which learn what a shift in frequency leaves as it is.

    A 3x3 convolution; two stages of two residual blocks; a 3x3 convolution. Each stage and the last convolution halve
    the frequencies, none the frames.

    Args:
        num_mel_bins: ``F``.
        width: channels of every convolution.

    Attributes:
        output_dim: numbers of a frame of the result, ``width`` times an eighth of the bands, rounded up.
    """

    def __init__(self, num_mel_bins: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.stem_norm = nn.BatchNorm2d(width)
        self.blocks = nn.ModuleList(BasicBlock(width, width, stride, time_stride=1) for stride in (2, 1, 2, 1))
        self.last = nn.Conv2d(width, width, 3, stride=(2, 1), padding=1, bias=False)
        self.last_norm = nn.BatchNorm2d(width)
        self.output_dim = width * -(-num_mel_bins // 8)
        # As in resnet.py.
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, features: Tensor, padded: Tensor | None) -> Tensor:
        """Transform features ``(B, T, F)``, 0 on padded frames, to frames ``(B, T, output_dim)``."""
        mask = None if padded is None else padded.transpose(1, 2).unsqueeze(1)
        x = features.transpose(1, 2).unsqueeze(1)
        x = zero_padded(F.relu(self.stem_norm(self.stem(x)), inplace=True), mask)
        for block in self.blocks:
            x, _ = block(x, mask)
        x = F.relu(self.last_norm(self.last(x)), inplace=True)
        return x.permute(0, 3, 1, 2).flatten(2)


class FrameNorm(nn.BatchNorm1d):
    """Batch normalisation of frames ``(B, T, C)``, then ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a batch of frames."""
        return F.relu(over_frames(super().forward, x), inplace=True)


class ContextMask(nn.Module):
    r"""How much each channel counts, by its context: :math:`\sigma(W_2\,\mathrm{ReLU}(W_1 (m + m_s) + b_1) + b_2)`.

    :math:`m` is the mean over the utterance, :math:`m_s` that over the segment of ``SEGMENT`` frames that the frame is
    in; the last segment has the frames that are left. It is the same for all frames of a segment, and computed once.

    Args:
        in_channels: channels that the context is taken of.
        out_channels: channels that are masked.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(in_channels, max(1, in_channels // 2))
        self.excite = nn.Linear(max(1, in_channels // 2), out_channels)

    def forward(self, x: Tensor, padded: Tensor | None) -> Tensor:
        """Masks ``(B, T, out_channels)``, each in 0..1, for frames ``(B, T, in_channels)``."""
        context = masked_mean(x, padded)[:, None] + segment_means(x, padded)
        mask = torch.sigmoid(self.excite(F.relu(self.squeeze(context), inplace=True)))
        return mask[:, torch.arange(x.shape[1], device=x.device) // SEGMENT]


def segment_means(x: Tensor, padded: Tensor | None) -> Tensor:
    """Means over segments of ``SEGMENT`` frames, side by side, of the frames that count.

    Args:
        x: finite, shape ``(B, T, C)``.
        padded: True on frames that do not count, ``(B, T, 1)``; None if all do.

    Returns:
        Shape ``(B, T // SEGMENT + 1, C)``; 0 where none of a segment's frames counts, as in a last one that is empty.
    """
    counted = x.new_ones(1, x.shape[1], 1) if padded is None else (~padded).to(x.dtype)
    sums = _segments(x if padded is None else x.masked_fill(padded, 0.0)).sum(2)
    return sums / _segments(counted).sum(2).clamp_min(1)


def _segments(x: Tensor) -> Tensor:
    """Frames ``(B, T, C)`` by segment, filled up with at least one zero: one segment is a special case to a tracer."""
    missing = SEGMENT - x.shape[1] % SEGMENT
    return F.pad(x, (0, 0, 0, missing)).reshape(x.shape[0], -1, SEGMENT, x.shape[2])


class DenseLayer(nn.Module):
    """A layer of a block: its channels through a narrow layer, then a convolution over time under a context mask.

    Args:
        in_channels: channels of a frame, of the block's input and all layers before.
        growth: channels that come out.
        bottleneck: channels of the narrow layer.
        dilation: distance of the frames that the convolution sees.
    """

    def __init__(self, in_channels: int, growth: int, bottleneck: int, dilation: int) -> None:
        super().__init__()
        self.norm = FrameNorm(in_channels)
        self.narrow = nn.Linear(in_channels, bottleneck, bias=False)
        self.narrow_norm = FrameNorm(bottleneck)
        self.local = FrameConv(bottleneck, growth, KERNEL, dilation, bias=False)
        self.mask = ContextMask(bottleneck, growth)

    def forward(self, x: Tensor, padded: Tensor | None) -> Tensor:
        """Frames ``(B, T, growth)`` of frames ``(B, T, in_channels)``."""
        narrow = self.narrow_norm(self.narrow(self.norm(x)))
        return torch.as_tensor(self.local(narrow, padded) * self.mask(narrow, padded))


class DenseBlock(nn.Module):
    """Layers that each take what the block was given and what all of them found before; then half the channels.

    Args:
        in_channels: channels of a frame.
        num_layers: how many.
        growth: channels that each adds.
        bottleneck: see :class:`DenseLayer`.
        dilation: likewise.

    Attributes:
        output_dim: channels of a frame of the result.
    """

    def __init__(self, in_channels: int, num_layers: int, growth: int, bottleneck: int, dilation: int) -> None:
        super().__init__()
        widths = [in_channels + growth * index for index in range(num_layers + 1)]
        self.layers = nn.ModuleList(DenseLayer(width, growth, bottleneck, dilation) for width in widths[:-1])
        self.output_dim = widths[-1] // 2
        self.norm = FrameNorm(widths[-1])
        self.halve = nn.Linear(widths[-1], self.output_dim, bias=False)

    def forward(self, x: Tensor, padded: Tensor | None) -> Tensor:
        """Frames ``(B, T, output_dim)`` of frames ``(B, T, in_channels)``."""
        for layer in self.layers:
            x = torch.cat((x, layer(x, padded)), 2)
        return torch.as_tensor(self.halve(self.norm(x)))


class CamPlusPlus(Backbone):
    """CAM++: 7.18 M parameters as published, at 80 bands and embeddings of 512; 6.85 M at embeddings of 192.

    A head of two-dimensional convolutions; a convolution over 5 frames that keeps every second one; three densely
    connected blocks; mean and standard deviation over time; a linear map and a batch normalisation without weights.

    Args:
        num_mel_bins: ``F``.
        embedding_dim: ``D``.
        width: channels of the head.
        channels: channels of the first convolution over time.
        layers: how many the three blocks have.
        growth: channels that each layer adds.
        bottleneck: channels of the narrow layer in each.
        pooling: one of ``POOLINGS``.
    """

    name: ClassVar[str] = "campplus"

    def __init__(
        self,
        num_mel_bins: int,
        embedding_dim: int,
        *,
        width: int = 32,
        channels: int = 128,
        layers: Sequence[int] = (12, 24, 16),
        growth: int = 32,
        bottleneck: int = 128,
        pooling: str = "statistics",
    ) -> None:
        super().__init__(num_mel_bins, embedding_dim)
        channels = check_count(self._place("channels"), channels)
        growth = check_count(self._place("growth"), growth)
        bottleneck = check_count(self._place("bottleneck"), bottleneck)
        self.head = Head(self.num_mel_bins, check_count(self._place("width"), width))
        self.first = FrameConv(self.head.output_dim, channels, FIRST_KERNEL, step=2, bias=False)
        self.first_norm = FrameNorm(channels)
        self.blocks = nn.ModuleList()
        for number, dilation in zip(self._check_layers(layers), DILATIONS, strict=True):
            block = DenseBlock(channels, number, growth, bottleneck, dilation)
            self.blocks.append(block)
            channels = block.output_dim
        self.last_norm = FrameNorm(channels)
        self.pooling = self._pooling(pooling, channels, least_variance=LEAST_VARIANCE)
        self.embed = nn.Linear(self.pooling.output_dim, self.embedding_dim, bias=False)
        self.embedding_norm = nn.BatchNorm1d(self.embedding_dim, affine=False)
        for module in self.modules():
            # On meta, where nothing is drawn, normal_() would load torch's compiler: 2 s.
            if isinstance(module, (nn.Conv1d, nn.Linear)) and not module.weight.is_meta:
                nn.init.kaiming_normal_(module.weight)

    def _embed(self, features: Tensor, padded: Tensor | None) -> Tensor:
        x = self.first(self.head(features, padded), padded)
        # Frame t stands on frame 2 t of before: ceil(length / 2) of them count.
        padded = None if padded is None else padded[:, ::2]
        x = self.first_norm(x)
        for block in self.blocks:
            x = self._through(block, x, padded)
        pooled = self.pooling(self.last_norm(x), padded)
        return torch.as_tensor(self.embedding_norm(self.embed(pooled)))

    def _check_layers(self, layers: object) -> tuple[int, ...]:
        if not isinstance(layers, (list, tuple)) or len(layers) != len(DILATIONS):
            expected = "expected a list of three whole numbers such as [12, 24, 16], one for each block"
            raise ConfigError(f"{self._place('layers')}: {expected}, found {layers!r}")
        return tuple(check_count(self._place(f"layers[{i}]"), number) for i, number in enumerate(layers))
