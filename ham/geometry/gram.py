r"""Distances of all pairs from one matrix product: every pair's ``u`` in :math:`\cosh d = 1 + u`, in any geometry.

A point at hyperbolic distance ``a`` from the origin in the direction of ``w`` is written with three numbers that
depend on its length alone,

.. math:: \alpha w = \tfrac12 \sinh(a) \frac{w}{|w|}, \qquad \beta = \cosh^2\tfrac{a}{2}, \qquad
          \gamma = \sinh^2\tfrac{a}{2}, \qquad
          u(z, w) = -4 \alpha_z \alpha_w \langle z, w\rangle + 2 (\gamma_z \beta_w + \beta_z \gamma_w),

at curvature -1. In the unit ball :math:`\alpha w = z / (1 - |z|^2)`, :math:`\beta = 1 / (1 - |z|^2)` and
:math:`\gamma = |z|^2 / (1 - |z|^2)`, which is the Gram form of :mod:`ham.geometry.poincare`; on the hyperboloid they
are half the space components and :math:`(x_0 \pm 1) / 2`. Autograd sees only the ``N`` numbers ``|w|^2``: the gradients
of all ``N x D`` coordinates follow from theirs in closed form.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ham.geometry.poincare import BallPoints, Curvature

NO_DIRECTION = 1e-12
"""Vectors shorter than this have no direction."""


class Radial(NamedTuple):
    r"""The three numbers of every point, shape ``(N,)`` each, functions of its vector's squared length.

    Attributes:
        alpha: :math:`\alpha`, what the vector is multiplied by.
        beta: :math:`\beta`.
        gamma: :math:`\gamma = \beta - 1`.
    """

    alpha: Tensor
    beta: Tensor
    gamma: Tensor


def left_rows(points: BallPoints) -> Tensor:
    r"""The left factor of ``u``.

    Args:
        points: ``B`` points of the unit ball.

    Returns:
        Rows :math:`(-4 \alpha z, 2 \gamma, 2 \beta)`, shape ``(B, D + 2)``.
    """
    inverse = 2.0 / points.gap
    return torch.cat([points.points * (-2.0 * inverse), points.square * inverse, inverse], dim=1)


def hyperboloid_left_rows(space: Tensor) -> Tensor:
    r"""The left factor of ``u`` for points of the hyperboloid of curvature -1.

    Args:
        space: space components, shape ``(B, D)``.

    Returns:
        Rows :math:`(-4 \alpha z, 2 \gamma, 2 \beta) = (-2 x, x_0 - 1, x_0 + 1)`, shape ``(B, D + 2)``.
    """
    square = space.square().sum(dim=1, keepdim=True)
    above = 1.0 + torch.sqrt(1.0 + square)
    return torch.cat([space * -2.0, square / above, above], dim=1)


def right_rows(w: Tensor, alpha: Tensor, *further: Tensor) -> Tensor:
    r"""The right factor, of ``u`` where the three numbers of :class:`Radial` are given; without autograd.

    Args:
        w: vectors, shape ``(C, D)``.
        alpha: what each vector is multiplied by, shape ``(C,)``.
        *further: numbers for further columns, shape ``(C,)`` each.

    Returns:
        Rows :math:`(\alpha w, \beta, \gamma)`, shape ``(C, D + len(further))``.
    """
    count, dim = w.shape
    rows = w.new_empty(count, dim + len(further))
    torch.mul(w, alpha[:, None], out=rows[:, :dim])
    for column, values in enumerate(further, start=dim):
        rows[:, column] = values
    return rows


def ball_radial(square: Tensor, *, scale: Curvature, radius: float) -> Radial:
    r"""Vectors that are points of the unit ball after a factor, clipped to a radius.

    Args:
        square: squared lengths of the vectors, shape ``(N,)``.
        scale: positive factor: 1, or :math:`\sqrt{c}` for points of the curvature ``-c`` ball.
        radius: largest norm in the unit ball, below 1.

    Returns:
        Their numbers; a clipped point has no radial gradient, and none to the factor.
    """
    norm2 = square * scale**2
    inside = norm2 < radius**2
    shorten = torch.where(inside, scale, radius * torch.rsqrt(torch.where(inside, 1.0, square)))
    gap = torch.where(inside, 1.0 - norm2, 1.0 - radius**2)
    beta = gap.reciprocal()
    return Radial(shorten * beta, beta, norm2.clamp_max(radius**2) * beta)


def tangent_radial(square: Tensor, *, scale: Curvature, limit: Curvature) -> Radial:
    r"""Tangent vectors ``v`` at the origin, mapped by the exponential map of the ball to distance :math:`2 |v|`.

    Args:
        square: squared lengths of the vectors, shape ``(N,)``.
        scale: positive factor, :math:`\sqrt{c}` where no other factor is wanted.
        limit: largest length after the factor.

    Returns:
        Their numbers, with ``a`` twice the length after the factor.
    """
    norm = torch.sqrt(square.clamp_min(torch.finfo(square.dtype).tiny))
    half = torch.minimum(norm * scale, torch.as_tensor(limit, dtype=norm.dtype, device=norm.device))
    gamma = torch.sinh(half).square()
    return Radial(torch.sinh(2.0 * half) / (2.0 * norm), 1.0 + gamma, gamma)


def hyperboloid_radial(square: Tensor, *, scale: Curvature) -> Radial:
    r"""Vectors that are space components on the hyperboloid of curvature -1 after a factor.

    Args:
        square: squared lengths of the vectors, shape ``(N,)``.
        scale: positive factor: :math:`\sqrt{c}` for points of the curvature ``-c`` hyperboloid.

    Returns:
        Their numbers; no boundary exists.
    """
    norm2 = square * scale**2
    beta = 0.5 * (1.0 + torch.sqrt(1.0 + norm2))
    return Radial(torch.ones_like(square) * (0.5 * scale), beta, 0.25 * norm2 / beta)


def shell_radial(square: Tensor, *, half: Curvature, limit: float) -> Radial:
    r"""Directions on one shell around the origin, whatever the vectors' lengths.

    Args:
        square: squared lengths of the vectors, shape ``(N,)``.
        half: half the shell's hyperbolic radius, :math:`a / 2`.
        limit: largest ``half``, as that of :func:`tangent_radial`.

    Returns:
        Their numbers; a vector shorter than ``NO_DIRECTION`` lies at the origin and has no gradient.
    """
    half = torch.as_tensor(half, dtype=square.dtype, device=square.device).clamp_max(limit)
    directed = square >= NO_DIRECTION**2
    inverse = torch.rsqrt(torch.where(directed, square, 1.0)) * directed
    gamma = torch.sinh(half).square() * directed
    return Radial(0.5 * torch.sinh(2.0 * half) * inverse, 1.0 + gamma, gamma)
