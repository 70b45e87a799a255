r"""Gromov's delta-hyperbolicity: how far a set of distances is from those of a tree.

.. math:: A_{ij} = \frac{D_{iw} + D_{jw} - D_{ij}}{2}, \qquad
          \delta_w = \max_{i,j} \bigl(\max_k \min(A_{ik}, A_{kj}) - A_{ij}\bigr), \qquad
          \delta_{rel} = \frac{2 \max_w \delta_w}{\max_{i,j} D_{ij}}

``A`` is the Gromov product at the base point ``w``. The relative form is 0 for a tree and at most 1. It depends on the
metric, the number of points and the base points as much as on the data, so models are compared in one fixed metric,
that of :func:`chord_distances`, on the same number of points, beside :func:`gaussian_baseline`.
Shape letters: ``N`` points, ``D`` coordinates.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK_NUMEL = 1 << 15
"""Numbers in a block of rows. Two such blocks (0.25 MB in float32) stay in a core's cache for the pass over ``k``, and
PyTorch shares out only operations on more numbers (its grain size) to threads: meeting 100,000 times costs more."""

TOLERANCE = 1e-5
"""Asymmetry and diagonal, relative to the diameter, that are taken as float32 rounding of a Gram form."""


def _validate(distances: Tensor) -> float:
    """Refuse what is no matrix of distances; the diameter is returned."""
    if distances.ndim != 2 or distances.shape[0] != distances.shape[1]:
        raise ValueError(f"distances must be a square matrix, found shape {tuple(distances.shape)}")
    if len(distances) < 4:
        raise ValueError(f"delta is a property of at least 4 points, found {len(distances)}")
    if not torch.isfinite(distances).all():
        raise ValueError("distances must be finite, found NaN or infinity")
    diameter = distances.max().item()
    slack = TOLERANCE * diameter
    if distances.min() < 0 or distances.diagonal().max() > slack or (distances - distances.T).max() > slack:
        raise ValueError("distances must be symmetric and at least 0 with a diagonal of 0")
    return float(diameter)


def _delta(distances: Tensor, base: int) -> Tensor:
    """Delta at a base point: blocks of rows of the upper triangle, each with one in-place pass over k."""
    from_base = distances[base]
    product = (from_base[:, None] + from_base[None] - distances).div_(2.0)
    num_points, start = len(product), 0
    largest = product.new_zeros(())
    while start < num_points:
        # A and its max-min square are symmetric: columns before the block are rows of an earlier one.
        stop = start + max(1, BLOCK_NUMEL // (num_points - start))
        rows, columns = product[start:stop], product[:, start:].contiguous()
        best, least = torch.full_like(rows[:, start:], -torch.inf), torch.empty_like(rows[:, start:])
        for left, right in zip(rows.T.contiguous()[:, :, None], columns[:, None], strict=True):
            torch.maximum(best, torch.minimum(left, right, out=least), out=best)
        largest = torch.maximum(largest, best.sub_(rows[:, start:]).max())
        start = stop
    return largest


def delta(distances: Tensor, *, base: int) -> Tensor:
    r"""Gromov's delta of a finite metric space at one base point.

    .. math:: \delta_w = \max_{i,j} \bigl(\max_k \min(A_{ik}, A_{kj}) - A_{ij}\bigr), \qquad
              A_{ij} = \tfrac{1}{2} (D_{iw} + D_{jw} - D_{ij})

    The largest over all base points is the delta of the four-point condition; one base point gives at least half of it.
    Time grows as ``N^3`` (1,500 points in about 0.6 s on one core); no tensor is larger than ``N x N``.

    Args:
        distances: symmetric distances ``D``, shape ``(N, N)``.
        base: number of the base point ``w``, 0..N-1.

    Returns:
        Scalar of the type of ``distances``, at least 0.

    Raises:
        ValueError: if ``distances`` is no such matrix, has fewer than 4 points, or has no point ``base``.
    """
    _validate(distances)
    if not 0 <= base < len(distances):
        raise ValueError(f"base must be a point in 0..{len(distances) - 1}, found {base}")
    return _delta(distances, base)


def relative_delta(distances: Tensor, *, num_bases: int = 10, seed: int = 0) -> float:
    r"""Delta relative to the diameter, the largest over several base points.

    .. math:: \delta_{rel} = \frac{2 \max_w \delta_w}{\max_{i,j} D_{ij}}

    Args:
        distances: symmetric distances, shape ``(N, N)``.
        num_bases: number of base points, drawn without replacement; all points where ``N`` is no larger.
        seed: of the draw.

    Returns:
        A number in 0..1; it does not change when all distances are multiplied by a number.

    Raises:
        ValueError: if ``distances`` is no such matrix, has fewer than 4 points or a diameter of 0, or ``num_bases`` is
            not positive.
    """
    diameter = _validate(distances)
    if diameter == 0.0:
        raise ValueError("distances must have a diameter above 0, found all points equal")
    if num_bases < 1:
        raise ValueError(f"num_bases must be at least 1, found {num_bases}")
    bases = torch.randperm(len(distances), generator=torch.Generator().manual_seed(seed))[:num_bases]
    return 2.0 * max(_delta(distances, base).item() for base in bases.tolist()) / diameter


def chord_distances(x: Tensor) -> Tensor:
    r"""Euclidean distance between the directions of all rows.

    .. math:: D_{ij} = \Bigl|\frac{x_i}{|x_i|} - \frac{x_j}{|x_j|}\Bigr| = \sqrt{2 - 2 \cos(x_i, x_j)}

    One matrix product in float64, whatever the type of ``x``: rows of nearly equal direction are right to 2e-8.

    Args:
        x: rows, shape ``(N, D)``.

    Returns:
        Distances in 0..2 of the type of ``x``, shape ``(N, N)``, symmetric with a diagonal of exactly 0.

    Raises:
        ValueError: if ``x`` is not a matrix, or a row is zero or not finite and so has no direction.
    """
    if x.ndim != 2:
        raise ValueError(f"rows of a matrix are expected, found shape {tuple(x.shape)}")
    wide = x.double()
    norm: Tensor = torch.linalg.vector_norm(wide, dim=1, keepdim=True)
    if not (torch.isfinite(norm) & (norm > 0.0)).all():
        raise ValueError("every row must be finite and not zero to have a direction")
    unit = wide / norm
    cosine = unit @ unit.T
    square = (2.0 - (cosine + cosine.T)).clamp_(0.0, 4.0)
    return square.sqrt_().fill_diagonal_(0.0).to(x.dtype)


def gaussian_baseline(num_points: int, dim: int, *, num_bases: int = 10, seed: int = 0) -> float:
    """Relative delta of chord distances of standard normal points: what data without any hierarchy give.

    Args:
        num_points: ``N``, that of the data it stands beside.
        dim: ``D``, likewise.
        num_bases: number of base points, likewise.
        seed: of the points and of the base points.

    Returns:
        A number in 0..1, the same at every call.

    Raises:
        ValueError: if there are fewer than 4 points, or ``num_bases`` is not positive.
    """
    points = torch.randn(num_points, dim, generator=torch.Generator().manual_seed(seed))
    return relative_delta(chord_distances(points), num_bases=num_bases, seed=seed)
