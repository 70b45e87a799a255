r"""Maps of many dimensions to a picture of two, from the distances alone.

**Hyperbolic** (:func:`project_to_disk`): on the hyperboloid of curvature -1 the distances give the Lorentz products of
all pairs, :math:`\cosh d_{ij} = t_i t_j - \langle a_i, a_j \rangle`, a symmetric matrix with one positive eigenvalue
(time) and no other above 0 (the space directions). Each point keeps its time and the two longest space directions, and
goes to the nearest point of that hyperbolic plane. Of all planes this one leaves the smallest mean
:math:`\sinh^2` of the distance between a point and the plane: it is principal component analysis in hyperbolic space
(Tabaghi et al., "Principal component analysis in space forms", IEEE TSP 2024), taken from the distances as classical
scaling takes ordinary PCA from them (Sala et al., "Representation tradeoffs for hyperbolic embeddings", ICML 2018, have
such a scaling). In closed form: no iteration, no starting point, no seed.

**Euclidean** (:func:`project_to_plane`): classical scaling, which is ordinary PCA.

Either picture is exact for points that lie in a plane, does not depend on how the points are placed in the space (an
isometry changes nothing), and never makes a distance larger. Shape letter: ``N`` points.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

LONGEST = 300.0
"""Largest ``sqrt(c) d``: beyond, the squares of its hyperbolic cosine leave float64."""

NEGLIGIBLE = 1e-12
"""Share of the largest eigenvalue below which a direction is rounding noise."""


class Projection(NamedTuple):
    r"""Points of a picture.

    Attributes:
        points: float64, shape ``(N, 2)``: in the open unit disk, or in the plane around the points' mean.
        explained: share of the points' spread that the two directions hold, 0..1: of the mean
            :math:`\sinh^2(\sqrt{c} d)` or :math:`d^2`, with ``d`` the distance from the centre of the picture.
        others: further points, placed by the same map, shape ``(M, 2)``.
    """

    points: Tensor
    explained: float
    others: Tensor


def _check(distances: Tensor) -> Tensor:
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1] or len(distances) < 3:
        raise ValueError(f"distances of at least 3 points must be a square matrix, found {tuple(distances.shape)}")
    wide = distances.double()
    if not torch.isfinite(wide).all() or wide.min() < 0:
        raise ValueError("distances must be finite and at least 0")
    slack = 1e-5 * wide.max().clamp_min(1.0)
    if wide.diagonal().max() > slack or (wide - wide.T).abs().max() > slack:
        raise ValueError("distances must be symmetric with a diagonal of 0")
    return (wide + wide.T) / 2


def _axes(values: Tensor, vectors: Tensor, least: float) -> tuple[Tensor, Tensor, float]:
    """Lengths and directions of the two largest of the eigenvalues, and their share of all above ``least``.

    Others are rounding noise and count as 0. An eigenvector is as right as its negative; here the coordinate of largest
    size is positive.
    """
    order = torch.argsort(values, descending=True)[:2]
    chosen = vectors[:, order]
    sign = torch.sign(chosen.gather(0, chosen.abs().argmax(dim=0, keepdim=True)))
    values = torch.where(values > least, values, 0.0)
    kept, total = values[order], float(values.sum())
    return kept.sqrt(), chosen * sign, float(kept.sum()) / total if total > 0.0 else 1.0


def project_to_disk(distances: Tensor, *, curvature: float, others: Tensor | None = None) -> Projection:
    r"""Place points of a hyperbolic space of any dimension on the Poincaré disk.

    .. math:: \cosh(\sqrt{c} D) = t t^T - \sum_k a_k a_k^T, \qquad
              z_i = \frac{(a_{1i}, a_{2i})}{t_i + \sqrt{t_i^2 - a_{1i}^2 - a_{2i}^2}}

    with :math:`t = \sqrt{\lambda_0}\, u_0` of the positive eigenvalue and :math:`a_k = \sqrt{-\lambda_k}\, u_k` of the
    others, from the most negative on; see the head of the module. A further point with distances ``d`` to the points
    has :math:`t = \langle \cosh(\sqrt{c} d), u_0 \rangle / \sqrt{\lambda_0}` and
    :math:`a_k = -\langle \cosh(\sqrt{c} d), u_k \rangle / \sqrt{-\lambda_k}`.

    Args:
        distances: hyperbolic distances, shape ``(N, N)``, N at least 3.
        curvature: positive ``c``; the distances are those of a space of sectional curvature ``-c``.
        others: distances of further points, which do not decide about the picture, to the points, shape ``(M, N)``.

    Returns:
        Points of the unit disk in coordinates of curvature -1, whose distances are ``sqrt(c)`` times those pictured.

    Raises:
        ValueError: if ``distances`` are not such, too large for float64, or ``curvature`` is not positive.
    """
    if not 0.0 < curvature < math.inf:
        raise ValueError(f"curvature must be positive and finite, found {curvature!r}")
    root = math.sqrt(curvature)
    scaled = _check(distances) * root
    if scaled.max() > LONGEST:
        raise ValueError(f"sqrt(c) x distance must be at most {LONGEST:g}, found {float(scaled.max()):g}")
    values, vectors = torch.linalg.eigh(torch.cosh(scaled))
    # All products are positive, so that the times, an eigenvector of Perron and Frobenius, are of one sign.
    length, first = values[-1].sqrt(), vectors[:, -1] * vectors[:, -1].sum().sign()
    lengths, axes, explained = _axes(-values[:-1], vectors[:, :-1], NEGLIGIBLE * float(values[-1]))
    inverse = torch.where(lengths > 0.0, 1.0 / lengths, 0.0)
    products = (
        torch.zeros(0, len(scaled), dtype=torch.float64) if others is None else torch.cosh(others.double() * root)
    )
    return Projection(
        _disk_points(first * length, axes * lengths),
        explained,
        _disk_points(products @ first / length, -(products @ axes) * inverse),
    )


def _disk_points(time: Tensor, space: Tensor) -> Tensor:
    """Nearest points of the plane, from Lorentz coordinates, in the disk."""
    left = (time.square() - space.square().sum(dim=1)).clamp_min(torch.finfo(time.dtype).tiny)
    return space / (time + left.sqrt())[:, None]


def project_to_plane(distances: Tensor) -> Projection:
    r"""Place points of a Euclidean space of any dimension in the plane.

    .. math:: -\tfrac{1}{2} H D^{\circ 2} H = \sum_k a_k a_k^T, \qquad z_i = (a_{1i}, a_{2i})

    with the centring matrix ``H``; the coordinates are those of ordinary PCA.

    Args:
        distances: Euclidean distances, shape ``(N, N)``, N at least 3.

    Returns:
        Points around 0, in the unit of the distances.

    Raises:
        ValueError: if ``distances`` are not such.
    """
    square = _check(distances).square()
    rows = square.mean(dim=0)
    values, vectors = torch.linalg.eigh((rows + rows[:, None] - rows.mean() - square) / 2)
    lengths, axes, explained = _axes(values, vectors, NEGLIGIBLE * float(square.max()))
    return Projection(axes * lengths, explained, torch.zeros(0, 2, dtype=torch.float64))
