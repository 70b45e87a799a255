"""Random tensors that depend on a generator only; all of them are drawn, and stay, on the central processor.

So the same seed gives the same samples wherever a training computes, and whoever gathers the crops can draw ahead.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ham.errors import ConfigError

Range = tuple[float, float]
"""Lowest and highest value of something drawn uniformly."""

ALL = slice(None)
"""Everything that is drawn is for this process."""


def uniform(shape: Sequence[int], bounds: Range, generator: torch.Generator) -> Tensor:
    """Draw floats uniformly from ``[low, high)``, the two ``bounds``; both the same gives a constant."""
    low, high = bounds
    draw = torch.rand(tuple(shape), generator=generator)
    return low + (high - low) * draw


def normal(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Draw floats from the normal distribution of mean 0 and variance 1."""
    return torch.randn(tuple(shape), generator=generator)


def integers(shape: Sequence[int], low: int, high: int, generator: torch.Generator) -> Tensor:
    """Draw integers, int64, uniformly from ``low`` to ``high``, both included."""
    return torch.randint(low, high + 1, tuple(shape), generator=generator)


def weighted(num: int, weights: Sequence[float], generator: torch.Generator) -> Tensor:
    """Draw numbers of choices, each with a probability in proportion to its weight.

    Args:
        num: how many.
        weights: of each choice, at least 0, their sum above 0.
        generator: source of the randomness.

    Returns:
        Numbers from 0 to ``len(weights) - 1``, int64, shape ``(num,)``.
    """
    edges = torch.tensor(weights, dtype=torch.float64).cumsum(0)
    draw = torch.rand(num, dtype=torch.float64, generator=generator)
    return torch.searchsorted(edges / edges[-1], draw, right=True)


def distinct(num: int, count: int, total: int, generator: torch.Generator) -> Tensor:
    """Draw numbers from 0 to ``total - 1``, none twice within a row; every such row is equally likely.

    Args:
        num: number of rows.
        count: numbers a row; at most ``total`` are given.
        total: how many there are to draw from.
        generator: source of the randomness.

    Returns:
        Shape ``(num, min(count, total))``, int64.
    """
    if count == 1:
        return integers((num, 1), 0, total - 1, generator)  # nothing can repeat: ``total`` draws fewer
    order = torch.rand((num, total), generator=generator)
    return order.topk(min(count, total), dim=1).indices


def within(numbers: Tensor, part: slice, total: int) -> slice:
    """Which of some numbers below ``total``, in ascending order, lie in a part of the ``total``."""
    first, end = torch.searchsorted(numbers, torch.tensor(part.indices(total)[:2])).tolist()
    return slice(first, end)


def check_range(name: str, bounds: Range, *, lowest: float = float("-inf")) -> Range:
    """Give ``bounds`` back if they are in order and not below ``lowest``; ``name`` is the option's.

    Raises:
        ConfigError: if ``low > high`` or ``low < lowest``; a value that is not a number fails both.
    """
    low, high = bounds
    if not lowest <= low <= high:
        least = "" if lowest == float("-inf") else f" and at least {lowest:g}"
        raise ConfigError(f"augmentation: {name} must be (low, high) in order{least}, found ({low:g}, {high:g})")
    return bounds
