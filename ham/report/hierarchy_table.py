"""The table that sets systems side by side by how they show a known tree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ham.analysis.hierarchy import Hierarchy
from ham.analysis.radius import CROPS, FULL, RATIOS, Radius
from ham.analysis.tree import Leaf
from ham.score.results import decimals


def hierarchy_table(experiments: Sequence[Hierarchy]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table that sets systems side by side.

    Args:
        experiments: experiments of one name are trainings of one system and share a row: the mean, and the lowest and
            highest of the first four measures.

    Returns:
        The head, and the rows; ``-`` where a measure does not exist.
    """
    crops, ratios = [*(f"{crop_s:g}" for crop_s in CROPS.values()), FULL], [f"{snr_db:g}" for snr_db in RATIOS.values()]
    head = [
        "system",
        "delta (Gaussian)",
        "purity sex (chance)",
        "purity sex x accent (chance)",
        "rank corr. with tree",
        "purity speaker",
        f"rank corr. {', '.join(Leaf._fields)}",
        "effective rank",
        f"norm at {', '.join(crops)} s",
        "rho with duration",
        f"norm at {', '.join(ratios)} dB",
        "rho with SNR",
        "hyperbolic radius at 0.5 s, full, 0 dB",
        "centre radius 5, 50, 95 %",
        "rho with times heard",
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
        ", ".join(_level(trainings, name) for name in Leaf._fields),
        f"{np.mean([t.structure.effective_rank for t in trainings]):.1f}",
        _joined([list(t.norm.duration.median.values()) for t in trainings], 2),
        _signed([t.norm.duration.correlation for t in trainings]),
        _joined([list(t.norm.snr.median.values()) for t in trainings], 2),
        _signed([t.norm.snr.correlation for t in trainings]),
        _joined(radii, 3) if radii else "-",
        _joined([list(t.centre_radius.values()) for t in trainings], 3),
        _signed([t.heard for t in trainings]),
    ]


def _level(trainings: Sequence[Hierarchy], name: str) -> str:
    found = [t.structure.levels[name].correlation.value for t in trainings if name in t.structure.levels]
    return f"{np.mean(found):.3f}" if found else "-"


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
