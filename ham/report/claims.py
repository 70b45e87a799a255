"""Systems against their controls: what each comparison gives, on error rates and on every level of a known tree."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ham.analysis.labels import read_leaves
from ham.analysis.levels import Level, effective_rank, level_errors, measure_levels
from ham.analysis.tree import Leaf
from ham.embeddings.table import read_embeddings
from ham.errors import ConfigError, DataError
from ham.report.experiment import Experiment, read_experiment
from ham.report.history import read_if_there
from ham.report.systems import training_rates
from ham.score.intervals import Influences, Interval
from ham.score.seeds import Difference, SeedSummary, summarise
from ham.score.significance import holm, least_seen, wald_p
from ham.score.trial_lists import TrialList
from ham.words import quote
from ham.yaml_core import read_yaml

BACKEND = "cosine"

KEYS = ("system", "control", "factor")

RADII = ("norm", "hyperbolic_radius", "heard")
"""What is taken from ``hierarchy.json``."""


class Comparison(NamedTuple):
    """A system, its control, and the factor in which they differ."""

    system: str
    control: str
    factor: str


class Scale(NamedTuple):
    """How a rate is shown: ``offset + factor * rate``, and with how many decimals."""

    offset: float
    factor: float
    decimals: int


PER_CENT, CORRELATION = Scale(0.0, 100.0, 2), Scale(1.0, -2.0, 3)
"""Of an EER in per cent, and of the rank correlation of a level, which is 1 less twice the level's rate."""


@dataclass(frozen=True)
class Measure:
    """A rate of every training.

    Attributes:
        name: what the page calls it.
        scale: how it is shown.
        rates: by system, of each of its trainings.
    """

    name: str
    scale: Scale
    rates: Mapping[str, Sequence[Influences]]

    def summaries(self) -> dict[str, SeedSummary]:
        """Mean and interval of every system."""
        return {one.system: one for one in summarise(self.rates, None)}


@dataclass(frozen=True)
class Effect:
    """What a comparison gives; numbers as they are shown.

    Attributes:
        comparison: the comparison.
        measure: of what.
        value: system minus control.
        interval: its 95 % interval over speakers and trainings.
        p: of the Wald test with speakers and trainings as crossed random effects.
        adjusted: p after Holm's correction for the family; None for what is described and not tested.
        least: smallest difference that would have been seen.
        trainings: of the system and of its control.
    """

    comparison: Comparison
    measure: str
    value: float
    interval: Interval
    p: float
    adjusted: float | None
    least: float
    trainings: tuple[int, int]


@dataclass(frozen=True)
class Trained:
    """The trainings of one system.

    Attributes:
        experiments: by folder.
        levels: what the embeddings of each show of the tree.
        effective_ranks: of each.
        radii: :data:`RADII` of those that have been measured.
    """

    experiments: Mapping[Path, Experiment]
    levels: Sequence[Mapping[str, Level]]
    effective_ranks: Sequence[float]
    radii: Sequence[Mapping[str, Any]] = field(default_factory=tuple)


@dataclass(frozen=True)
class Claims:
    """Everything on the page.

    Attributes:
        trained: by system, those that have been trained.
        lists: EER of each trial list; the first one is tested.
        levels: rank correlation of each level; the first two are tested.
        effects: by measure.
        not_run: comparisons of which a system has no training.
    """

    trained: Mapping[str, Trained]
    lists: Sequence[Measure]
    levels: Sequence[Measure]
    effects: Mapping[str, Sequence[Effect]]
    not_run: Sequence[Comparison]


def read_comparisons(path: Path) -> list[Comparison]:
    """Read the comparisons.

    Args:
        path: a file with the key ``comparisons``, a list of blocks with ``system``, ``control`` and ``factor``.

    Returns:
        The comparisons, in their order.

    Raises:
        ConfigError: if the file is missing, or a block has other keys or values.
    """
    tree = read_yaml(path)
    blocks = tree.get("comparisons") if isinstance(tree, dict) else None
    if not isinstance(blocks, list) or not blocks:
        raise ConfigError(f"{path}: expected a list under comparisons, found none")
    for block in blocks:
        if (
            not isinstance(block, dict)
            or set(block) != set(KEYS)
            or not all(isinstance(x, str) for x in block.values())
        ):
            raise ConfigError(f"{path}: comparisons: expected words for {', '.join(KEYS)}, found {quote(block)}")
    return [Comparison(**block) for block in blocks]


def measure_claims(
    folders: Mapping[str, Sequence[Path]],
    comparisons: Sequence[Comparison],
    lists: Sequence[TrialList],
    data_dir: Path,
    root: str,
) -> Claims:
    """Measure everything from the files of the experiments.

    Args:
        folders: by system, those of its trainings; a system may have none.
        comparisons: what is compared.
        lists: trial lists, the one whose EER is tested first.
        data_dir: folder with the lists and the tables of the tree.
        root: the corpus whose tree is known.

    Returns:
        All numbers of the page.

    Raises:
        ConfigError: if the root is unknown, or a comparison names a system that is not among the folders.
        DataError: if a file of an experiment or a table of the tree is missing or damaged.
    """
    for name in {name for one in comparisons for name in one[:2]}:
        if name not in folders:
            raise ConfigError(f"comparisons: expected systems among {', '.join(folders)}, found {quote(name)}")
    leaves = read_leaves(data_dir, root)
    there = {name: members for name, members in folders.items() if members}
    lists_found = [_eer(one, there) for one in lists]
    trained, levels_found = _trees(there, leaves)
    run = [one for one in comparisons if one.system in there and one.control in there]
    families = ((lists_found[:1], True), (lists_found[1:], False), (levels_found[:2], True), (levels_found[2:], False))
    effects = {
        name: found
        for measures, corrected in families
        for name, found in _effects(measures, run, len(comparisons) if corrected else 0).items()
    }
    return Claims(trained, lists_found, levels_found, effects, [one for one in comparisons if one not in run])


