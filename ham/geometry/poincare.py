r"""Hyperbolic space as the inside of a ball, the Poincaré model: points, distances and maps, in two conventions.

The two must not be mixed:

* **published** (Fang & He, arXiv 2601.19709, and its released code): points are clipped into the radius
  :math:`r = (1 - 10^{-5})/\sqrt{c}` and then measured with the distance of the *unit* ball, so ``c`` caps the norm
  and bends nothing. The functions say ``published`` in their names.
* **curvature -c**: the textbook ball of radius :math:`1/\sqrt{c}` (Ganea et al. 2018). All other functions.

Distances between all pairs are taken from the Gram form in one matrix product (memory ``B x C``, never
``B x C x D``); distances row by row from the direct difference, which keeps its digits where points nearly coincide.
Shape letters: ``B`` points, ``C`` other points, ``D`` coordinates.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

SHELL = 1e-5
"""Relative distance of the published clipping radius from the boundary (released code)."""

LEAST_PRODUCT = 1e-5
"""Floor of (1 - |z|^2)(1 - |w|^2) in the published distance (released code); it acts only for c below 1.0032."""

LEAST_RATIO = 1e-6
"""Floor of u in arcosh(1 + u) of the Gram form: the rounding noise of u in float32 at c = 3."""

Curvature: TypeAlias = float | Tensor
"""``c``: a number, checked, or a positive tensor of no dimension where it is learnt; that one is not read back."""


def least_ratio(dtype: torch.dtype) -> float:
    """Floor of u in arcosh(1 + u) of the Gram form.

    Args:
        dtype: floating-point type of the arithmetic.

    Returns:
        ``LEAST_RATIO`` in float32, and the same multiple of the machine epsilon in any other type.
    """
    return LEAST_RATIO * float(torch.finfo(dtype).eps / torch.finfo(torch.float32).eps)


class BallPoints(NamedTuple):
    """Points of the unit ball with what every distance needs of them, computed once.

    Attributes:
        points: the points, shape ``(N, D)``.
        square: their squared norms, shape ``(N, 1)``.
        gap: one minus the squared norms, shape ``(N, 1)``, computed without the cancellation of ``1 - square``.
    """

    points: Tensor
    square: Tensor
    gap: Tensor


def shrink(x: Tensor) -> Tensor:
    """Divide every row whose largest coordinate exceeds 1 by that coordinate, so that its norm cannot overflow.

    The divisor is a constant to autograd. This is exact for whatever depends on such rows through their direction
    alone, as a clipped point or a cosine does.

    Args:
        x: rows of any finite length, shape ``(N, D)``.

    Returns:
        Rows of the same directions with coordinates in -1..1, shape ``(N, D)``; short rows unchanged.
    """
    largest: Tensor = torch.linalg.vector_norm(x.detach(), ord=math.inf, dim=-1, keepdim=True)
    return torch.div(x, largest.clamp_min(1.0))


class _Arcosh1p(torch.autograd.Function):
    """arcosh(1 + max(u, floor)) in few passes over memory: one tensor is kept for the backward pass."""

    @staticmethod
    def forward(ctx: Any, ratio: Tensor) -> Tensor:
        """Value, see :func:`arcosh1p`; the root is infinite where the floor acts, so that its inverse is 0."""
        floor = least_ratio(ratio.dtype)
        floored = ratio.clamp_min(floor)
        root = torch.sqrt(floored * (floored + 2.0))
        value = floored.add_(root).log1p_()
        ctx.save_for_backward(root.masked_fill_(ratio < floor, math.inf))
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        """Incoming gradient over the root of u (u + 2)."""
        (root,) = ctx.saved_tensors
        return torch.div(grads[0], root)


def arcosh1p(ratio: Tensor) -> Tensor:
    r"""Inverse hyperbolic cosine of ``1 + u`` with ``u`` floored, for ratios out of the Gram form.

    .. math:: \operatorname{arcosh}(1 + u) = \operatorname{log1p}\bigl(u + \sqrt{u (u + 2)}\bigr),
              \qquad \frac{d}{du} = \frac{1}{\sqrt{u (u + 2)}}

    The sum ``1 + u`` is never formed, since it would round away the digits of a small ``u``. Below the floor of
    :func:`least_ratio` the value is that of the floor and the gradient is 0.

    Args:
        ratio: ``u`` of any shape; rounding may have made it slightly negative.

    Returns:
        Values of the same shape, each at least ``arcosh(1 + 1e-6) = 1.4e-3`` in float32. Differentiable once.
    """
    value: Tensor = _Arcosh1p.apply(ratio)  # type: ignore[no-untyped-call]
    return value


def _gram_ratio(a: BallPoints, b: BallPoints, least_product: float) -> Tensor:
    """Ratio u = 2 |a - b|^2 / max(gap_a gap_b, least_product) of all pairs."""
    one_a, one_b = torch.ones_like(a.square), torch.ones_like(b.square)
    left = torch.cat([a.points * -2.0, a.square, one_a], dim=1)
    right = torch.cat([b.points, one_b, b.square], dim=1)
    if least_product > 0.0:
        return 2.0 * (left @ right.T) / (a.gap * b.gap.T).clamp_min(least_product)
    # Without a floor the division folds into the factors of the product and costs no pass over (B, C).
    return (left * (2.0 / a.gap)) @ (right / b.gap).T


def pairwise_points_distance(a: BallPoints, b: BallPoints, *, least_product: float = 0.0) -> Tensor:
    r"""Distance in the unit ball between every point of ``a`` and every point of ``b``.

    .. math:: d = \operatorname{arcosh}\Bigl(1 + \frac{2 |a - b|^2}{(1 - |a|^2)(1 - |b|^2)}\Bigr),
              \qquad |a - b|^2 = |a|^2 + |b|^2 - 2 \langle a, b \rangle

    One matrix product; memory is ``B x C``. Nearly equal points lose their digits and come out at the floor of
    ``arcosh1p``: take such pairs from :func:`points_distance`.

    Args:
        a: ``B`` points of the unit ball.
        b: ``C`` points of the unit ball.
        least_product: floor of the denominator; 0 where the gaps are known to be positive.

    Returns:
        Distances, shape ``(B, C)``.
    """
    return arcosh1p(_gram_ratio(a, b, least_product))


def points_distance(a: BallPoints, b: BallPoints, *, least_product: float = 0.0) -> Tensor:
    r"""Distance in the unit ball between each point of ``a`` and the point of ``b`` in the same row.

    .. math:: d = 2 \operatorname{arsinh}\frac{|a - b|}{\sqrt{(1 - |a|^2)(1 - |b|^2)}}

    The same distance as :func:`pairwise_points_distance` from the direct difference: it keeps its digits, and its
    gradients are right, down to equal points, where the distance is 0 and the gradient is taken as 0.

    Args:
        a: ``B`` points of the unit ball.
        b: ``B`` points of the unit ball.
        least_product: floor of the product of the gaps; 0 where they are known to be positive.

    Returns:
        Distances, shape ``(B,)``.
    """
    product = (a.gap * b.gap).squeeze(-1)
    if least_product > 0.0:
        product = product.clamp_min(least_product)
    chord = torch.linalg.vector_norm(a.points - b.points, dim=-1)
    return 2.0 * torch.asinh(chord / torch.sqrt(product))


def published_radius(*, curvature: float) -> float:
    r"""Radius into which the published form clips its points, :math:`r = (1 - 10^{-5})/\sqrt{c}`.

    Args:
        curvature: published ``c``, at least 1; a larger one makes a smaller and flatter ball.

    Returns:
        The radius, below 1.

    Raises:
        ValueError: if ``curvature`` is not a finite number of at least 1.
    """
    if not 1.0 <= curvature < math.inf:
        raise ValueError(f"curvature must be at least 1 in the published form, found {curvature!r}")
    return (1.0 - SHELL) / math.sqrt(curvature)


def published_least_product(*, curvature: float) -> float:
    """Floor that the published distance needs at this curvature.

    Args:
        curvature: published ``c``, at least 1.

    Returns:
        ``LEAST_PRODUCT`` where two points on the shell fall below it, and 0 where the floor can never act.
    """
    gap = 1.0 - published_radius(curvature=curvature) ** 2
    return LEAST_PRODUCT if gap * gap < LEAST_PRODUCT else 0.0


def clip_norm(x: Tensor, radius: Curvature) -> Tensor:
    r"""Shorten every row that is longer than ``radius`` to it (feature clipping; Guo et al. 2022).

    .. math:: x \min(1, r / |x|)

    A row that is shortened has no radial gradient; it follows the radius where that is learnt. The origin and rows of
    any finite length are safe.

    Args:
        x: vectors, shape ``(N, D)``.
        radius: largest norm ``r``, positive: a number, or a tensor of no dimension with a gradient.

    Returns:
        Vectors of the same directions, shape ``(N, D)``.
    """
    largest = torch.linalg.vector_norm(x.detach(), ord=math.inf, dim=-1, keepdim=True)
    reduced = torch.div(x, largest.clamp_min(torch.finfo(x.dtype).tiny))
    norm: Tensor = torch.linalg.vector_norm(reduced, dim=-1, keepdim=True)
    clipped = norm * largest > radius
    return torch.where(clipped, reduced * (radius / torch.where(clipped, norm, 1.0)), x)


def clipped_points(x: Tensor, radius: float) -> BallPoints:
    r"""Points of the unit ball, clipped into a radius.

    .. math:: z = x \min(1, r / |x|)

    A clipped point has no radial gradient: its norm and its gap are constants to autograd. The origin and vectors
    of any finite length are safe.

    Args:
        x: vectors, shape ``(N, D)``.
        radius: largest norm ``r``, below 1.

    Returns:
        The clipped points.
    """
    x = shrink(x)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    # From the double-precision radius: in float32, 1 - r^2 has lost three digits at a radius of 1 - 1e-5.
    gap = torch.where(norm < radius, (1.0 - norm) * (1.0 + norm), 1.0 - radius * radius)
    points = x * (norm / radius).clamp_min(1.0).reciprocal()
    return BallPoints(points, norm.clamp_max(radius).square(), gap)


def published_points(x: Tensor, *, curvature: float) -> BallPoints:
    r"""Clip vectors into the published ball, with norms and gaps.

    .. math:: z = x \min(1, r / |x|), \qquad r = (1 - 10^{-5}) / \sqrt{c}

    Args:
        x: vectors of any finite length, shape ``(N, D)``.
        curvature: published ``c``, at least 1.

    Returns:
        The clipped points of the unit ball, see :func:`clipped_points`.

    Raises:
        ValueError: if ``curvature`` is not a finite number of at least 1.
    """
    return clipped_points(x, published_radius(curvature=curvature))


def root_of(curvature: Curvature) -> Curvature:
    """Square root of a curvature.

    Args:
        curvature: ``c``.

    Returns:
        The root, a number or a tensor as ``c`` is.

    Raises:
        ValueError: if ``c`` is a number that is not positive and finite.
    """
    if isinstance(curvature, Tensor):
        return torch.sqrt(curvature)
    if not 0.0 < curvature < math.inf:
        raise ValueError(f"curvature must be positive and finite, found {curvature!r}")
    return math.sqrt(curvature)


def boundary_gap(dtype: torch.dtype) -> float:
    """Least relative distance from the boundary that a point keeps, so that distances stay finite.

    Args:
        dtype: floating-point type of the points.

    Returns:
        The machine epsilon to the power 3/4: 6e-6 in float32 and 2e-12 in float64, where the distance between two
        opposite points of the shell is 25 and 56.
    """
    return float(torch.finfo(dtype).eps ** 0.75)


def _least_gap(dtype: torch.dtype) -> float:
    edge = 1.0 - boundary_gap(dtype)
    return (1.0 - edge) * (1.0 + edge)


def unit_points(x: Tensor, *, curvature: Curvature) -> BallPoints:
    r"""Points of the curvature ``-c`` ball as points of the unit ball, with norms and gaps.

    .. math:: d_c(x, y) = d_1(\sqrt{c}\, x, \sqrt{c}\, y) / \sqrt{c}

    Args:
        x: points inside the ball, shape ``(N, D)``.
        curvature: positive ``c``; the ball has sectional curvature ``-c`` and radius ``1 / sqrt(c)``.

    Returns:
        The points times ``sqrt(c)``; a gap is bounded from below for points on or outside the boundary.

    Raises:
        ValueError: if ``curvature`` is not positive and finite.
    """
    scaled = x * root_of(curvature)
    norm = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
    gap = ((1.0 - norm) * (1.0 + norm)).clamp_min(_least_gap(x.dtype))
    return BallPoints(scaled, norm.square(), gap)


def tangent_points(v: Tensor, *, curvature: Curvature) -> BallPoints:
    r"""Points that tangent vectors at the origin lead to, as points of the unit ball.

    .. math:: z = \tanh(a) \frac{v}{|v|}, \qquad 1 - |z|^2 = \frac{1}{\cosh^2 a}, \qquad
              a = \min(\sqrt{c} |v|, \operatorname{artanh}(1 - g))

    These are :func:`unit_points` of :func:`expmap0`, with ``g`` of :func:`boundary_gap`, without the digits that a
    point's coordinates lose near the boundary. A vector that is cut has no radial gradient, and none to ``c``.

    Args:
        v: tangent vectors, shape ``(N, D)``.
        curvature: positive ``c``; the ball has sectional curvature ``-c``.

    Returns:
        The points.

    Raises:
        ValueError: if ``curvature`` is not positive and finite.
    """
    # Below sqrt(tiny) squares underflow; tanh(a)/a is 1 there in every digit.
    norm = torch.linalg.vector_norm(v, dim=-1, keepdim=True).clamp_min(math.sqrt(torch.finfo(v.dtype).tiny))
    half = (norm * root_of(curvature)).clamp_max(math.atanh(1.0 - boundary_gap(v.dtype)))
    radius = torch.tanh(half)
    return BallPoints(v * (radius / norm), radius.square(), torch.cosh(half).square().reciprocal())


def expmap0(v: Tensor, *, curvature: Curvature) -> Tensor:
    r"""Exponential map at the origin: the point that a tangent vector leads to.

    .. math:: \exp_0(v) = \tanh(\sqrt{c} |v|) \frac{v}{\sqrt{c} |v|}

    The norm stays below the boundary by :func:`boundary_gap`, where it and its radial gradient saturate: bound
    ``sqrt(c) |v|`` beforehand (about 1.5) where the length of a vector has to be learnt.

    Args:
        v: tangent vectors at the origin, shape ``(..., D)``.
        curvature: positive ``c``; the ball has sectional curvature ``-c`` and radius ``1 / sqrt(c)``.

    Returns:
        Points inside the ball, shape ``(..., D)``.

    Raises:
        ValueError: if ``curvature`` is not positive and finite.
    """
    root = root_of(curvature)
    info = torch.finfo(v.dtype)
    # Below sqrt(tiny) squares underflow; tanh(n)/n is 1 there in every digit.
    norm = (torch.linalg.vector_norm(v, dim=-1, keepdim=True) * root).clamp_min(math.sqrt(info.tiny))
    return torch.mul(v, torch.tanh(norm).clamp_max(1.0 - boundary_gap(v.dtype)) / norm)


def mobius_add(x: Tensor, y: Tensor, *, curvature: Curvature) -> Tensor:
    r"""Möbius addition, the translation of ``y`` by ``x``.

    .. math:: x \oplus_c y = \frac{(1 + 2c\langle x, y\rangle + c|y|^2) x + (1 - c|x|^2) y}
                                  {1 + 2c\langle x, y\rangle + c^2 |x|^2 |y|^2}

    Args:
        x: points inside the ball, shape ``(..., D)``.
        y: points inside the ball, of a shape that broadcasts with ``x``.
        curvature: positive ``c``; the ball has sectional curvature ``-c`` and radius ``1 / sqrt(c)``.

    Returns:
        Points inside the ball up to rounding, of the broadcast shape.

    Raises:
        ValueError: if ``curvature`` is not positive and finite.
    """
    c = root_of(curvature) ** 2
    inner = 2.0 * c * (x * y).sum(dim=-1, keepdim=True)
    x_square = c * x.square().sum(dim=-1, keepdim=True)
    y_square = c * y.square().sum(dim=-1, keepdim=True)
    above = (1.0 + inner + y_square) * x + (1.0 - x_square) * y
    # |1 + c<x, y>|^2 at its least is (1 - c|x||y|)^2: zero only for two points on the boundary.
    return above / (1.0 + inner + x_square * y_square).clamp_min(_least_gap(x.dtype) ** 2)


def distance(x: Tensor, y: Tensor, *, curvature: Curvature) -> Tensor:
    r"""Geodesic distance between each point of ``x`` and the point of ``y`` in the same row.

    .. math:: d_c(x, y) = \frac{1}{\sqrt{c}} \operatorname{arcosh}\Bigl(
                              1 + \frac{2c|x - y|^2}{(1 - c|x|^2)(1 - c|y|^2)}\Bigr)
                        = \frac{2}{\sqrt{c}} \operatorname{artanh}\bigl(\sqrt{c}\, |(-x) \oplus_c y|\bigr)

    From the direct difference: right, with its gradients, down to equal points, where the gradient is taken as 0.

    Args:
        x: points inside the ball, shape ``(B, D)``.
        y: points inside the ball, shape ``(B, D)``.
        curvature: positive ``c``; the ball has sectional curvature ``-c`` and radius ``1 / sqrt(c)``.

    Returns:
        Distances, shape ``(B,)``, each at least 0; finite for points on or outside the boundary.

    Raises:
        ValueError: if ``curvature`` is not positive and finite.
    """
    a, b = unit_points(x, curvature=curvature), unit_points(y, curvature=curvature)
    return points_distance(a, b) / root_of(curvature)


def pairwise_distance(x: Tensor, y: Tensor, *, curvature: Curvature) -> Tensor:
    r"""Geodesic distance between every point of ``x`` and every point of ``y``; see :func:`distance`.

    One matrix product; memory is ``B x C``. Nearly equal points come out at ``1.4e-3 / sqrt(c)``, the floor of
    :func:`arcosh1p`, because the Gram form has lost their difference; :func:`distance` keeps it.

    Args:
        x: points inside the ball, shape ``(B, D)``.
        y: points inside the ball, shape ``(C, D)``.
        curvature: positive ``c``; the ball has sectional curvature ``-c`` and radius ``1 / sqrt(c)``.

    Returns:
        Distances, shape ``(B, C)``, each positive.

    Raises:
        ValueError: if ``curvature`` is not positive and finite.
    """
    a, b = unit_points(x, curvature=curvature), unit_points(y, curvature=curvature)
    return pairwise_points_distance(a, b) / root_of(curvature)
