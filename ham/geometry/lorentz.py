r"""Hyperbolic space as the surface of a bowl, the Lorentz model: points, distances and maps at curvature ``-c``.

Picture a bowl that opens upwards for ever, one sheet of a hyperboloid. A point of it has ``D + 1`` coordinates. The
``D`` **space** components ``x`` say where it lies as seen from above; the **time** component :math:`x_t` is its
height. Nothing here lasts or passes: the words come from relativity, where time is the coordinate that enters a
product with a minus sign, as the height does here. The lowest point, ``x = 0`` at the height :math:`1/\sqrt{c}`, is
the origin; the walls are nearly straight, so that far out height and :math:`|x|` are nearly the same number, and both
grow exponentially with the distance from the origin.

The height follows from ``x``. A point is therefore stored by its space components alone, shape ``(..., D)``, every
vector is a point, and there is no boundary that one could cross:

.. math:: x_t = \sqrt{1/c + |x|^2}, \qquad \langle x, y \rangle_L = \langle x, y \rangle - x_t y_t,
          \qquad \langle x, x \rangle_L = -1/c

**Lengths.** The exponential map here is the geodesic one: ``expmap0(v)`` lies at distance ``|v|`` from the origin. That
of :mod:`ham.geometry.poincare`, ``tanh(sqrt(c)|v|)``, gives a point at distance ``2|v|``, as the metric of the ball is
twice the Euclidean one at its centre. The same point in both models is therefore
``to_poincare(expmap0(2 v)) = poincare.expmap0(v)``.

``curvature`` is a positive float, which is checked, or a 0-dimensional tensor where it is learnt: gradients flow to
it, and it is not checked, because reading it would stall a GPU. Curvature ``-c`` is reached by scaling from ``-1``,
:math:`d_c(x, y) = d_1(\sqrt{c}\, x, \sqrt{c}\, y)/\sqrt{c}`; the product of a length and ``sqrt(c)`` is called its
rapidity. Shape letters: ``B`` points, ``C`` other points, ``D`` coordinates.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ham.geometry.poincare import Curvature, arcosh1p, boundary_gap, root_of


def _unit_time(scaled: Tensor) -> Tensor:
    """Time components on the hyperboloid of curvature -1; the root is never of 0, so gradients are right anywhere."""
    return torch.sqrt(1.0 + scaled.square().sum(dim=-1, keepdim=True))


def max_rapidity(dtype: torch.dtype) -> float:
    r"""Largest geodesic length, in units of ``1/sqrt(c)``, that :func:`expmap0` lets a tangent vector have.

    .. math:: n = \operatorname{arsinh}\bigl(\tfrac{1}{2} M^{1/4}\bigr)

    with the largest number ``M`` of the type. Two opposite points at this length have :math:`u = \cosh(2 n) - 1 =
    M^{1/2}/2`, and :func:`pairwise_distance` forms ``u (u + 2)``, a quarter of ``M``: no product of two points
    overflows.

    Args:
        dtype: floating-point type of the points.

    Returns:
        The bound: 22.2 in float32 and 177 in float64.
    """
    return math.asinh(0.5 * float(torch.finfo(dtype).max) ** 0.25)


def time(x: Tensor, *, curvature: Curvature) -> Tensor:
    r"""Time component of points.

    .. math:: x_t = \sqrt{1/c + |x|^2}

    Args:
        x: space components, shape ``(..., D)``.
        curvature: positive ``c``; the hyperboloid has sectional curvature ``-c``.

    Returns:
        Time components, shape ``(..., 1)``, each at least ``1/sqrt(c)``.

    Raises:
        ValueError: if ``curvature`` is a float that is not positive and finite.
    """
    root = root_of(curvature)
    return _unit_time(x * root) / root


def distance(x: Tensor, y: Tensor, *, curvature: Curvature) -> Tensor:
    r"""Geodesic distance between each point of ``x`` and the point of ``y`` in the same row.

    .. math:: \frac{4}{c} \sinh^2\frac{\sqrt{c}\, d}{2} = \langle x - y, x - y \rangle_L = |x - y|^2 - (x_t - y_t)^2,
              \qquad x_t - y_t = \frac{\langle x - y, x + y \rangle}{x_t + y_t}

    Far from the origin this difference of squares cancels, and may come out negative. It is therefore taken as one
    square, that of the chord in the ball, which at ``c = 1`` reads

    .. math:: 2 \sinh\frac{d}{2} = \frac{\bigl|(1 + m)(x - y) - \tfrac{1}{2} (x_t - y_t)(x + y)\bigr|}
                                        {\sqrt{(1 + x_t)(1 + y_t)}}, \qquad m = \frac{x_t + y_t}{2}

    From the direct difference: right, with its gradients, down to equal points, where the distance is 0 and the
    gradient is taken as 0. Far out it loses digits: in float32 the relative error is 5e-5 for two points at a rapidity
    of 6, and 1e-4 to 6e-4 where one of them is at 12; embeddings within the default clip stay below 3.

    Args:
        x: space components, shape ``(B, D)``.
        y: space components, shape ``(B, D)``.
        curvature: positive ``c``; the hyperboloid has sectional curvature ``-c``.

    Returns:
        Distances, shape ``(B,)``, each at least 0.

    Raises:
        ValueError: if ``curvature`` is a float that is not positive and finite.
    """
    root = root_of(curvature)
    x_time, y_time = _unit_time(x * root), _unit_time(y * root)
    # Subtracted before they are scaled, since the rounding of two products would not cancel.
    difference, total = (x - y) * root, (x + y) * root
    times = x_time + y_time
    time_difference = (difference * total).sum(dim=-1, keepdim=True) / times
    # Divided by 1 + m before the norm, whose squares would overflow otherwise.
    double = 2.0 + times
    chord = torch.linalg.vector_norm(difference - total * (time_difference / double), dim=-1)
    weight = 0.25 * double / (torch.sqrt(1.0 + x_time) * torch.sqrt(1.0 + y_time))
    return 2.0 * torch.asinh(chord * weight.squeeze(-1)) / root


def pairwise_distance(x: Tensor, y: Tensor, *, curvature: Curvature) -> Tensor:
    r"""Geodesic distance between every point of ``x`` and every point of ``y``.

    .. math:: d_c(x, y) = \frac{1}{\sqrt{c}} \operatorname{arcosh}(1 + u), \qquad u = -c \langle x, y \rangle_L - 1

    One matrix product; memory is ``B x C``. With the excess :math:`\tau = \sqrt{c}\, x_t - 1 = c|x|^2/(1 + \sqrt{c}\,
    x_t)`, at ``c = 1``, :math:`u = \tau_x + \tau_y + \tau_x \tau_y - \langle x, y \rangle` holds no 1 to be lost
    against, so points near the origin keep their digits. Nearly equal points come out at the floor of
    :func:`ham.geometry.poincare.arcosh1p` (``1.4e-3 / sqrt(c)`` in float32) with gradient 0, because a product has lost
    their difference. Far from the origin ``u`` carries an error of the rounding unit times ``c x_t y_t``: in float32 a
    distance of ``1/sqrt(c)`` is right to 1e-2 at a rapidity of 6 and lost at 8. :func:`distance` keeps both.

    Args:
        x: space components, shape ``(B, D)``.
        y: space components, shape ``(C, D)``.
        curvature: positive ``c``; the hyperboloid has sectional curvature ``-c``.

    Returns:
        Distances, shape ``(B, C)``, each positive. Differentiable once.

    Raises:
        ValueError: if ``curvature`` is a float that is not positive and finite.
    """
    root = root_of(curvature)
    x, y = x * root, y * root
    x_square, y_square = x.square().sum(dim=1, keepdim=True), y.square().sum(dim=1, keepdim=True)
    x_excess = x_square / (1.0 + torch.sqrt(1.0 + x_square))
    y_excess = y_square / (1.0 + torch.sqrt(1.0 + y_square))
    left = torch.cat([-x, 1.0 + x_excess, x_excess], dim=1)
    right = torch.cat([y, y_excess, torch.ones_like(y_excess)], dim=1)
    return arcosh1p(left @ right.T) / root


def expmap0(v: Tensor, *, curvature: Curvature) -> Tensor:
    r"""Exponential map at the origin: the point that a tangent vector leads to.

    .. math:: \exp_0(v) = \sinh(\sqrt{c} |v|) \frac{v}{\sqrt{c} |v|}

    The point lies at geodesic distance ``|v|`` from the origin (half of what the map of the ball in this code base
    gives, see the head of the module). Lengths beyond :func:`max_rapidity` are taken as on it, without a radial
    gradient. Products of two points tell neighbours apart in float32 up to a rapidity of about 6.

    Args:
        v: tangent vectors at the origin, shape ``(..., D)``.
        curvature: positive ``c``; the hyperboloid has sectional curvature ``-c``.

    Returns:
        Space components, shape ``(..., D)``.

    Raises:
        ValueError: if ``curvature`` is a float that is not positive and finite.
    """
    # Below sqrt(tiny) squares underflow; sinh(n)/n is 1 there in every digit.
    least = math.sqrt(torch.finfo(v.dtype).tiny)
    norm = (torch.linalg.vector_norm(v, dim=-1, keepdim=True) * root_of(curvature)).clamp_min(least)
    return torch.mul(v, torch.sinh(norm.clamp_max(max_rapidity(v.dtype))) / norm)


def to_poincare(x: Tensor, *, curvature: Curvature) -> Tensor:
    r"""Isometry onto the ball of radius ``1/sqrt(c)``: the projection from the point of time ``-1/sqrt(c)``.

    .. math:: z = \frac{x}{1 + \sqrt{1 + c |x|^2}}

    ``poincare.distance`` of the images is :func:`distance` of the points. Of the exponential maps it holds that
    ``to_poincare(expmap0(2 v)) = poincare.expmap0(v)``, because the ball's map gives a point at distance ``2|v|``. Far
    points round onto the boundary: beyond a rapidity of 12.7 in float32 (``2 artanh(1 - boundary_gap)``) the ball's
    functions take them as nearer than they are.

    Args:
        x: space components, shape ``(..., D)``.
        curvature: positive ``c``; both models have sectional curvature ``-c``.

    Returns:
        Points of the ball, shape ``(..., D)``.

    Raises:
        ValueError: if ``curvature`` is a float that is not positive and finite.
    """
    return x / (1.0 + _unit_time(x * root_of(curvature)))


def from_poincare(z: Tensor, *, curvature: Curvature) -> Tensor:
    r"""Isometry from the ball onto the hyperboloid, the inverse of :func:`to_poincare`.

    .. math:: x = \frac{2 z}{1 - c |z|^2}

    Args:
        z: points of the ball, shape ``(..., D)``; on and beyond the boundary the denominator is taken as at
            :func:`ham.geometry.poincare.boundary_gap` inside it, so that points stay finite.
        curvature: positive ``c``; both models have sectional curvature ``-c``.

    Returns:
        Space components, shape ``(..., D)``.

    Raises:
        ValueError: if ``curvature`` is a float that is not positive and finite.
    """
    norm: Tensor = torch.linalg.vector_norm(z, dim=-1, keepdim=True) * root_of(curvature)
    edge = 1.0 - boundary_gap(z.dtype)
    gap = ((1.0 - norm) * (1.0 + norm)).clamp_min((1.0 - edge) * (1.0 + edge))
    return 2.0 * z / gap
