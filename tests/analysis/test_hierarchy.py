"""Measures of a planted tree, and the file that holds them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ham.analysis import hierarchy
from ham.analysis.hierarchy import Hierarchy
from ham.analysis.radius import measure_radius
from ham.errors import DataError
from tests.analysis.test_radius import radii
from tests.analysis.test_tree import balanced, planted


def test_a_planted_tree_is_read_off_and_noise_is_not() -> None:
    leaves = balanced()
    found = hierarchy.measure_structure(planted(leaves), leaves)
    assert (found.num_utterances, found.num_speakers, found.embedding_dim) == (48, 12, 40)
    assert {name: entry.value for name, entry in found.purity.items()} == dict.fromkeys(
        ("sex", "sex_accent", "speaker"), 1.0
    )
    assert found.tree_correlation.value > 0.85
    noise = np.random.default_rng(0).normal(size=(48, 40)).astype(np.float32)
    none = hierarchy.measure_structure(noise, leaves)
    assert abs(none.tree_correlation.value) < 0.1
    assert all(abs(entry.value - entry.chance) < 0.15 for entry in none.purity.values())
    assert found.delta < 0.5 * none.delta


def test_structure_depends_on_directions_only_and_on_no_order() -> None:
    leaves = balanced()
    embeddings = planted(leaves)
    scaled = embeddings * np.random.default_rng(0).uniform(0.5, 20, size=(48, 1)).astype(np.float32)
    found, other = hierarchy.measure_structure(embeddings, leaves), hierarchy.measure_structure(scaled, leaves)
    assert other.delta == pytest.approx(found.delta, rel=1e-4)
    assert other.tree_correlation.value == pytest.approx(found.tree_correlation.value, rel=1e-3)
    order = np.random.default_rng(2).permutation(48)
    mixed = hierarchy.measure_structure(embeddings[order], [leaves[i] for i in order])
    assert mixed.tree_correlation.value == pytest.approx(found.tree_correlation.value)


def test_structure_refuses_zeros_and_too_few() -> None:
    leaves = balanced()
    embeddings = planted(leaves)
    embeddings[5] = 0
    with pytest.raises(DataError, match="zeros in row 5"):
        hierarchy.measure_structure(embeddings, leaves)
    with pytest.raises(DataError, match="at least 4 utterances, found 3"):
        hierarchy.measure_structure(embeddings[:3], leaves[:3])


def measured() -> Hierarchy:
    """Everything about a made-up system."""
    leaves = balanced()
    trend = measure_radius(radii(1, 2, 3, 4, 5, 6, 7), np.array([3.0, 4.0]))
    structure = hierarchy.measure_structure(planted(leaves), leaves)
    return Hierarchy(
        "a", 1, None, {"x": "1"}, "python", structure, 0.25, 2, trend, trend, {"p05": 0.1, "p50": 0.2, "p95": 0.3}
    )


def test_the_file_holds_every_measure(tmp_path: Path) -> None:
    hierarchy.write_hierarchy(tmp_path / "hierarchy.json", measured())
    found = json.loads((tmp_path / "hierarchy.json").read_text(encoding="utf-8"))
    assert found["structure"]["purity"]["sex"]["value"] == 1.0
    assert found["structure"]["levels"]["sex"]["correlation"]["value"] > 0.9
    assert found["structure"]["effective_rank"] > 1
    assert found["norm"]["duration"]["median"]["0.5 s"] == 1.125
    assert (found["delta_gaussian"], found["commit"]) == (0.25, None)
    assert [path.name for path in tmp_path.iterdir()] == ["hierarchy.json"]
