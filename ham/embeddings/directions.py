"""Directions of embeddings: what the cosine, means of speakers, cohorts and trees compare."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ham.errors import DataError


def unit_rows(embeddings: NDArray[np.floating], place: str = "embeddings") -> NDArray[np.float64]:
    r"""Divide each row by its length, in float64: :math:`x_i / |x_i|`.

    Args:
        embeddings: shape ``(N, D)``.
        place: whose they are, for the error message.

    Returns:
        Rows of length 1, shape ``(N, D)``.

    Raises:
        DataError: if a row is zero or not finite, and so has no direction.
    """
    rows = embeddings.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0))[:, 0])
    if len(bad):
        found = "NaN or infinity" if not np.isfinite(lengths[bad[0]]) else "zeros"
        expected = "expected embeddings with a direction"
        raise DataError(f"{place}: {expected}, found {found} in row {bad[0]}; is the model broken?")
    unit: NDArray[np.float64] = rows / lengths
    return unit
