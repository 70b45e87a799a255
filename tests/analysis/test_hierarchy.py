"""Measures of a known tree against naive definitions, SciPy and planted structure."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from ham.analysis import hierarchy
from ham.analysis.hierarchy import Hierarchy, Leaf
from ham.errors import DataError
from ham.report.markdown import markdown_table

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
    merges = hierarchy.average_linkage(hierarchy.chord_distances(points))
    labels = ["a", "a", *generator.choice(list("abc"), num_leaves - 2).tolist()]
    assert hierarchy.dendrogram_purity(merges, labels) == pytest.approx(naive_purity(merges, labels))


def test_purity_of_known_trees() -> None:
    assert hierarchy.dendrogram_purity(PAIRS_OF_PAIRS, ["a", "a", "b", "b"]) == 1.0
    assert hierarchy.dendrogram_purity(PAIRS_OF_PAIRS, ["a", "b", "a", "b"]) == 0.5
    # Pairs (0, 1): 1; (0, 3) and (1, 3): 3 of 4.
    assert hierarchy.dendrogram_purity(PAIRS_OF_PAIRS, ["a", "a", "b", "a"]) == pytest.approx((1 + 0.75 + 0.75) / 3)


def test_chance_is_the_mean_over_shuffles() -> None:
    found = hierarchy.purity(PAIRS_OF_PAIRS, ["a", "a", "b", "b"])
    assert found.value == 1.0
    # A third of all shuffles keeps the pairs together (1), the others split both of them (1/2).
    assert found.chance == pytest.approx((1 + 0.5 + 0.5) / 3, abs=0.15)
    assert found == hierarchy.purity(PAIRS_OF_PAIRS, ["a", "a", "b", "b"])
    assert hierarchy.purity(PAIRS_OF_PAIRS, ["a"] * 4).chance == 1.0


def test_purity_refuses_what_has_none() -> None:
    with pytest.raises(DataError, match="two members"):
        hierarchy.dendrogram_purity(PAIRS_OF_PAIRS, ["a", "b", "c", "d"])
    with pytest.raises(DataError, match="tree of 3 leaves, one a label, found 4"):
        hierarchy.dendrogram_purity(PAIRS_OF_PAIRS, ["a", "a", "b"])


def test_average_linkage_of_points_on_an_arc() -> None:
    angles = torch.tensor([0.0, 1.0, 0.1, 1.3]).double()
    points = torch.stack([angles.cos(), angles.sin()], dim=1)
    merges = hierarchy.average_linkage(hierarchy.chord_distances(points))
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
    found = hierarchy.tree_distances(leaves)
    assert found[0].tolist() == [1, 1, 2, 3, 4, 5]
    assert found[4].tolist() == [4, 4, 4, 4, 1, 5]
    assert (found == found.T).all()
    assert len(hierarchy.LEVELS) == found.max()


def test_heights_are_mean_distances_across_the_merge() -> None:
    points = np.random.default_rng(4).normal(size=(9, 3))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    tree = hierarchy.average_tree(torch.from_numpy(distances))
    nodes = [[leaf] for leaf in range(9)]
    for (left, right), height in zip(tree.merges, tree.heights, strict=True):
        assert height == pytest.approx(distances[np.ix_(nodes[left], nodes[right])].mean())
        nodes.append(nodes[left] + nodes[right])
    assert (np.diff(tree.heights) >= 0).all()


def test_speaker_means_are_directions_in_the_order_of_appearance() -> None:
    unit = hierarchy.unit_rows(np.random.default_rng(5).normal(size=(5, 3)))
    found = hierarchy.speaker_means(unit, ["b", "a", "b", "a", "c"])
    expected = [unit[[0, 2]].sum(axis=0), unit[[1, 3]].sum(axis=0), unit[4]]
    np.testing.assert_allclose(found, [row / np.linalg.norm(row) for row in expected])


def test_condensed_is_the_order_of_scipy() -> None:
    points = np.random.default_rng(0).normal(size=(6, 3))
    unit = hierarchy.unit_rows(points)
    found = hierarchy.condensed(hierarchy.chord_distances(torch.from_numpy(points)))
    np.testing.assert_allclose(found, pdist(unit), rtol=1e-9)


def repeated_spearman(distances: NDArray[np.float64], leaves: list[Leaf], times: NDArray[np.int64]) -> float:
    """SciPy on a list in which every pair is written as often as it counts."""
    names = list(dict.fromkeys(leaf.speaker for leaf in leaves))
    levels = hierarchy.tree_distances(leaves)
    x, y = [], []
    for at, (i, j) in enumerate(itertools.combinations(range(len(leaves)), 2)):
        a, b = names.index(leaves[i].speaker), names.index(leaves[j].speaker)
        count = times[a] if a == b else times[a] * times[b]
        x += [distances[at]] * count
        y += [levels[i, j]] * count
    return float(scipy.stats.spearmanr(x, y).statistic)


def test_weighted_correlation_is_that_of_repeated_pairs() -> None:
    leaves = balanced(num_speakers=2)
    generator = np.random.default_rng(3)
    num_pairs = len(leaves) * (len(leaves) - 1) // 2
    distances = generator.integers(0, 40, num_pairs).astype(np.float64)  # with ties
    levels = hierarchy.tree_distances(leaves)[np.triu_indices(len(leaves), 1)]
    distances += 5 * levels
    codes = np.repeat(np.arange(8), 4)
    pairs = hierarchy._RankedPairs(distances, levels, codes)
    for times in (np.ones(8, np.int64), np.array([3, 0, 1, 1, 2, 0, 0, 1])):
        assert pairs.correlation(times) == pytest.approx(repeated_spearman(distances, leaves, times), abs=1e-12)
    assert np.isnan(pairs.correlation(np.zeros(8)))


def test_tree_correlation_is_scipys_with_an_interval_around_it() -> None:
    leaves = balanced()
    embeddings = planted(leaves) + 0.3 * np.random.default_rng(0).normal(size=(len(leaves), 40))
    distances = pdist(hierarchy.unit_rows(embeddings))
    levels = hierarchy.tree_distances(leaves)[np.triu_indices(len(leaves), 1)]
    found = hierarchy.tree_correlation(distances, leaves)
    assert found.value == pytest.approx(scipy.stats.spearmanr(distances, levels).statistic)
    assert found.low < found.value < found.high < 1
    assert found == hierarchy.tree_correlation(distances, leaves)
    assert list(found.median_distance) == list(hierarchy.LEVELS)
    assert found.median_distance["other sex"] == np.median(distances[levels == 5])
    best = hierarchy.tree_correlation(levels + 0.5 * distances / distances.max(), leaves)
    assert best.value == pytest.approx(found.highest_possible)


def test_tree_correlation_needs_levels_and_distances() -> None:
    alike = [Leaf("f", "us", "x", "s1")] * 4
    with pytest.raises(DataError, match="of one tree distance"):
        hierarchy.tree_correlation(np.arange(6.0), alike)
    with pytest.raises(DataError, match="of one distance"):
        hierarchy.tree_correlation(np.ones(6), [*alike[:3], Leaf("m", "us", "y", "s1")])


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


def test_conditions_are_crops_of_the_middle_and_noise_at_its_ratio() -> None:
    waveforms = [torch.randn(num, generator=torch.Generator().manual_seed(num)) for num in (2000, 2101)]
    versions = hierarchy.conditions(1000, waveforms)
    assert list(versions) == ["0.5 s", "1 s", "2 s", "full", "20 dB", "10 dB", "0 dB"]
    assert torch.equal(versions["0.5 s"][0], waveforms[0][750:1250])
    assert torch.equal(versions["2 s"][1], waveforms[1][50:2050])
    assert torch.equal(versions["full"][1], waveforms[1])
    noises = {snr_db: versions[f"{snr_db} dB"][1] - waveforms[1] for snr_db in (20, 10, 0)}
    for snr_db, noise in noises.items():
        ratio = waveforms[1].square().mean() / noise.square().mean()
        assert 10 * float(ratio.log10()) == pytest.approx(snr_db, abs=0.01)
    torch.testing.assert_close(noises[20] * 10, noises[0], rtol=1e-3, atol=1e-4)
    again = hierarchy.conditions(1000, waveforms)
    assert all(torch.equal(a, b) for name in versions for a, b in zip(versions[name], again[name], strict=True))
    with pytest.raises(DataError, match="at least 2000 samples, found 1999"):
        hierarchy.conditions(1000, [torch.zeros(1999)])


def radii(*values: float) -> dict[str, NDArray[np.float64]]:
    names = ("0.5 s", "1 s", "2 s", "full", "20 dB", "10 dB", "0 dB")
    return {name: np.array([value, value + 0.25]) for name, value in zip(names, values, strict=True)}


def test_radius_follows_duration_and_ratio() -> None:
    durations = np.array([3.0, 4.0])
    found = hierarchy.measure_radius(radii(1, 2, 3, 4, 5, 6, 7), durations)
    assert found.duration.median == {"0.5 s": 1.125, "1 s": 2.125, "2 s": 3.125, "full": 4.125}
    assert list(found.snr.median.values()) == [5.125, 6.125, 7.125]
    values = [0.5, 0.5, 1, 1, 2, 2, 3, 4], [1, 1.25, 2, 2.25, 3, 3.25, 4, 4.25]
    assert found.duration.correlation == pytest.approx(scipy.stats.spearmanr(*values).statistic)
    assert found.snr.correlation is not None
    assert found.snr.correlation < -0.9


def test_a_radius_clipped_to_a_shell_follows_nothing() -> None:
    shell = {name: 1.3169 + 1e-14 * value for name, value in radii(1, 2, 3, 4, 5, 6, 7).items()}
    found = hierarchy.measure_radius(shell, np.array([3.0, 4.0]))
    assert (found.duration.correlation, found.snr.correlation) == (None, None)


def test_quantiles_of_centre_radii() -> None:
    directions = torch.nn.functional.normalize(torch.arange(505.0).reshape(101, 5).cos(), dim=1)
    weight = torch.nn.Parameter(directions * torch.arange(101.0)[:, None])
    assert hierarchy.radius_quantiles(weight.norm(dim=1)) == pytest.approx({"p05": 5, "p50": 50, "p95": 95}, rel=1e-5)


@pytest.fixture
def measured() -> Hierarchy:
    leaves = balanced()
    trend = hierarchy.measure_radius(radii(1, 2, 3, 4, 5, 6, 7), np.array([3.0, 4.0]))
    structure = hierarchy.measure_structure(planted(leaves), leaves)
    return Hierarchy(
        "a", 1, None, {"x": "1"}, "python", structure, 0.25, 2, trend, trend, {"p05": 0.1, "p50": 0.2, "p95": 0.3}
    )


def test_the_file_holds_every_measure(measured: Hierarchy, tmp_path: Path) -> None:
    hierarchy.write_hierarchy(tmp_path / "hierarchy.json", measured)
    found = json.loads((tmp_path / "hierarchy.json").read_text(encoding="utf-8"))
    assert found["structure"]["purity"]["sex"]["value"] == 1.0
    assert found["norm"]["duration"]["median"]["0.5 s"] == 1.125
    assert (found["delta_gaussian"], found["commit"]) == (0.25, None)
    assert [path.name for path in tmp_path.iterdir()] == ["hierarchy.json"]


def test_the_table_has_a_row_an_experiment(measured: Hierarchy) -> None:
    head, rows = hierarchy.hierarchy_table([measured, replace(measured, name="b", hyperbolic_radius=None)])
    assert all(len(row) == len(head) for row in rows)
    cells = dict(zip(head, rows[0], strict=True))
    assert cells["delta (Gaussian)"].endswith("(0.250)")
    assert cells["purity sex (chance)"].startswith("1.000 (0.")
    assert cells["norm at 0.5, 1, 2, full s"] == "1.12, 2.12, 3.12, 4.12"
    assert cells["hyperbolic radius at 0.5 s, full, 0 dB"] == "1.125, 4.125, 7.125"
    assert cells["centre radius 5, 50, 95 %"] == "0.100, 0.200, 0.300"
    assert (rows[1][0], rows[1][-2]) == ("b", "-")
    assert len(markdown_table(head, rows)) == 4
