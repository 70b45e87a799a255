"""Whether two batches hold the same, down to the last tensor of what was drawn for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch

from ham.data.batches import Batch


def leaves(value: Any) -> Iterator[Any]:
    """Everything in it that holds nothing else."""
    if is_dataclass(value):
        value = [getattr(value, field.name) for field in fields(value)]
    if isinstance(value, (list, tuple)):
        for one in value:
            yield from leaves(one)
    else:
        yield value.tolist() if isinstance(value, np.ndarray) else value


def assert_same(ours: Batch, theirs: Batch) -> None:
    for one, other in zip(leaves(ours), leaves(theirs), strict=True):
        if isinstance(one, torch.Tensor):
            assert one.dtype == other.dtype
            assert torch.equal(one, other)
        else:
            assert one == other
