"""How well a known tree of utterances can be read off their embeddings, and what an embedding's length follows.

The corpus must know its tree: every utterance has a path of labels from the root down, here sex, accent, speaker,
session. All measures but the hyperbolic radius use ONE metric for every system, the chord between unit vectors
``|x/|x| - y/|y||``: the same points have another Gromov delta in another metric, so that systems measured each in its
own could not be compared.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.stats
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import linkage
from torch import Tensor

from ham.augment.noise import ColouredNoise
from ham.augment.waveforms import mix_at_snr
from ham.errors import DataError
from ham.files import write_text
from ham.geometry.delta import chord_distances, relative_delta
from ham.score.results import decimals

LEVELS = ("same session", "same speaker", "same sex and accent", "same sex", "other sex")
"""What two utterances have in common at tree distance 1, 2, 3, 4, 5."""

CROPS_S = (0.5, 1.0, 2.0)
"""Durations that utterances are cropped to, beside their full one."""

SNRS_DB = (20.0, 10.0, 0.0)
"""Ratios at which noise is added to full utterances."""

NUM_PERMUTATIONS = 20
"""Shuffled labels behind the chance level of a purity; its standard error stays below 0.01 on 48 speakers."""

NUM_RESAMPLES = 200
"""Draws of speakers behind the interval of the rank correlation."""

SEED = 0
"""Of shuffles, draws and noise: measuring twice gives the same numbers, and every system gets the same ones."""

LEAST_POINTS = 4
"""Gromov's condition is about four points."""

QUANTILES = (0.05, 0.5, 0.95)

RADIUS_DECIMALS = 8
"""Radii are ranked after rounding: points clipped onto one shell differ by rounding errors only, and must tie."""


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


@dataclass(frozen=True)
class Trend:
    """A radius under several conditions.

    Attributes:
        median: median over utterances for each condition.
        correlation: Spearman correlation with the condition's value over all utterances and conditions together; None
            where it is not defined because all radii are the same.
    """

    median: Mapping[str, float]
    correlation: float | None


@dataclass(frozen=True)
class Radius:
    """What a radius does when an utterance gets shorter or noisier."""

    duration: Trend
    snr: Trend


@dataclass(frozen=True)
class Structure:
    """What the test embeddings show of the tree.

    Attributes:
        num_utterances: test utterances measured.
        num_speakers: their speakers.
        embedding_dim: ``D``.
        delta: relative Gromov delta of the utterances in the chord metric; 0 for a tree, also for a star, in which all
            points are equally far apart, and Gaussian points of many dimensions nearly are.
        purity: for ``sex`` and ``sex_accent`` over speakers' means, for ``speaker`` over utterances.
        tree_correlation: of distances with tree distances.
    """

    num_utterances: int
    num_speakers: int
    embedding_dim: int
    delta: float
    purity: Mapping[str, Purity]
    tree_correlation: TreeCorrelation


@dataclass(frozen=True)
class Hierarchy:
    """Everything in ``hierarchy.json``.

    Attributes:
        name: the experiment's name.
        seed: the training's seed.
        commit: of the source tree, ``-dirty`` appended where it had changes; None outside a checkout.
        versions: package name to version.
        command: the command that gives these numbers.
        structure: from the test embeddings.
        delta_gaussian: relative delta of as many Gaussian points of as many dimensions.
        num_radius_utterances: utterances behind ``norm`` and ``hyperbolic_radius``.
        norm: of the embedding as it leaves the backbone.
        hyperbolic_radius: the loss's distance of an embedding from the origin; None for a loss without a distance.
        centre_radius: 5, 50 and 95 % quantiles of how far out the training speakers' centres lie: hyperbolic distances
            from the origin for a hyperbolic loss, else norms.
    """

    name: str
    seed: int
    commit: str | None
    versions: Mapping[str, str]
    command: str
    structure: Structure
    delta_gaussian: float
    num_radius_utterances: int
    norm: Radius
    hyperbolic_radius: Radius | None
    centre_radius: Mapping[str, float]


