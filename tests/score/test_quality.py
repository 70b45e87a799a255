"""Quality measures of recordings against small known values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import ham.losses
from ham.embeddings.table import EmbeddingTable
from ham.errors import DataError
from ham.score.calibration import fit
from ham.score.quality import durations, embedding_norms, hyperbolic_radii, quality_columns


def test_quality_columns_do_not_depend_on_the_sides() -> None:
    values = np.array([5.0, 1.0, 3.0])
    enrol, test = np.array([0, 1, 2]), np.array([1, 0, 2])
    found = quality_columns("d", values, enrol, test)
    expected = {"d/lesser": [1, 1, 3], "d/greater": [5, 5, 3]}
    assert {name: column.tolist() for name, column in found.items()} == expected
    with_ratio = quality_columns("d", values, enrol, test, ratio=True)
    assert {name: column.tolist() for name, column in with_ratio.items()} == {**expected, "d/ratio": [5, 5, 1]}
    nothing = quality_columns("d", np.array([0.0, 2.0]), np.array([0, 1]), np.array([1, 1]), ratio=True)
    with pytest.raises(DataError, match="expected finite numbers in d/ratio, found inf at 1"):
        fit(nothing, np.array([1, 0]))


def test_measures_of_utterances() -> None:
    table = EmbeddingTable(("a", "b"), np.array([[3, 4], [0, 0.5]], np.float32), "x.npz")
    assert embedding_norms(table).tolist() == [5.0, 0.5]
    rows = np.array([1, 0, 1])
    assert durations(table, {"b": 1.0, "a": 2.5, "c": 9.0}, rows).tolist() == [2.5, 1.0]
    assert np.isnan(durations(table, {"a": 2.5}, rows[1:2])[1])  # nobody asked for it
    for known in ({"a": 1.0}, {"a": 1.0, "b": 0.0}, {"a": 1.0, "b": math.nan}):
        with pytest.raises(DataError, match=r"x.npz: expected a duration above 0 s for b, found (none|0.0|nan)"):
            durations(table, known, rows)


@pytest.mark.parametrize("geometry", ["published", "poincare", "lorentz"])
def test_radius_is_twice_the_tangent_length(geometry: str) -> None:
    table = EmbeddingTable(("a", "b"), np.array([[0.03, 0.04], [0, 0.5]], np.float32))
    loss = ham.losses.build("ham_softmax", 2, 3, curvature=1.0, geometry=geometry)
    tangent = torch.tensor([0.05, 0.5])
    expected = 2 * torch.atanh(tangent) if geometry == "published" else 2 * tangent * loss.space.embedding_scale
    assert hyperbolic_radii(table, loss.distance) == pytest.approx(expected.numpy(), rel=1e-5)
