r"""From frames to one vector: mean and standard deviation over time, plain or weighted by attention.

Frames lie in the second dimension, channels in the last: ``(B, T, C)``. A mask ``padded`` ``(B, T, 1)`` is True on
frames that do not count; None if all do. Statistics are computed in float32 or wider, also under autocast.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST_VARIANCE = 1e-4
"""Floor of a variance, as published: the root of a smaller one would have a gradient above 50."""


def over_frames(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a batch normalisation to frames as if each were an example.

    Args:
        norm: takes ``(N, C)``.
        x: shape ``(B, T, C)``.

    Returns:
        Normalised, shape ``(B, T, C)``.
    """
    normalised: Tensor = norm(x.flatten(0, 1))
    return normalised.view(x.shape)


def masked_mean(x: Tensor, padded: Tensor | None) -> Tensor:
    """Mean over the frames that count.

    Args:
        x: finite, shape ``(B, T, C)``.
        padded: mask.

    Returns:
        Shape ``(B, C)``.
    """
    if padded is None:
        return x.mean(1)
    return x.masked_fill(padded, 0.0).sum(1) / _num_frames(x, padded)


def mean_and_deviation(x: Tensor, padded: Tensor | None) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the frames that count; the variance is the unbiased one, floored.

    Args:
        x: finite, shape ``(B, T, C)``.
        padded: mask.

    Returns:
        Mean and standard deviation, each ``(B, C)``; the deviation of one frame is the floor's root.
    """
    x = _wide(x)
    mean = masked_mean(x, padded)
    squares = (x - mean[:, None]).square()
    if padded is not None:
        squares = squares.masked_fill(padded, 0.0)
    variance = squares.sum(1) / (_num_frames(x, padded) - 1).clamp_min(1)
    return mean, variance.clamp_min(LEAST_VARIANCE).sqrt()


class StatisticsPooling(nn.Module):
    """Mean and standard deviation over time, one after the other.

    Args:
        num_channels: ``C``.

    Attributes:
        output_dim: ``2 C``.
    """

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.output_dim = 2 * num_channels

    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:
        """Pool a batch.

        Args:
            x: finite, shape ``(B, T, C)``.
            padded: mask.

        Returns:
            Shape ``(B, 2 C)``.
        """
        return torch.cat(mean_and_deviation(x, padded), 1)


class AttentiveStatisticsPooling(nn.Module):
    r"""Mean and standard deviation over time under weights that every channel has for itself (Okabe et al. 2018).

    .. math:: a_t = V \tanh(\mathrm{BN}(\mathrm{ReLU}(W [x_t; \mu; \sigma] + b))) + c, \quad w = \mathrm{softmax}_t(a),

    .. math:: m = \sum_t w_t x_t, \quad s = \sqrt{\max(\sum_t w_t x_t^2 - m^2, 10^{-4})}.

    With global context the plain mean and standard deviation stand beside every frame. They are the same at every
    frame, so their part of the product is computed once an utterance: a third of the work, and no ``(B, T, 3 C)``.

    Args:
        num_channels: ``C``.
        attention_channels: width of the hidden layer.
        global_context: whether attention sees mean and standard deviation.

    Attributes:
        output_dim: ``2 C``.
    """

    def __init__(self, num_channels: int, attention_channels: int = 256, *, global_context: bool = True) -> None:
        super().__init__()
        self.output_dim = 2 * num_channels
        self.global_context = global_context
        self.hidden = nn.Linear(num_channels * (3 if global_context else 1), attention_channels)
        self.norm = nn.BatchNorm1d(attention_channels)
        self.scores = nn.Linear(attention_channels, num_channels)

    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:
        """Pool a batch.

        Args:
            x: finite, shape ``(B, T, C)``.
            padded: mask.

        Returns:
            Mean and standard deviation, one after the other, shape ``(B, 2 C)``.
        """
        hidden = over_frames(self.norm, F.relu(self._hidden(x, padded), inplace=True)).tanh()
        scores = _wide(self.scores(hidden))
        if padded is not None:
            scores = scores.masked_fill(padded, -math.inf)
        weights, x = scores.softmax(1), _wide(x)
        weighted = weights * x
        mean = weighted.sum(1)
        variance = (weighted * x).sum(1) - mean.square()
        return torch.cat((mean, variance.clamp_min(LEAST_VARIANCE).sqrt()), 1)

    def _hidden(self, x: Tensor, padded: Tensor | None) -> Tensor:
        if not self.global_context:
            return torch.as_tensor(self.hidden(x))
        weight, channels = self.hidden.weight, x.shape[2]
        context = torch.cat(mean_and_deviation(x, padded), 1).to(x.dtype)
        of_context = F.linear(context, weight[:, channels:], self.hidden.bias)
        return F.linear(x, weight[:, :channels]) + of_context[:, None]


def _wide(x: Tensor) -> Tensor:
    """The tensor in float32, or as it is if wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _num_frames(x: Tensor, padded: Tensor | None) -> Tensor:
    """Frames that count, shape ``(B, 1)`` or one for all, in the type of ``x``.

    They are counted by a sum: a number of a shape would be a constant of an exported graph, wrong at other lengths.
    """
    if padded is None:
        return x.new_ones(x.shape[1]).sum()
    return (~padded).sum(1).to(x.dtype)