def measure_structure(embeddings: NDArray[np.float32], leaves: Sequence[Leaf]) -> Structure:
    """Measure delta, purities and the rank correlation of a set of embeddings.

    Args:
        embeddings: shape ``(N, D)``, as they leave the backbone.
        leaves: where each hangs in the tree.

    Returns:
        The measures.

    Raises:
        DataError: if an embedding is zero, or the tree is too small for a measure.
    """
    if len(leaves) < LEAST_POINTS:
        raise DataError(f"hierarchy: expected at least {LEAST_POINTS} utterances, found {len(leaves)}; measure more")
    unit = unit_rows(embeddings)
    distances = chord_distances(torch.from_numpy(unit))
    correlation = tree_correlation(condensed(distances), leaves)
    paths = {leaf.speaker: leaf for leaf in leaves}
    speakers = [leaf.speaker for leaf in leaves]
    means = speaker_means(unit, speakers)
    tree, fine = average_linkage(chord_distances(torch.from_numpy(means))), average_linkage(distances)
    return Structure(
        num_utterances=len(unit),
        num_speakers=len(paths),
        embedding_dim=unit.shape[1],
        delta=relative_delta(distances),
        purity={
            "sex": purity(tree, [leaf.sex for leaf in paths.values()]),
            "sex_accent": purity(tree, [(leaf.sex, leaf.accent) for leaf in paths.values()]),
            "speaker": purity(fine, speakers),
        },
        tree_correlation=correlation,
    )


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
    return unit_rows(np.stack([unit[names == name].mean(axis=0) for name in dict.fromkeys(speakers)]))


def unit_rows(embeddings: NDArray[np.floating]) -> NDArray[np.float64]:
    """Divide each row by its norm, in float64.

    Args:
        embeddings: shape ``(N, D)``.

    Returns:
        Directions, shape ``(N, D)``.

    Raises:
        DataError: if a row is zero and so has no direction.
    """
    rows = embeddings.astype(np.float64)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    if not norm.all():
        row = int(np.flatnonzero(norm[:, 0] == 0)[0])
        raise DataError(
            f"hierarchy: expected embeddings with a direction, found zeros in row {row}; has the training failed?"
        )
    unit: NDArray[np.float64] = rows / norm
    return unit


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


def average_linkage(distances: Tensor) -> NDArray[np.int64]:
    """The merges of :func:`average_tree`.

    Args:
        distances: symmetric, shape ``(N, N)``, N at least 2.

    Returns:
        Merges in their order, shape ``(N - 1, 2)``.
    """
    return average_tree(distances).merges


def purity(merges: NDArray[np.int64], labels: Sequence[Hashable]) -> Purity:
    """Dendrogram purity, and its mean over ``NUM_PERMUTATIONS`` shuffles of the labels.

    The tree of a shuffle is the same, so that the chance level is that of this tree's shape and these class sizes.

    Args:
        merges: the tree, as :func:`average_linkage` gives it.
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
        merges: the tree, as :func:`average_linkage` gives it.
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


def conditions(sample_rate: int, waveforms: Sequence[Tensor]) -> dict[str, list[Tensor]]:
    """Make the shortened and the noisy versions of utterances.

    Crops are cut around the middle, so that a shorter one lies inside a longer one. The noise is stationary and of
    a random colour for each utterance, the same for its three ratios, and covers the whole utterance; the ratio is
    to the mean power of the recording with its own pauses and its own noise, and the level of the sum is left alone.

    Args:
        sample_rate: in Hz.
        waveforms: utterances, each ``(N,)`` float and at least as long as the longest of ``CROPS_S``.

    Returns:
        Versions of all utterances, keyed ``0.5 s``, ..., ``full``, ``20 dB``, ...

    Raises:
        DataError: if an utterance is too short.
    """
    versions: dict[str, list[Tensor]] = {}
    for crop_s in CROPS_S:
        versions[f"{crop_s:g} s"] = [_middle(waveform, round(crop_s * sample_rate)) for waveform in waveforms]
    versions["full"] = list(waveforms)
    generator = torch.Generator().manual_seed(SEED)
    source = ColouredNoise(modulation_db=0.0, sample_rate=sample_rate)
    noises = [source.sample(1, len(waveform), generator, waveform.device) for waveform in waveforms]
    for snr_db in SNRS_DB:
        ratio = torch.tensor([snr_db])
        mixed = [mix_at_snr(clean[None], noise, ratio)[0] for clean, noise in zip(waveforms, noises, strict=True)]
        versions[f"{snr_db:g} dB"] = mixed
    return versions


def _middle(waveform: Tensor, num_samples: int) -> Tensor:
    start = (len(waveform) - num_samples) // 2
    if start < 0:
        raise DataError(f"hierarchy: expected utterances of at least {num_samples} samples, found {len(waveform)}")
    return waveform[start : start + num_samples]


def measure_radius(radii: Mapping[str, NDArray[np.float64]], durations_s: NDArray[np.float64]) -> Radius:
    """Medians of a radius for every condition, and its rank correlation with duration and with the noise ratio.

    Args:
        radii: one a version of an utterance, each shape ``(N,)``, keyed as :func:`conditions` does.
        durations_s: durations of the full utterances, shape ``(N,)``.

    Returns:
        The trends; noisy versions do not count for the duration, nor versions without added noise for the ratio.
    """
    crops = {f"{crop_s:g} s": np.full(len(durations_s), crop_s) for crop_s in CROPS_S}
    ratios = {f"{snr_db:g} dB": np.full(len(durations_s), snr_db) for snr_db in SNRS_DB}
    return Radius(duration=_trend(radii, {**crops, "full": durations_s}), snr=_trend(radii, ratios))


def _trend(radii: Mapping[str, NDArray[np.float64]], values: Mapping[str, NDArray[np.float64]]) -> Trend:
    """Medians and correlation over the conditions of ``values``."""
    rounded = np.concatenate([radii[name] for name in values]).round(RADIUS_DECIMALS)
    correlation = spearman(rounded, np.concatenate(list(values.values())))
    return Trend(median={name: float(np.median(radii[name])) for name in values}, correlation=correlation)


def spearman(x: NDArray[np.float64], y: NDArray[np.float64]) -> float | None:
    """Spearman's rank correlation; None where one side does not vary."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return None
    return float(scipy.stats.spearmanr(x, y).statistic)


