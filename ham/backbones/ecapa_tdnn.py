"""ECAPA-TDNN (Desplanques et al. 2020) as the HAM-Softmax recipe, wespeaker or SpeechBrain train it.

All have ReLU before every batch normalisation; ``VARIANTS`` has what they do differently. The release of the recipe
lacks its own model.py: ``published`` is the network of the code that it builds on, TaoRuijie's ECAPA-TDNN; that the
release has the same is inferred, not read.

Frames lie in the second dimension, channels in the last, ``(B, T, C)``: a 1x1 convolution is then one matrix product
and batch normalisation reads memory in order, 1.1 (float32) to 1.3 times (bfloat16) as fast on a CPU as ``(B, C, T)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ham.backbones.base import Backbone
from ham.backbones.pooling import LEAST_VARIANCE, masked_mean, over_frames
from ham.errors import ConfigError
from ham.schema import accept, check_count, choose

FIRST_KERNEL = 5
"""Frames that the first convolution sees."""

BLOCK_KERNEL = 3
"""Frames that a convolution of a block sees, ``dilation`` apart."""


@dataclass(frozen=True)
class Variant:
    """What an implementation of ECAPA-TDNN does its own way.

    Attributes:
        sums: a block takes the sum of everything before it; otherwise what the block before it gives.
        reflects: beyond its ends an utterance goes on as its mirror image; otherwise as zeros.
        passes_first: of the parts of a block's channels the first passes as it is; otherwise the last.
        aggregate_norm: batch normalisation after the layer that aggregates the blocks.
        attention_norm: ReLU and batch normalisation before the hyperbolic tangent in the attention.
        embedding_norm: batch normalisation of the embedding.
        population: see :class:`ham.backbones.pooling.AttentiveStatisticsPooling`.
        least_variance: floor of the pooling's variances.
    """

    sums: bool = False
    reflects: bool = False
    passes_first: bool = False
    aggregate_norm: bool = False
    attention_norm: bool = True
    embedding_norm: bool = False
    population: bool = False
    least_variance: float = LEAST_VARIANCE


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "published": Variant(sums=True, embedding_norm=True),
        "wespeaker": Variant(attention_norm=False, least_variance=1e-7),
        "speechbrain": Variant(
            reflects=True, passes_first=True, aggregate_norm=True, population=True, least_variance=1e-12
        ),
    }
)
"""Every variant by its name; their sizes are options."""


class FrameConv(nn.Conv1d):
    """Convolution over time of ``(B, T, C)``, one frame out for each in; padded frames and both ends count as zeros.

    Args:
        in_channels: channels of a frame.
        out_channels: channels of a frame of the result.
        kernel_size: odd number of frames.
        dilation: distance of these frames.
        step: only every so manieth frame comes out, from the first on.
        bias: whether a bias is added.
        reflects: both ends go on as :func:`reflected` has it, not as zeros.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1, *, step: int = 1,
        bias: bool = True, reflects: bool = False,
    ) -> None:  # fmt: skip
        reach = dilation * (kernel_size // 2)
        super().__init__(in_channels, out_channels, kernel_size, step, 0 if reflects else reach, dilation, bias=bias)
        self.reach, self.spread, self.step, self.reflects = reach, dilation, step, reflects

    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:
        """Convolve a batch.

        Args:
            x: shape ``(B, T, in_channels)``.
            padded: True on frames that do not count, ``(B, T, 1)``; None if all do.

        Returns:
            Shape ``(B, ceil(T / step), out_channels)``.
        """
        if self.reflects:
            x = reflected(x, padded, self.reach)
        elif padded is not None:
            x = x.masked_fill(padded, 0.0)
        # Seen as an image of height 1 this memory is "channels last", which has kernels of its own.
        image = x.transpose(1, 2).unsqueeze(2)
        weight = self.weight.unsqueeze(2)
        y = F.conv2d(image, weight, self.bias, (1, self.step), (0, *self.padding), (1, self.spread))
        return y.squeeze(2).transpose(1, 2)


def reflected(x: Tensor, padded: Tensor | None, reach: int) -> Tensor:
    """Lengthen every utterance at both of its ends by its mirror image, the frame at the end not repeated.

    Args:
        x: shape ``(B, T, C)``.
        padded: mask.
        reach: frames to add at each end; where an utterance has fewer it goes to and fro, and one frame is repeated.

    Returns:
        Shape ``(B, T + 2 reach, C)``; what follows the addition at an utterance's end is of its frames too.
    """
    frames = torch.arange(-reach, x.shape[1] + reach, device=x.device)
    last = frames[-1:] - reach if padded is None else (~padded).sum(1) - 1
    there_and_back = frames.abs() % (2 * last).clamp_min(1)
    source = torch.minimum(there_and_back, 2 * last - there_and_back)
    if padded is None:
        return x[:, source]
    return torch.take_along_dim(x, source[:, :, None], 1)


class FrameLayer(nn.Module):
    """A map from frames to frames, ReLU, batch normalisation.

    Args:
        transform: linear map or convolution.
        out_channels: channels of its result.
    """

    def __init__(self, transform: nn.Linear | FrameConv, out_channels: int) -> None:
        super().__init__()
        self.transform = transform
        self.norm = nn.BatchNorm1d(out_channels)

    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:
        """Transform a batch.

        Args:
            x: shape ``(B, T, C)``.
            padded: mask; a linear map has no use for it.

        Returns:
            Shape ``(B, T, out_channels)``.
        """
        y: Tensor = self.transform(x, padded) if isinstance(self.transform, FrameConv) else self.transform(x)
        return over_frames(self.norm, F.relu(y, inplace=True))


class SqueezeExcitation(nn.Module):
    """Scales each channel by a factor in 0..1 that depends on the channels' means over time (Hu et al. 2018).

    Args:
        channels: ``C``.
        se_channels: width of the hidden layer.
    """

    def __init__(self, channels: int, se_channels: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, se_channels)
        self.excite = nn.Linear(se_channels, channels)

    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:
        """Factors of a batch.

        Args:
            x: shape ``(B, T, C)``.
            padded: mask.

        Returns:
            Shape ``(B, 1, C)``.
        """
        return torch.sigmoid(self.excite(F.relu(self.squeeze(masked_mean(x, padded)))))[:, None]


class SERes2Block(nn.Module):
    """1x1 layer, convolutions in a hierarchy of ``scale`` parts of the channels, 1x1 layer, factors, shortcut.

    Part k of the first layer's output is added to the result for part k - 1 before its convolution (Gao et al. 2019);
    one part passes as it is, the last or the first.

    Args:
        channels: ``C``.
        dilation: distance of the frames that a convolution sees.
        scale: number of parts.
        se_channels: width of the squeeze-excitation.
        variant: one of ``VARIANTS``.
    """

    def __init__(self, channels: int, dilation: int, scale: int, se_channels: int, variant: Variant) -> None:
        super().__init__()
        self.width, self.passes_first = channels // scale, variant.passes_first
        self.first = FrameLayer(nn.Linear(channels, channels), channels)
        self.parts = nn.ModuleList(
            FrameLayer(FrameConv(self.width, self.width, BLOCK_KERNEL, dilation, reflects=variant.reflects), self.width)
            for _ in range(scale - 1)
        )
        self.last = FrameLayer(nn.Linear(channels, channels), channels)
        self.excitation = SqueezeExcitation(channels, se_channels)

    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:
        """Transform a batch.

        Args:
            x: shape ``(B, T, C)``.
            padded: mask.

        Returns:
            Shape ``(B, T, C)``.
        """
        inputs = list(self.first(x).split(self.width, 2))
        passed = inputs.pop(0 if self.passes_first else -1)
        outputs: list[Tensor] = []
        for layer, part in zip(self.parts, inputs, strict=True):
            outputs.append(layer(part + outputs[-1] if outputs else part, padded))
        y = self.last(torch.cat((passed, *outputs) if self.passes_first else (*outputs, passed), 2))
        return torch.addcmul(x, y, self.excitation(y, padded))


class EcapaTdnn(Backbone):
    """ECAPA-TDNN: 15.44 M parameters as published, at 80 bands and embeddings of 192; 6.98 M with 512 channels.

    A convolution over 5 frames; a block for each dilation, which takes the sum of everything before it; the blocks'
    outputs side by side through one 1x1 layer; attentive statistics pooling with global context; batch normalisation,
    linear map, batch normalisation. Other variants differ as :class:`Variant` says.

    Args:
        num_mel_bins: ``F``.
        embedding_dim: ``D``.
        variant: one of ``VARIANTS``; sizes stay those below.
        channels: channels of the blocks, a multiple of ``scale``.
        scale: parts of the channels in a block, at least 2.
        dilations: one for each block.
        se_channels: width of the squeeze-excitation.
        mfa_channels: channels of the layer that aggregates the blocks, and of the pooling.
        pooling: one of ``POOLINGS``.
        attention_channels: width of the attention's hidden layer, in ``attentive`` pooling.
        global_context: whether that attention sees mean and standard deviation over time too.
    """

    name: ClassVar[str] = "ecapa_tdnn"

    def __init__(
        self,
        num_mel_bins: int,
        embedding_dim: int,
        *,
        variant: str = "published",
        channels: int = 1024,
        scale: int = 8,
        dilations: Sequence[int] = (2, 3, 4),
        se_channels: int = 128,
        mfa_channels: int = 1536,
        pooling: str = "attentive",
        attention_channels: int = 256,
        global_context: bool = True,
    ) -> None:
        super().__init__(num_mel_bins, embedding_dim)
        own = VARIANTS[choose(self._place("variant"), variant, VARIANTS)]
        channels, scale = self._check_channels(channels, scale)
        dilations = self._check_dilations(dilations)
        se_channels = check_count(self._place("se_channels"), se_channels)
        mfa_channels = check_count(self._place("mfa_channels"), mfa_channels)
        first = FrameConv(self.num_mel_bins, channels, FIRST_KERNEL, reflects=own.reflects)
        self.sums = own.sums
        self.first = FrameLayer(first, channels)
        self.blocks = nn.ModuleList(SERes2Block(channels, d, scale, se_channels, own) for d in dilations)
        self.aggregate = nn.Linear(channels * len(dilations), mfa_channels)
        self.aggregate_norm = nn.BatchNorm1d(mfa_channels) if own.aggregate_norm else nn.Identity()
        self.pooling = self._pooling(
            pooling,
            mfa_channels,
            attention_channels=check_count(self._place("attention_channels"), attention_channels),
            global_context=accept(self._place("global_context"), global_context, bool),
            normalised=own.attention_norm,
            population=own.population,
            least_variance=own.least_variance,
        )
        self.pooled_norm = nn.BatchNorm1d(self.pooling.output_dim)
        self.embed = nn.Linear(self.pooling.output_dim, self.embedding_dim)
        self.embedding_norm = nn.BatchNorm1d(self.embedding_dim) if own.embedding_norm else nn.Identity()

    def _embed(self, features: Tensor, padded: Tensor | None) -> Tensor:
        x = self.first(features, padded)
        outputs: list[Tensor] = []
        for block in self.blocks:
            if outputs:
                x = x + outputs[-1] if self.sums else outputs[-1]
            outputs.append(self._through(block, x, padded))
        frames = over_frames(self.aggregate_norm, F.relu(self.aggregate(torch.cat(outputs, 2)), inplace=True))
        pooled = self.pooled_norm(self.pooling(frames, padded))
        return torch.as_tensor(self.embedding_norm(self.embed(pooled)))

    def _check_channels(self, channels: object, scale: object) -> tuple[int, int]:
        parts = check_count(self._place("scale"), scale, least=2)
        width = check_count(self._place("channels"), channels)
        if width % parts:
            nearest = max(parts, round(width / parts) * parts)
            raise ConfigError(
                f"{self._place('channels')}: expected a multiple of scale {parts}, found {width}; {nearest} is one"
            )
        return width, parts

    def _check_dilations(self, dilations: object) -> tuple[int, ...]:
        if not isinstance(dilations, (list, tuple)) or not dilations:
            expected = "expected a list of whole numbers such as [2, 3, 4], one for each block"
            raise ConfigError(f"{self._place('dilations')}: {expected}, found {dilations!r}")
        return tuple(check_count(self._place(f"dilations[{i}]"), d) for i, d in enumerate(dilations))
