r"""Losses of the hyperbolic distance to the centres: h_softmax and ham_softmax.

Fang & He, "Hyperbolic Additive Margin Softmax with Hierarchical Information for Speaker Verification", ICASSP 2026,
arXiv 2601.19709. Centres start as normal numbers of standard deviation 1e-3 in every coordinate, as published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn

from ham.geometry import poincare
from ham.geometry.poincare import BallPoints
from ham.losses.base import SpeakerLoss
from ham.schema import check_number, choose

CENTRE_STD = 1e-3
"""Standard deviation of every coordinate of a centre at the start (released code)."""


@dataclass(frozen=True)
class PublishedGeometry:
    """The published form: vectors clipped into a ball of radius ``(1 - 1e-5)/sqrt(c)``, distance of the unit ball.

    Attributes:
        curvature: ``c``, at least 1: a cap on the norm, not a curvature.
        least_product: floor of the distance's denominator at this curvature.
    """

    least_curvature: ClassVar[float] = 1.0

    curvature: float
    least_product: float = field(init=False)

    def __post_init__(self) -> None:
        floor = poincare.published_least_product(curvature=self.curvature)
        object.__setattr__(self, "least_product", floor)

    def points(self, x: Tensor) -> BallPoints:
        """Place embeddings or centres in the ball.

        Args:
            x: vectors, shape ``(N, D)``.

        Returns:
            Their points, with norms.
        """
        return poincare.published_points(x, curvature=self.curvature)

    def pairwise(self, a: BallPoints, b: BallPoints) -> Tensor:
        """Distances of all pairs from one matrix product.

        Args:
            a: ``B`` points.
            b: ``C`` points.

        Returns:
            Distances, shape ``(B, C)``.
        """
        return poincare.pairwise_points_distance(a, b, least_product=self.least_product)

    def rowwise(self, a: BallPoints, b: BallPoints) -> Tensor:
        """Distances row by row from the direct difference.

        Args:
            a: ``B`` points.
            b: ``B`` points.

        Returns:
            Distances, shape ``(B,)``.
        """
        return poincare.points_distance(a, b, least_product=self.least_product)


GEOMETRIES: Mapping[str, type[PublishedGeometry]] = MappingProxyType({"published": PublishedGeometry})
"""The geometries that the option ``geometry`` can name."""


class HSoftmax(SpeakerLoss):
    r"""Cross-entropy of negative hyperbolic distances, :math:`-s\, d(x, w_k)`.

    The pairs of an embedding with its own centre, which training drives together, are taken from the direct
    difference; all others from one matrix product.

    Args:
        embedding_dim: ``D``.
        num_speakers: ``C``, at least 2.
        scale: ``s``, positive.
        curvature: ``c``, at least 1 in the published geometry.
        geometry: name of the geometry; ``published`` clips and measures as the released code does.
    """

    name: ClassVar[str] = "h_softmax"
    has_distance: ClassVar[bool] = True

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        scale: float = 30.0,
        curvature: float = 5.0,
        geometry: str = "published",
    ) -> None:
        super().__init__(embedding_dim, num_speakers)
        self.scale = self._positive("scale", scale)
        self.geometry = choose(self._place("geometry"), geometry, GEOMETRIES)
        kind = GEOMETRIES[self.geometry]
        place = f"{self._place('curvature')} (geometry {self.geometry})"
        self.curvature = check_number(place, curvature, least=kind.least_curvature)
        self._space = kind(self.curvature)
        self.weight = nn.Parameter(torch.empty(self.num_speakers, self.embedding_dim).normal_(std=CENTRE_STD))

    def _plain_logits(self, x: Tensor, labels: Tensor | None) -> Tensor:
        points, centres = self._space.points(x), self._space.points(self.weight.to(x.dtype))
        distances = self._space.pairwise(points, centres)
        if labels is not None:
            own = self._space.rowwise(points, centres.rows(labels))
            distances = distances.scatter_(1, labels[:, None], own[:, None])
        return distances.mul_(-self.scale)

    def _distance(self, x: Tensor, y: Tensor) -> Tensor:
        return self._space.rowwise(self._space.points(x), self._space.points(y))


class HamSoftmax(HSoftmax):
    r"""Hyperbolic additive margin softmax, :math:`-s\,(d(x, w_k) + m [k = y])`.

    Args:
        embedding_dim: ``D``.
        num_speakers: ``C``, at least 2.
        scale: ``s``, positive.
        margin: ``m``, a hyperbolic distance, at least 0.
        curvature: ``c``, at least 1 in the published geometry.
        geometry: name of the geometry; ``published`` clips and measures as the released code does.
    """

    name: ClassVar[str] = "ham_softmax"
    has_margin: ClassVar[bool] = True

    def __init__(
        self,
        embedding_dim: int,
        num_speakers: int,
        *,
        scale: float = 30.0,
        margin: float = 0.2,
        curvature: float = 3.0,
        geometry: str = "published",
    ) -> None:
        super().__init__(embedding_dim, num_speakers, scale=scale, curvature=curvature, geometry=geometry)
        self.set_margin(margin)

    def _add_margin(self, plain: Tensor, x: Tensor, labels: Tensor) -> Tensor:
        shift = x.new_full((len(x), 1), -self.scale * self._margin)
        return plain.scatter_add_(1, labels[:, None], shift)
