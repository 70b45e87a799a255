"""Directions of embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from ham.embeddings.directions import unit_rows
from ham.errors import DataError


def test_rows_have_length_one_and_point_where_they_did() -> None:
    rows = np.random.default_rng(0).normal(size=(7, 5)).astype(np.float32)
    found = unit_rows(rows)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [[x / sum(v**2 for v in row) ** 0.5 for x in row] for row in rows.astype(float)])
    np.testing.assert_allclose(unit_rows(1e-30 * rows), found, rtol=1e-5)  # squares in float32 would be zero


@pytest.mark.parametrize(("wrong", "words"), [(0.0, "zeros"), (np.nan, "NaN or"), (-np.inf, "NaN or infinity")])
def test_what_has_no_direction_is_named(wrong: float, words: str) -> None:
    rows = np.ones((4, 3), np.float32)
    rows[2] = wrong
    with pytest.raises(DataError, match=f"^x.npz: expected embeddings with a direction, found {words}.* in row 2; "):
        unit_rows(rows, "x.npz")
