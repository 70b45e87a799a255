"""Trees of utterances and speakers: built from distances, and how well they agree with a tree that is known."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from torch import Tensor

from ham.embeddings.directions import unit_rows
from ham.errors import DataError

LEVELS = ("same session", "same speaker", "same sex and accent", "same sex", "other sex")
"""What two utterances have in common at tree distance 1, 2, 3, 4, 5."""

NUM_PERMUTATIONS = 20
"""Shuffled labels behind the chance level of a purity; its standard error stays below 0.01 on 48 speakers."""

NUM_RESAMPLES = 200
"""Draws of speakers behind the interval of the rank correlation."""

SEED = 0
"""Of shuffles, draws and noise: measuring twice gives the same numbers, and every system gets the same ones."""


class Leaf(NamedTuple):
    """Where an utterance hangs in the tree, from the root down."""

    sex: str
    accent: str
    speaker: str
    session: str


@dataclass(frozen=True)
class Purity:
    """Dendrogram purity of a tree for one kind of label, and its mean over shuffled labels."""

    value: float
    chance: float


@dataclass(frozen=True)
class TreeCorrelation:
    """Spearman correlation of embedding distance with tree distance over all pairs of utterances.

    Attributes:
        value: the correlation.
        low: low end of its 95 % interval (bootstrap over speakers).
        high: high end of it.
        highest_possible: what distances in perfect order would reach; below 1, as tree distances tie.
        median_distance: median chord of the pairs of each of ``LEVELS`` that occurs.
    """

    value: float
    low: float
    high: float
    highest_possible: float
    median_distance: Mapping[str, float]


def speaker_means(unit: NDArray[np.float64], speakers: Sequence[str]) -> NDArray[np.float64]:
    """Mean direction of each speaker.

    Args:
        unit: directions of utterances, shape ``(N, D)``.
        speakers: the speaker of each.

    Returns:
        One direction a speaker, in the order of their first utterances.

    Raises:
        DataError: if the directions of a speaker cancel.
    """
    names = np.array(speakers)
    means = [unit[names == name].mean(axis=0) for name in dict.fromkeys(speakers)]
    return unit_rows(np.stack(means), "mean embeddings of the speakers")


def condensed(distances: Tensor) -> NDArray[np.float64]:
    """The part above the diagonal, row by row: ``(N, N)`` gives ``(N (N - 1) / 2,)``."""
    above = np.triu_indices(len(distances), k=1)
    flat: NDArray[np.float64] = distances.numpy()[above]
    return flat


class Tree(NamedTuple):
    """A binary tree over ``N`` leaves.

    Attributes:
        merges: the two nodes of each merge in their order, shape ``(N - 1, 2)``: leaves are 0..N-1, the k-th merge
            makes node ``N + k``.
        heights: distance at which each merge happens, shape ``(N - 1,)``, never falling.
    """

    merges: NDArray[np.int64]
    heights: NDArray[np.float64]


def average_tree(distances: Tensor) -> Tree:
    """Build the average-linkage (UPGMA) tree: the height of a merge is the mean distance across it.

    Args:
        distances: symmetric, shape ``(N, N)``, N at least 2.

    Returns:
        The tree.
    """
    found = linkage(condensed(distances), "average")
    return Tree(found[:, :2].astype(np.int64), found[:, 2])


def purity(merges: NDArray[np.int64], labels: Sequence[Hashable]) -> Purity:
    """Dendrogram purity, and its mean over ``NUM_PERMUTATIONS`` shuffles of the labels.

    The tree of a shuffle is the same, so that the chance level is that of this tree's shape and these class sizes.

    Args:
        merges: the tree, as ``Tree.merges``.
        labels: class of each leaf.

    Returns:
        Both.

    Raises:
        DataError: as :func:`dendrogram_purity`.
    """
    codes = _codes(labels)
    generator = np.random.default_rng(SEED)
    shuffled = [dendrogram_purity(merges, generator.permutation(codes).tolist()) for _ in range(NUM_PERMUTATIONS)]
    return Purity(value=dendrogram_purity(merges, labels), chance=float(np.mean(shuffled)))


def dendrogram_purity(merges: NDArray[np.int64], labels: Sequence[Hashable]) -> float:
    r"""Mean purity of the smallest subtrees that join two leaves of one class.

    .. math:: \frac{1}{|P|} \sum_{(i, j) \in P} \frac{|\{l \in \mathrm{lca}(i, j) : y_l = y_i\}|}{|\mathrm{lca}(i, j)|}

    over the pairs ``P`` of leaves of the same class (Heller and Ghahramani, "Bayesian hierarchical clustering", ICML
    2005). Exact: the pairs whose lowest common ancestor is a node are those with one leaf in each of its children, so
    one pass over the merges counts them all; time and memory are N times the number of classes.

    Args:
        merges: the tree, as ``Tree.merges``.
        labels: class of each leaf.

    Returns:
        Above 0, at most 1; 1 if every class is a subtree of its own.

    Raises:
        DataError: if no class has two leaves, or the tree has another number of leaves.
    """
    codes = _codes(labels)
    num_leaves = len(codes)
    if len(merges) != num_leaves - 1:
        raise DataError(f"hierarchy: expected a tree of {num_leaves} leaves, one a label, found {len(merges) + 1}")
    counts = np.zeros((2 * num_leaves - 1, codes.max(initial=0) + 1))
    counts[np.arange(num_leaves), codes] = 1
    for node, (left, right) in enumerate(merges, num_leaves):
        counts[node] = counts[left] + counts[right]
    pairs = counts[merges[:, 0]] * counts[merges[:, 1]]
    if not pairs.any():
        raise DataError("hierarchy: expected a class with two members at least, found none; measure more utterances")
    shares = counts[num_leaves:] / counts[num_leaves:].sum(axis=1, keepdims=True)
    return float((pairs * shares).sum() / pairs.sum())


def tree_distances(paths: Sequence[Sequence[Hashable]]) -> NDArray[np.int64]:
    """Height of the lowest common ancestor of two leaves: one more than the labels below it.

    Leaves that share the whole path (two utterances of one session) are 1 apart, those that share all but the last
    label 2, and so on; with four labels, those that share not even the first are 5 apart. A label counts only where
    all labels above it agree, so session ``s1`` of two speakers is no common session.

    Args:
        paths: labels of each leaf from the root down, all of one length.

    Returns:
        Shape ``(N, N)``; the diagonal, a leaf with itself, is 1 as well.
    """
    together = np.ones((len(paths), len(paths)), bool)
    shared = np.zeros(together.shape, np.int64)
    for labels in zip(*paths, strict=True):
        codes = _codes(labels)
        together &= codes[:, None] == codes[None, :]
        shared += together
    return len(paths[0]) + 1 - shared


def tree_correlation(
    distances: NDArray[np.float64], leaves: Sequence[Leaf], *, num_resamples: int = NUM_RESAMPLES
) -> TreeCorrelation:
    """Spearman correlation of distances with tree distances over all pairs, with a bootstrap interval over speakers.

    Every draw is exact. As in :mod:`ham.score.intervals`, a pair between two speakers drawn ``m(a)`` and ``m(b)``
    times counts ``m(a) m(b)`` times, a pair within one speaker ``m(a)`` times. Draws in which all pairs have one tree
    distance are repeated.

    Args:
        distances: one a pair, in the order of :func:`condensed`.
        leaves: where each utterance hangs in the tree.
        num_resamples: number of draws.

    Returns:
        The correlation, its interval, its ceiling and the median distance at each level.

    Raises:
        DataError: if all pairs have one tree distance, or one distance.
    """
    levels = tree_distances(leaves)[np.triu_indices(len(leaves), k=1)]
    pairs = _RankedPairs(distances, levels, _codes([leaf.speaker for leaf in leaves]))
    value = pairs.correlation(np.ones(pairs.num_speakers))
    if np.isnan(value):
        found = "all of one distance or of one tree distance"
        raise DataError(f"hierarchy: expected pairs of several distances and levels, found them {found}; measure more")
    generator = np.random.default_rng(SEED)
    draws = [pairs.resampled(generator) for _ in range(num_resamples)]
    low, high = np.quantile(draws, [0.025, 0.975])
    perfect = _RankedPairs(scipy.stats.rankdata(levels, "ordinal"), levels, pairs.speakers)
    return TreeCorrelation(
        value=value,
        low=float(low),
        high=float(high),
        highest_possible=perfect.correlation(np.ones(pairs.num_speakers)),
        median_distance={
            name: float(np.median(distances[levels == level]))
            for level, name in enumerate(LEVELS, 1)
            if level in levels
        },
    )


class _RankedPairs:
    """Pairs in the order of their distances, ready for many weighted rank correlations of about a pass each."""

    def __init__(self, distances: NDArray[np.float64], levels: NDArray[np.int64], speakers: NDArray[np.int64]) -> None:
        self.speakers, self.num_speakers = speakers, int(speakers.max()) + 1
        order = np.argsort(distances, kind="stable")
        first, second = (side[order] for side in np.triu_indices(len(speakers), k=1))
        self.first = speakers[first]
        # The other side of a pair within one speaker is an extra speaker that is drawn exactly once.
        self.second = np.where(self.first == speakers[second], self.num_speakers, speakers[second])
        self.levels = levels[order]
        ordered = distances[order]
        self.ties = np.concatenate([[0], np.cumsum(ordered[1:] != ordered[:-1])])

    def resampled(self, generator: np.random.Generator) -> float:
        """The correlation of one draw of speakers."""
        while True:
            drawn = generator.integers(self.num_speakers, size=self.num_speakers)
            found = self.correlation(np.bincount(drawn, minlength=self.num_speakers))
            if not np.isnan(found):
                return found

    def correlation(self, multiplicity: NDArray[np.generic]) -> float:
        """Spearman's rho when each speaker counts ``multiplicity`` times; NaN where it is not defined."""
        times = np.append(multiplicity, 1).astype(np.float64)
        weight = times[self.first] * times[self.second]
        x, y = _weighted_ranks(self.ties, weight), _weighted_ranks(self.levels, weight)
        covariance, variance_x, variance_y = weight @ (x * y), weight @ (x * x), weight @ (y * y)
        if variance_x == 0 or variance_y == 0:
            return float("nan")
        return float(covariance / np.sqrt(variance_x * variance_y))


def _weighted_ranks(groups: NDArray[np.int64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mid-ranks, less their mean, of items that occur ``weight`` times; ``groups`` number the values upwards."""
    totals = np.bincount(groups, weight)
    middle: NDArray[np.float64] = np.cumsum(totals) - totals / 2 - totals.sum() / 2
    return middle[groups]


def _codes(labels: Sequence[Hashable]) -> NDArray[np.int64]:
    """Number the labels in the order of their first appearance."""
    number: dict[Hashable, int] = {}
    return np.fromiter((number.setdefault(label, len(number)) for label in labels), np.int64, len(labels))


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    """Spearman's rank correlation; None where one side does not vary."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(scipy.stats.spearmanr(x, y).statistic)
