r"""From frames to one vector: the table of poolings, and the means and standard deviations over time that they share.

Frames lie in the second dimension, channels in the last: ``(B, T, C)``. A mask ``padded`` ``(B, T, 1)`` is True on
frames that do not count; None if all do. Statistics are computed in float32 or wider, also under autocast.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ham.schema import keyword_options

LEAST_VARIANCE = 1e-4
"""Floor of a variance, as published: the root of a smaller one would have a gradient above 50."""


def over_frames(norm: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
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


def mean_and_deviation(
    x: Tensor,
    padded: Tensor | None,
    least_variance: float = LEAST_VARIANCE,
    *,
    population: bool = False,
    added_variance: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over the frames that count.

    Args:
        x: finite, shape ``(B, T, C)``.
        padded: mask.
        least_variance: floor of the variance, above 0.
        population: divide by the number of frames, not by one less, which makes the variance unbiased.
        added_variance: added to the variance before the floor is laid.

    Returns:
        Mean and standard deviation, each ``(B, C)``; the deviation of one frame is the floor's root, or that of what is
        added if it is more.
    """
    x = _wide(x)
    mean = masked_mean(x, padded)
    squares = (x - mean[:, None]).square()
    if padded is not None:
        squares = squares.masked_fill(padded, 0.0)
    number = _num_frames(x, padded)
    variance = squares.sum(1) / (number if population else (number - 1).clamp_min(1))
    if added_variance:
        variance = variance + added_variance
    return mean, variance.clamp_min(least_variance).sqrt()


class Pooling(nn.Module, ABC):
    """Base of the poolings; a subclass sets ``name`` and ``output_dim``.

    The constructor takes ``num_channels``; its keyword-only parameters are what :func:`build_pooling` may hand on.

    Attributes:
        name: the pooling's name in the table.
        output_dim: numbers of the result.
    """

    name: ClassVar[str]
    output_dim: int

    @abstractmethod
    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:
        """Pool a batch.

        Args:
            x: finite, shape ``(B, T, C)``.
            padded: mask.

        Returns:
            Shape ``(B, output_dim)``, in float32 or wider.
        """


class MeanPooling(Pooling):
    """Mean over time.

    Args:
        num_channels: ``C``.
    """

    name: ClassVar[str] = "mean"

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.output_dim = num_channels

    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:
        """Pool a batch to ``(B, C)``."""
        return masked_mean(_wide(x), padded)


class StatisticsPooling(Pooling):
    """Mean and standard deviation over time, one after the other.

    Args:
        num_channels: ``C``.
        least_variance: floor of the variance, above 0.
        added_variance: added to the variance before.
    """

    name: ClassVar[str] = "statistics"

    def __init__(
        self, num_channels: int, *, least_variance: float = LEAST_VARIANCE, added_variance: float = 0.0
    ) -> None:
        super().__init__()
        self.output_dim = 2 * num_channels
        self.least_variance, self.added_variance = least_variance, added_variance

    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:
        """Pool a batch to ``(B, 2 C)``."""
        return torch.cat(mean_and_deviation(x, padded, self.least_variance, added_variance=self.added_variance), 1)


class AttentiveStatisticsPooling(Pooling):
    r"""Mean and standard deviation over time under weights that every channel has for itself (Okabe et al. 2018).

    .. math:: a_t = V \tanh(\mathrm{BN}(\mathrm{ReLU}(W [x_t; \mu; \sigma] + b))) + c, \quad w = \mathrm{softmax}_t(a),

    .. math:: m = \sum_t w_t x_t, \quad s = \sqrt{\max(\sum_t w_t x_t^2 - m^2, 10^{-4})}.

    With global context the plain mean and standard deviation stand beside every frame. They are the same at every
    frame, so their part of the product is computed once an utterance: a third of the work, and no ``(B, T, 3 C)``.

    Args:
        num_channels: ``C``.
        attention_channels: width of the hidden layer.
        global_context: whether attention sees mean and standard deviation.
        normalised: ReLU and batch normalisation before the hyperbolic tangent; without, it takes the linear map.
        population: variances as :math:`\sum_t w_t (x_t - m)^2`, which keeps the digits of small ones, and the plain one
            with all weights alike; without, as above, and the plain one unbiased.
        least_variance: floor of the variances, above 0.
    """

    name: ClassVar[str] = "attentive"

    def __init__(
        self,
        num_channels: int,
        *,
        attention_channels: int = 256,
        global_context: bool = True,
        normalised: bool = True,
        population: bool = False,
        least_variance: float = LEAST_VARIANCE,
    ) -> None:
        super().__init__()
        self.output_dim = 2 * num_channels
        self.global_context, self.population, self.least_variance = global_context, population, least_variance
        self.hidden = nn.Linear(num_channels * (3 if global_context else 1), attention_channels)
        self.norm = nn.BatchNorm1d(attention_channels) if normalised else None
        self.scores = nn.Linear(attention_channels, num_channels)

    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:
        """Pool a batch to mean and standard deviation, one after the other, ``(B, 2 C)``."""
        hidden = self._hidden(x, padded)
        if self.norm is not None:
            hidden = over_frames(self.norm, F.relu(hidden, inplace=True))
        weights, x = _over_time(self.scores(hidden.tanh()), padded), _wide(x)
        weighted = weights * x
        mean = weighted.sum(1)
        if self.population:
            variance = (weights * (x - mean[:, None]).square()).sum(1)
        else:
            variance = (weighted * x).sum(1) - mean.square()
        return torch.cat((mean, variance.clamp_min(self.least_variance).sqrt()), 1)

    def _hidden(self, x: Tensor, padded: Tensor | None) -> Tensor:
        if not self.global_context:
            return torch.as_tensor(self.hidden(x))
        weight, channels = self.hidden.weight, x.shape[2]
        moments = mean_and_deviation(x, padded, self.least_variance, population=self.population)
        of_context = F.linear(torch.cat(moments, 1).to(x.dtype), weight[:, channels:], self.hidden.bias)
        return F.linear(x, weight[:, :channels]) + of_context[:, None]


