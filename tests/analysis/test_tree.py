"""Trees, purities and rank correlations against naive definitions and SciPy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from ham.analysis import tree
from ham.analysis.tree import Leaf
from ham.embeddings.directions import unit_rows
from ham.errors import DataError
from ham.geometry.delta import chord_distances

PAIRS_OF_PAIRS = np.array([[0, 1], [2, 3], [4, 5]])


def balanced(num_accents: int = 2, num_speakers: int = 3, num_sessions: int = 2, num_utts: int = 2) -> list[Leaf]:
    """A full tree with two sexes; sessions of all speakers have the same names."""
    grid = itertools.product("fm", range(num_accents), range(num_speakers), range(num_sessions), range(num_utts))
    return [Leaf(sex, f"a{accent}", f"{sex}{accent}{spk}", f"s{session}") for sex, accent, spk, session, _ in grid]


def planted(leaves: list[Leaf], dim: int = 40) -> NDArray[np.float32]:
    """A random step for every node of the tree, each a third as large as that of the node above."""
    generator = np.random.default_rng(1)
    steps: dict[tuple[str, ...], NDArray[np.float64]] = {}
    rows = [
        sum(steps.setdefault(leaf[:depth], generator.normal(size=dim)) / 3**depth for depth in range(1, len(leaf) + 1))
        for leaf in leaves
    ]
    return (np.stack(rows) + 1e-3 * generator.normal(size=(len(leaves), dim))).astype(np.float32)


def naive_purity(merges: NDArray[np.int64], labels: list[str]) -> float:
    """The definition: for every pair of a class, the smallest node that holds both."""
    nodes = [{leaf} for leaf in range(len(labels))]
    for left, right in merges:
        nodes.append(nodes[left] | nodes[right])
    shares = []
    for i, j in itertools.combinations(range(len(labels)), 2):
        if labels[i] == labels[j]:
            members = min((node for node in nodes if {i, j} <= node), key=len)
            shares.append(sum(labels[leaf] == labels[i] for leaf in members) / len(members))
    return float(np.mean(shares))


@pytest.mark.parametrize("seed", range(8))
def test_purity_is_its_definition(seed: int) -> None:
    generator = np.random.default_rng(seed)
    num_leaves = int(generator.integers(3, 14))
    points = torch.from_numpy(generator.normal(size=(num_leaves, 3)))
    merges = tree.average_tree(chord_distances(points)).merges
    labels = ["a", "a", *generator.choice(list("abc"), num_leaves - 2).tolist()]
    assert tree.dendrogram_purity(merges, labels) == pytest.approx(naive_purity(merges, labels))


def test_purity_of_known_trees() -> None:
    assert tree.dendrogram_purity(PAIRS_OF_PAIRS, ["a", "a", "b", "b"]) == 1.0
    assert tree.dendrogram_purity(PAIRS_OF_PAIRS, ["a", "b", "a", "b"]) == 0.5
    # Pairs (0, 1): 1; (0, 3) and (1, 3): 3 of 4.
    assert tree.dendrogram_purity(PAIRS_OF_PAIRS, ["a", "a", "b", "a"]) == pytest.approx((1 + 0.75 + 0.75) / 3)


def test_chance_is_the_mean_over_shuffles() -> None:
    found = tree.purity(PAIRS_OF_PAIRS, ["a", "a", "b", "b"])
    assert found.value == 1.0
    # A third of all shuffles keeps the pairs together (1), the others split both of them (1/2).
    assert found.chance == pytest.approx((1 + 0.5 + 0.5) / 3, abs=0.15)
    assert found == tree.purity(PAIRS_OF_PAIRS, ["a", "a", "b", "b"])
    assert tree.purity(PAIRS_OF_PAIRS, ["a"] * 4).chance == 1.0


def test_purity_refuses_what_has_none() -> None:
    with pytest.raises(DataError, match="two members"):
        tree.dendrogram_purity(PAIRS_OF_PAIRS, ["a", "b", "c", "d"])
    with pytest.raises(DataError, match="tree of 3 leaves, one a label, found 4"):
        tree.dendrogram_purity(PAIRS_OF_PAIRS, ["a", "a", "b"])


def test_average_linkage_of_points_on_an_arc() -> None:
    angles = torch.tensor([0.0, 1.0, 0.1, 1.3]).double()
    points = torch.stack([angles.cos(), angles.sin()], dim=1)
    merges = tree.average_tree(chord_distances(points)).merges
    assert [set(merge) for merge in merges.tolist()] == [{0, 2}, {1, 3}, {4, 5}]


def test_tree_distances_by_hand() -> None:
    leaves = [
        Leaf("f", "us", "x", "s1"),
        Leaf("f", "us", "x", "s1"),
        Leaf("f", "us", "x", "s2"),
        Leaf("f", "us", "y", "s1"),  # a session of the same name, of somebody else
        Leaf("f", "gb", "z", "s1"),
        Leaf("m", "us", "w", "s1"),
    ]
    found = tree.tree_distances(leaves)
    assert found[0].tolist() == [1, 1, 2, 3, 4, 5]
    assert found[4].tolist() == [4, 4, 4, 4, 1, 5]
    assert (found == found.T).all()
    assert len(tree.LEVELS) == found.max()


def test_heights_are_mean_distances_across_the_merge() -> None:
    points = np.random.default_rng(4).normal(size=(9, 3))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    found = tree.average_tree(torch.from_numpy(distances))
    nodes = [[leaf] for leaf in range(9)]
    for (left, right), height in zip(found.merges, found.heights, strict=True):
        assert height == pytest.approx(distances[np.ix_(nodes[left], nodes[right])].mean())
        nodes.append(nodes[left] + nodes[right])
    assert (np.diff(found.heights) >= 0).all()


def test_speaker_means_are_directions_in_the_order_of_appearance() -> None:
    unit = unit_rows(np.random.default_rng(5).normal(size=(5, 3)))
    found = tree.speaker_means(unit, ["b", "a", "b", "a", "c"])
    expected = [unit[[0, 2]].sum(axis=0), unit[[1, 3]].sum(axis=0), unit[4]]
    np.testing.assert_allclose(found, [row / np.linalg.norm(row) for row in expected])


def test_condensed_is_the_order_of_scipy() -> None:
    points = np.random.default_rng(0).normal(size=(6, 3))
    unit = unit_rows(points)
    found = tree.condensed(chord_distances(torch.from_numpy(points)))
    np.testing.assert_allclose(found, pdist(unit), rtol=1e-9)


def repeated_spearman(distances: NDArray[np.float64], leaves: list[Leaf], times: NDArray[np.int64]) -> float:
    """SciPy on a list in which every pair is written as often as it counts."""
    names = list(dict.fromkeys(leaf.speaker for leaf in leaves))
    levels = tree.tree_distances(leaves)
    x, y = [], []
    for at, (i, j) in enumerate(itertools.combinations(range(len(leaves)), 2)):
        a, b = names.index(leaves[i].speaker), names.index(leaves[j].speaker)
        count = times[a] if a == b else times[a] * times[b]
        x += [distances[at]] * count
        y += [levels[i, j]] * count
    return float(scipy.stats.spearmanr(x, y).statistic)


def test_the_interval_is_that_of_speakers_drawn_again() -> None:
    leaves = balanced(num_speakers=2)
    generator = np.random.default_rng(3)
    num_pairs = len(leaves) * (len(leaves) - 1) // 2
    distances = generator.integers(0, 40, num_pairs).astype(np.float64)  # with ties
    distances += 5 * tree.tree_distances(leaves)[np.triu_indices(len(leaves), 1)]
    found = tree.tree_correlation(distances, leaves, num_resamples=5)
    assert found.value == pytest.approx(repeated_spearman(distances, leaves, np.ones(8, np.int64)), abs=1e-12)
    draw = np.random.default_rng(tree.SEED)
    times = [np.bincount(draw.integers(8, size=8), minlength=8) for _ in range(5)]
    expected = np.quantile([repeated_spearman(distances, leaves, each) for each in times], [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-12)


def test_tree_correlation_is_scipys_with_an_interval_around_it() -> None:
    leaves = balanced()
    embeddings = planted(leaves) + 0.3 * np.random.default_rng(0).normal(size=(len(leaves), 40))
    distances = pdist(unit_rows(embeddings))
    levels = tree.tree_distances(leaves)[np.triu_indices(len(leaves), 1)]
    found = tree.tree_correlation(distances, leaves)
    assert found.value == pytest.approx(scipy.stats.spearmanr(distances, levels).statistic)
    assert found.low < found.value < found.high < 1
    assert found == tree.tree_correlation(distances, leaves)
    assert list(found.median_distance) == list(tree.LEVELS)
    assert found.median_distance["other sex"] == np.median(distances[levels == 5])
    best = tree.tree_correlation(levels + 0.5 * distances / distances.max(), leaves)
    assert best.value == pytest.approx(found.highest_possible)


def test_tree_correlation_needs_levels_and_distances() -> None:
    alike = [Leaf("f", "us", "x", "s1")] * 4
    with pytest.raises(DataError, match="of one tree distance"):
        tree.tree_correlation(np.arange(6.0), alike)
    with pytest.raises(DataError, match="of one distance"):
        tree.tree_correlation(np.ones(6), [*alike[:3], Leaf("m", "us", "y", "s1")])
