r"""Losses of the cosine with a margin on the target: am_softmax, aam_softmax, ram_softmax.

:math:`\cos_k = \langle x, w_k\rangle / (|x| |w_k|)`; centres start Xavier normal, as published.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from ham.geometry.poincare import shrink
from ham.losses.chunked import ChunkedLoss

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


class AmSoftmax(ChunkedLoss):
    r"""Additive margin on the cosine (Wang et al. 2018): :math:`s (\cos_k - m [k = y])`.

    Args:
        embedding_dim: ``D``.
        num_speakers: ``C``, at least 2.
        scale: ``s``, positive.
        margin: ``m``, a cosine, at least 0.
        chunk: ``auto``, ``off`` or the number of centres of a block; see :mod:`ham.losses.chunked`.
    """

    name: ClassVar[str] = "am_softmax"
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
        return (unit(x) * self.scale) @ unit(self.weight.to(x.dtype)).T

    def _add_margin(self, plain: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        shift = x.new_full((len(x), 1), -self.scale * self._margin)
        return plain.scatter_add_(1, labels[:, None], shift)

    def _left(self, x: Tensor) -> Tensor:
        return unit(x) * self.scale

    def _radial(self) -> Callable[[Tensor], tuple[Tensor, ...]]:
        return inverse_lengths

    def _own(self, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        e, w = unit(x), unit(w)
        plain = self.scale * (e * w).sum(dim=1)
        return plain, self._with_margin(e, w, plain)

    def _with_margin(self, e: Tensor, w: Tensor, plain: Tensor) -> Tensor:  # noqa: ARG002
        """Own logits with margin, from unit rows and the logits without."""
        return plain - self.scale * self._margin


class AamSoftmax(AmSoftmax):
    r"""Additive margin on the angle (Deng et al. 2019).

    .. math:: \text{target: } s \cos(\theta_y + m) \text{ where } \cos\theta_y > \cos(\pi - m),
              \text{ else } s (\cos\theta_y - m \sin(\pi - m)); \qquad \text{others: } s \cos\theta_k

    Args:
        embedding_dim: ``D``.
        num_speakers: ``C``, at least 2.
        scale: ``s``, positive.
        margin: ``m``, an angle in radians, 0 to pi.
        chunk: as in :class:`AmSoftmax`.
    """

    name: ClassVar[str] = "aam_softmax"
    largest_margin: ClassVar[float] = math.pi

    def _add_margin(self, plain: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        e, w = unit(x), unit(self.weight.index_select(0, labels).to(x.dtype))
        return plain.scatter_(1, labels[:, None], self._with_margin(e, w, plain)[:, None])

    def _with_margin(self, e: Tensor, w: Tensor, plain: Tensor) -> Tensor:  # noqa: ARG002
        m = self._margin
        cos = (e * w).sum(dim=1)
        # sin = |e - w| |e + w| / 2 keeps its digits and a bounded gradient at 0 and pi, unlike sqrt(1 - cos^2).
        sin = 0.5 * torch.linalg.vector_norm(e - w, dim=1) * torch.linalg.vector_norm(e + w, dim=1)
        turned = cos * math.cos(m) - sin * math.sin(m)
        return self.scale * torch.where(cos > math.cos(math.pi - m), turned, cos - m * math.sin(math.pi - m))


class RamSoftmax(AmSoftmax):
    r"""Margin on the cosine against the competing speakers alone (Li et al. 2022).

    With :math:`t = s (\cos_y - m)` the target's logit: another speaker keeps :math:`s \cos_k` where it is at least
    ``t`` and is replaced by 0, not by minus infinity, where it is below.

    Args:
        embedding_dim: ``D``.
        num_speakers: ``C``, at least 2.
        scale: ``s``, positive.
        margin: ``m``, a cosine, at least 0. A margin of 0 still replaces the speakers below the target.
        chunk: as in :class:`AmSoftmax`.
    """

    name: ClassVar[str] = "ram_softmax"

    def _add_margin(self, plain: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        threshold = plain.detach().gather(1, labels[:, None]) - self.scale * self._margin
        # The target is never below its own threshold, so it only has its margin left to take.
        return super()._add_margin(plain.masked_fill_(plain < threshold, 0.0), x, labels)

    def _replace_(self, logits: Tensor, own: Tensor) -> Tensor | None:
        below = logits < own
        logits.masked_fill_(below, 0.0)
        return below

    def _derivative_(self, gradient: Tensor, kept: Tensor | None) -> None:
        assert kept is not None
        gradient.masked_fill_(kept, 0.0)