def _eer(one: TrialList, folders: Mapping[str, Sequence[Path]]) -> Measure:
    """The EER of every training on one list."""
    rates = {name: training_rates(members, one, BACKEND) for name, members in folders.items()}
    return Measure(f"EER % {one.name}", PER_CENT, rates)


def _trees(
    folders: Mapping[str, Sequence[Path]], leaves: Mapping[str, Leaf]
) -> tuple[dict[str, Trained], list[Measure]]:
    """What the embeddings of every training show of the tree."""
    trained: dict[str, Trained] = {}
    rates: dict[str, dict[str, list[Influences]]] = {}
    for name, members in folders.items():
        tables = [read_embeddings(folder / "embeddings.npz") for folder in members]
        found = [table.embeddings[table.rows(tuple(leaves), "the tree")] for table in tables]
        hanging = list(leaves.values())
        trained[name] = Trained(
            experiments={folder: read_experiment(folder) for folder in members},
            levels=[measure_levels(one, hanging) for one in found],
            effective_ranks=[effective_rank(one) for one in found],
            radii=[measured for folder in members if (measured := _read_radii(folder / "hierarchy.json"))],
        )
        for embeddings in found:
            for level, rate in level_errors(embeddings, hanging).items():
                rates.setdefault(level, {}).setdefault(name, []).append(rate)
    return trained, [Measure(f"rank correlation {level}", CORRELATION, of) for level, of in rates.items()]


def _read_radii(path: Path) -> dict[str, Any]:
    """What a radius carries in one experiment; empty where it has not been measured."""
    text = read_if_there(path)
    try:
        found = json.loads(text or "{}")
        return {name: found[name] for name in RADII} if found else {}
    except (ValueError, KeyError, TypeError) as error:
        cure = "measure it again (python -m ham.bin.hierarchy)"
        raise DataError(f"{path}: expected {', '.join(RADII)}, found something else ({error}); {cure}") from error


def _effects(measures: Sequence[Measure], comparisons: Sequence[Comparison], planned: int) -> dict[str, list[Effect]]:
    """The comparisons on measures that are one family, as large as it was planned; nothing is tested where 0 were."""
    found = [_effect(measure, one) for measure in measures for one in comparisons]
    not_run = [1.0] * (planned * len(measures) - len(found))
    adjusted = holm([*(effect.p for effect in found), *not_run]) if planned else [None] * len(found)
    final = [replace(effect, adjusted=p) for effect, p in zip(found, adjusted, strict=False)]
    return {measure.name: [effect for effect in final if effect.measure == measure.name] for measure in measures}


def _effect(measure: Measure, comparison: Comparison) -> Effect:
    summaries = {one.system: one for one in summarise(measure.rates, comparison.control)}
    system, control = summaries[comparison.system], summaries[comparison.control]
    difference = system.difference
    if difference is None:
        raise ConfigError(f"comparisons: expected two systems, found {quote(comparison.system)} twice")
    value, low, high = shown_difference(measure.scale, difference)
    return Effect(
        comparison=comparison,
        measure=measure.name,
        value=value,
        interval=Interval(low, high),
        p=wald_p(difference.value, difference.estimate),
        adjusted=None,
        least=abs(measure.scale.factor) * least_seen(difference.estimate),
        trainings=(len(system.eers), len(control.eers)),
    )


def shown(scale: Scale, summary: SeedSummary) -> tuple[float, float, float]:
    """Mean and ends of the interval of a system, as they are shown.

    Args:
        scale: of the measure.
        summary: of the system.

    Returns:
        Value, low and high end.
    """
    low, high = sorted(scale.offset + scale.factor * end for end in summary.interval)
    return scale.offset + scale.factor * summary.mean, low, high


def shown_difference(scale: Scale, difference: Difference) -> tuple[float, float, float]:
    """A difference of two systems and the ends of its interval, as they are shown.

    Args:
        scale: of the measure.
        difference: of its rates.

    Returns:
        Value, low and high end.
    """
    low, high = sorted(scale.factor * end for end in difference.interval)
    return scale.factor * difference.value, low, high


def worst_p(trained: Trained, level: str) -> tuple[float, float]:
    """The largest p of a level over the trainings, of its rank correlation and of its purity.

    Args:
        trained: the trainings.
        level: its name.

    Returns:
        Both.
    """
    found = [levels[level] for levels in trained.levels if level in levels]
    largest = np.max([(one.correlation.p, one.purity.p) for one in found], axis=0)
    return float(largest[0]), float(largest[1])
