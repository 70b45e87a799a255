"""How well a known tree of utterances can be read off their embeddings, and what an embedding's length follows.

The corpus must know its tree: every utterance has a path of labels from the root down, here sex, accent, speaker,
session. All measures but the hyperbolic radius use ONE metric for every system, the chord between unit vectors
``|x/|x| - y/|y||``: the same points have another Gromov delta in another metric, so that systems measured each in its
own could not be compared.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy
import torch
from numpy.typing import NDArray

import ham
from ham.analysis.levels import Level, effective_rank, measure_levels
from ham.analysis.radius import (
    CROPS,
    HYPERBOLIC_RADIUS,
    NORM,
    Radius,
    centre_quantiles,
    heard_correlation,
    measure_radii,
    measure_radius,
)
from ham.analysis.tree import (
    Leaf,
    Purity,
    TreeCorrelation,
    average_tree,
    condensed,
    purity,
    speaker_means,
    tree_correlation,
)
from ham.data.store import ArrayStore
from ham.embeddings.directions import unit_rows
from ham.embeddings.table import EmbeddingTable
from ham.errors import DataError
from ham.files import write_text
from ham.geometry.delta import chord_distances, gaussian_baseline, relative_delta
from ham.model.encoder import SpeakerEncoder
from ham.provenance import git_commit, versions

LEAST_POINTS = 4
"""Gromov's condition is about four points."""


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
        effective_rank: in how many dimensions the directions spread.
        levels: what distances tell of each level of the tree alone.
    """

    num_utterances: int
    num_speakers: int
    embedding_dim: int
    delta: float
    purity: Mapping[str, Purity]
    tree_correlation: TreeCorrelation
    effective_rank: float
    levels: Mapping[str, Level]


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
        heard: rank correlation of these radii with how many training utterances the speaker has; None where all have
            equally many.
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
    heard: float | None = None


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
    tree, fine = average_tree(chord_distances(torch.from_numpy(means))).merges, average_tree(distances).merges
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
        effective_rank=effective_rank(embeddings),
        levels=measure_levels(embeddings, leaves),
    )


def write_hierarchy(path: Path, hierarchy: Hierarchy) -> None:
    """Write ``hierarchy.json``, whole or not at all; the same measures give the same bytes.

    Args:
        path: the file.
        hierarchy: what to write.
    """
    write_text(path, json.dumps(asdict(hierarchy), indent=2, ensure_ascii=False) + "\n")


def measure_hierarchy(
    encoder: SpeakerEncoder,
    table: EmbeddingTable,
    leaves: Mapping[str, Leaf],
    store: ArrayStore,
    command: str,
    counts: Mapping[str, int],
) -> Hierarchy:
    """Measure one system.

    Args:
        encoder: what to measure.
        table: its embeddings of the test utterances.
        leaves: the test utterances and where they hang in the tree.
        store: their audio.
        command: what gives these numbers.
        counts: training utterances of each speaker.

    Returns:
        All measures.

    Raises:
        DataError: if table, tree or audio do not belong together, or are too small for a measure.
    """
    structure = measure_structure(table.embeddings[table.rows(tuple(leaves), "the tree")], list(leaves.values()))
    radii, durations_s = measure_radii(encoder, table, {utt: leaf.speaker for utt, leaf in leaves.items()}, store)
    if not radii:
        raise DataError(f"{store.path}: expected utterances of at least {max(CROPS.values()):g} s, found none")
    trends = {name: measure_radius(values, durations_s) for name, values in radii.items()}
    return Hierarchy(
        name=encoder.folder.resolve().name,
        seed=encoder.seed,
        commit=git_commit(Path(ham.__file__).parent),
        versions={**versions(), "scipy": scipy.__version__},
        command=command,
        structure=structure,
        delta_gaussian=_gaussian_delta(structure.num_utterances, structure.embedding_dim),
        num_radius_utterances=len(durations_s),
        norm=trends[NORM],
        hyperbolic_radius=trends.get(HYPERBOLIC_RADIUS),
        centre_radius=centre_quantiles(encoder.loss),
        heard=heard_correlation(encoder, counts),
    )


@lru_cache
def _gaussian_delta(num_points: int, dim: int) -> float:
    """One baseline serves all systems of one run."""
    return gaussian_baseline(num_points, dim)
