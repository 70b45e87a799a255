r"""Losses that classify by cosines, with a margin on the own one: am_softmax, aam_softmax, ram_softmax.

:math:`\cos_k = \langle x, w_k\rangle / (|x| |w_k|)`; centres start Xavier normal, as published.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from ham.geometry.poincare import shrink
from ham.losses.streamed import StreamedLoss

LEAST_NORM = 1e-12
"""Vectors shorter than this have no direction: they count as 0 and get no gradient, where 1/|x| would be 1e12."""


def unit(x: Tensor) -> Tensor:
    """Scale rows to length 1.

    Args:
        x: rows of any finite length, shape ``(N, D)``.

    Returns:
        Unit rows; zero rows, with zero gradients, where a row is shorter than ``LEAST_NORM``.
    """
    x = shrink(x)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    inverse = norm.clamp_min(LEAST_NORM).reciprocal()
    return torch.mul(x, inverse.masked_fill(norm < LEAST_NORM, 0.0))


def inverse_lengths(square: Tensor) -> tuple[Tensor]:
    """What scales rows to length 1, from their squared lengths; see :func:`unit`.

    Args:
        square: squared lengths, shape ``(N,)``.

    Returns:
        One tensor of factors, shape ``(N,)``; 0 for rows shorter than ``LEAST_NORM``.
    """
    directed = square >= LEAST_NORM**2
    return (torch.rsqrt(torch.where(directed, square, 1.0)) * directed,)


def cosine_and_sine(e: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    r"""Cosine and sine of the angle between two directions.

    .. math:: \cos\theta = \langle e, w\rangle, \qquad \sin\theta = \tfrac12 |e - w| |e + w|

    This sine keeps its digits and a bounded gradient at 0 and pi, unlike :math:`\sqrt{1 - \cos^2\theta}`.

    Args:
        e: unit rows, shape ``(B, D)``.
        w: unit rows, shape ``(B, D)``.

    Returns:
        Two tensors of shape ``(B,)``.
    """
    cosine = (e * w).sum(dim=1)
    return cosine, 0.5 * torch.linalg.vector_norm(e - w, dim=1) * torch.linalg.vector_norm(e + w, dim=1)


def add_angle(e: Tensor, w: Tensor, angle: float) -> Tensor:
    r"""Cosine of the angle between two directions after it has grown.

    .. math:: \cos(\theta + m) \text{ where } \cos\theta > \cos(\pi - m), \text{ else } \cos\theta - m \sin(\pi - m)

    Beyond :math:`\pi - m`, where the cosine would rise again, a line goes on falling.

    Args:
        e: unit rows, shape ``(B, D)``.
        w: unit rows, shape ``(B, D)``.
        angle: ``m``, in radians, 0 to pi.

    Returns:
        Cosines, shape ``(B,)``.
    """
    cos, sin = cosine_and_sine(e, w)
    turned = cos * math.cos(angle) - sin * math.sin(angle)
    return torch.where(cos > math.cos(math.pi - angle), turned, cos - angle * math.sin(math.pi - angle))


class CosineLoss(StreamedLoss):
    r"""Base of the losses whose logits are :math:`s \cos_k` and whose margin is a change of the own one.

    A subclass sets ``name`` and overrides :meth:`_with_margin`.

    Args:
        embedding_dim: ``D``.
        num_speakers: ``C``, at least 2.
        scale: ``s``, positive.
        margin: ``m``, at least 0.
        chunk: ``auto``, ``off`` or the number of centres of a block; see :mod:`ham.losses.streamed`.
    """

    has_margin: ClassVar[bool] = True

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        scale: float = 30.0,
        margin: float = 0.2,
        chunk: str | int = "auto",
    ) -> None:
        super().__init__(embedding_dim, num_speakers)
        self.scale = self._positive("scale", scale)
        self.set_margin(margin)
        self._set_chunk(chunk)
        self.weight = nn.Parameter(nn.init.xavier_normal_(torch.empty(self.num_speakers, self.embedding_dim)))

    def _plain_logits(self, x: Tensor, labels: Tensor | None) -> Tensor:  # noqa: ARG002
        return self._left(x) @ unit(self.weight.to(x.dtype)).T

    def _left(self, x: Tensor) -> Tensor:
        return unit(x) * self.scale

    def _radial(self) -> Callable[[Tensor], tuple[Tensor, ...]]:
        return inverse_lengths

    def _own(self, x: Tensor, w: Tensor) -> Tensor:
        return self.scale * (unit(x) * unit(w)).sum(dim=1)


class AmSoftmax(CosineLoss):
    r"""Additive margin on the cosine (Wang et al. 2018): :math:`s (\cos_k - m [k = y])`; ``m`` is a cosine."""

    name: ClassVar[str] = "am_softmax"

    def _with_margin(self, plain: Tensor, x: Tensor, w: Tensor) -> Tensor:  # noqa: ARG002
        return plain - self.scale * self._margin


class AamSoftmax(CosineLoss):
    r"""Additive margin on the angle (Deng et al. 2019); ``m`` is in radians, 0 to pi.

    .. math:: \text{target: } s \cos(\theta_y + m) \text{, continued by :func:`add_angle`;} \qquad
              \text{others: } s \cos\theta_k
    """

    name: ClassVar[str] = "aam_softmax"
    largest_margin: ClassVar[float] = math.pi

    def _with_margin(self, plain: Tensor, x: Tensor, w: Tensor) -> Tensor:  # noqa: ARG002
        return self.scale * add_angle(unit(x), unit(w), self._margin)


class RamSoftmax(AmSoftmax):
    r"""Margin on the cosine against the competing speakers alone (Li et al. 2022); ``m`` is a cosine.

    With :math:`t = s (\cos_y - m)` the target's logit: another speaker keeps :math:`s \cos_k` where it is at least
    ``t`` and is replaced by 0, not by minus infinity, where it is below. A margin of 0 still replaces those below.
    """

    name: ClassVar[str] = "ram_softmax"

    def _zeroed(self, logits: Tensor, own: Tensor) -> Tensor:
        return logits < own