class FactorisedAttentionPooling(Pooling):
    r"""Multi-head factorised attention over the frames of several layers (MHFA, Peng et al. 2022, arXiv 2210.01273).

    Keys and values are weighted sums of the layers, each with weights of its own, through a linear map each; the keys
    alone say how much each frame counts in each head :math:`h`.

    .. math:: k_t = W_k \sum_l \mathrm{softmax}(u)_l x_{lt} + b_k,

    .. math:: v_t = W_v \sum_l \mathrm{softmax}(r)_l x_{lt} + b_v,

    .. math:: c_h = \sum_t \mathrm{softmax}_t(W_a k_t + b_a)_h v_t.

    Args:
        num_channels: ``C`` of every layer.
        num_layers: ``L``; the frames of a network that gives one layer may come without that dimension.
        num_heads: ``H``; as released for WavLM.
        head_channels: width of keys and values.

    Attributes:
        layer_weights: u and r, shape ``(2, L)``; 0 in the beginning: all layers alike.
    """

    name: ClassVar[str] = "factorised_attention"

    def __init__(
        self, num_channels: int, *, num_layers: int = 1, num_heads: int = 32, head_channels: int = 128
    ) -> None:
        super().__init__()
        self.output_dim = num_heads * head_channels
        self.layer_weights = nn.Parameter(torch.zeros(2, num_layers))
        self.key = nn.Linear(num_channels, head_channels)
        self.value = nn.Linear(num_channels, head_channels)
        self.scores = nn.Linear(head_channels, num_heads)

    def forward(self, x: Tensor, padded: Tensor | None = None) -> Tensor:
        """Pool a batch to the heads side by side, ``(B, H head_channels)``.

        Args:
            x: finite, shape ``(B, L, T, C)``, or ``(B, T, C)`` of one layer.
            padded: mask ``(B, T, 1)``.
        """
        layers = x if x.ndim == 4 else x[:, None]
        keys, values = torch.einsum("kl,bltc->kbtc", self.layer_weights.softmax(1).to(x.dtype), layers)
        weights = _over_time(self.scores(self.key(keys)), padded)
        return torch.einsum("bth,btc->bhc", weights, _wide(self.value(values))).flatten(1)


POOLINGS: Mapping[str, type[Pooling]] = MappingProxyType(
    {cls.name: cls for cls in (MeanPooling, StatisticsPooling, AttentiveStatisticsPooling, FactorisedAttentionPooling)}
)
"""Every pooling by its name."""


def build_pooling(name: str, num_channels: int, **options: Any) -> Pooling:
    """Build a pooling by its name.

    Args:
        name: one of ``POOLINGS``.
        num_channels: ``C``.
        **options: what a backbone knows for any of them, checked; each takes those that its constructor has.
    """
    pooling = POOLINGS[name]
    return pooling(num_channels, **{key: options[key] for key in keyword_options(pooling) if key in options})


def _over_time(scores: Tensor, padded: Tensor | None) -> Tensor:
    """Softmax over the frames that count of scores ``(B, T, H)``; 0 on the others."""
    scores = _wide(scores)
    return (scores if padded is None else scores.masked_fill(padded, -math.inf)).softmax(1)


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