def radius_quantiles(radii: Tensor) -> dict[str, float]:
    """Quantiles of how far out the centres lie.

    Args:
        radii: of the centres, shape ``(C,)``.

    Returns:
        Radii under ``p05``, ``p50`` and ``p95``.
    """
    values = radii.detach().double().numpy()
    return {f"p{100 * q:02.0f}": float(np.quantile(values, q)) for q in QUANTILES}


def write_hierarchy(path: Path, hierarchy: Hierarchy) -> None:
    """Write ``hierarchy.json``, whole or not at all; the same measures give the same bytes.

    Args:
        path: the file.
        hierarchy: what to write.
    """
    write_text(path, json.dumps(asdict(hierarchy), indent=2, ensure_ascii=False) + "\n")


def hierarchy_table(experiments: Sequence[Hierarchy]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table that sets systems side by side.

    Args:
        experiments: experiments of one name are trainings of one system and share a row: the mean, and the lowest and
            highest of the first four measures.

    Returns:
        The head, and the rows; ``-`` where a measure does not exist.
    """
    crops, ratios = [*(f"{crop_s:g}" for crop_s in CROPS_S), "full"], [f"{snr_db:g}" for snr_db in SNRS_DB]
    head = [
        "system",
        "delta (Gaussian)",
        "purity sex (chance)",
        "purity sex x accent (chance)",
        "rank corr. with tree",
        "purity speaker",
        f"norm at {', '.join(crops)} s",
        "rho with duration",
        f"norm at {', '.join(ratios)} dB",
        "rho with SNR",
        "hyperbolic radius at 0.5 s, full, 0 dB",
        "centre radius 5, 50, 95 %",
    ]
    names = dict.fromkeys(experiment.name for experiment in experiments)
    return head, [_row(name, [e for e in experiments if e.name == name]) for name in names]


def _row(name: str, trainings: Sequence[Hierarchy]) -> list[str]:
    purities = [list(training.structure.purity.values()) for training in trainings]
    sex, accent, speaker = ([found[level] for found in purities] for level in range(3))
    correlations = [training.structure.tree_correlation.value for training in trainings]
    radii = [_ends(training.hyperbolic_radius) for training in trainings if training.hyperbolic_radius is not None]
    return [
        name,
        f"{_spread([t.structure.delta for t in trainings])} ({np.mean([t.delta_gaussian for t in trainings]):.3f})",
        *(f"{_spread([p.value for p in found])} ({np.mean([p.chance for p in found]):.3f})" for found in (sex, accent)),
        _spread(correlations),
        f"{np.mean([p.value for p in speaker]):.3f}",
        _joined([list(t.norm.duration.median.values()) for t in trainings], 2),
        _signed([t.norm.duration.correlation for t in trainings]),
        _joined([list(t.norm.snr.median.values()) for t in trainings], 2),
        _signed([t.norm.snr.correlation for t in trainings]),
        _joined(radii, 3) if radii else "-",
        _joined([list(t.centre_radius.values()) for t in trainings], 3),
    ]


def _ends(radius: Radius) -> list[float]:
    return [radius.duration.median["0.5 s"], radius.duration.median["full"], radius.snr.median["0 dB"]]


def _spread(values: Sequence[float]) -> str:
    ends = f" [{min(values):.3f} to {max(values):.3f}]" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{ends}"


def _joined(rows: Sequence[Sequence[float]], digits: int) -> str:
    return ", ".join(f"{value:.{digits}f}" for value in np.mean(rows, axis=0))


def _signed(correlations: Sequence[float | None]) -> str:
    found = [value for value in correlations if value is not None]
    return decimals(float(np.mean(found)), 2, "+") if found else "-"
