"""Systems over several seeds in one table: mean EER % [95 %] (lowest to highest), and its difference to one system.

A system is `NAME=EXPERIMENT[,EXPERIMENT...]`, the experiments being the same system trained with several seeds.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ham.cli import Parser, run
from ham.errors import ConfigError, DataError
from ham.report.markdown import markdown_table
from ham.score.score_file import read_scores
from ham.score.seeds import SeedSummary, summarise_seeds, summary_table
from ham.score.trial_lists import TrialList, rated_lists

logger = logging.getLogger(__name__)

Systems = Mapping[str, Sequence[Path]]


def main(argv: Sequence[str]) -> None:
    """Read the scores and print the table.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    systems = parse_systems(options.systems)
    reference = options.reference or next(iter(systems))
    if reference not in systems:
        raise ConfigError(f"--reference: expected one of {', '.join(systems)}, found '{reference}'")
    lists = rated_lists(options.data_dir, options.test_sets)
    columns: dict[str, Sequence[SeedSummary]] = {}
    for trial_list in tqdm(lists, desc="lists", unit="list"):
        for backend in options.backends:
            scores = _scores(systems, trial_list, backend)
            if not scores:
                raise DataError(f"{trial_list.name}: expected {backend} scores of some system, found none")
            trials = trial_list.trials
            speakers = trial_list.speakers(trials.enrol), trial_list.speakers(trials.test)
            columns[f"{trial_list.name} {backend}"] = summarise_seeds(
                scores, trials.labels, *speakers, reference=reference
            )
    print(*markdown_table(*summary_table(columns, reference)), sep="\n")


def _parser() -> Parser:
    parser = Parser(prog="python -m ham.bin.summary", description=__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="egs/<corpus>/data: its test/<root>/<list>")
    parser.add_argument("--systems", nargs="+", required=True, metavar="NAME=EXP,...", help="scored experiments")
    parser.add_argument("--reference", default="", help="system that the others are compared with; the first")
    parser.add_argument("--test_sets", nargs="+", default=["all"], help="lists (<root>/<list>), roots, or all")
    parser.add_argument("--backends", nargs="+", default=["cosine"], help="cosine, hyperbolic")
    return parser


def parse_systems(words: Sequence[str]) -> dict[str, list[Path]]:
    """Read ``NAME=EXPERIMENT[,EXPERIMENT...]``.

    Args:
        words: one a system.

    Returns:
        The experiments' folders by name.

    Raises:
        ConfigError: if a word has another form, or a name stands twice.
    """
    systems: dict[str, list[Path]] = {}
    for word in words:
        name, equals, folders = word.partition("=")
        if not name or not equals or not all(folders.split(",")):
            raise ConfigError(f"--systems: expected NAME=EXPERIMENT,EXPERIMENT, found '{word}'")
        if name in systems:
            raise ConfigError(f"--systems: expected each name once, found '{name}' twice")
        systems[name] = [Path(folder) for folder in folders.split(",")]
        if len({folder.resolve() for folder in systems[name]}) < len(systems[name]):
            raise ConfigError(f"--systems: {name}: expected different experiments, found one of them twice")
    return systems


def _scores(systems: Systems, trial_list: TrialList, backend: str) -> dict[str, list[NDArray[np.float32]]]:
    """The scores of every system that has the back-end, in the order of the trials."""
    found: dict[str, list[NDArray[np.float32]]] = {}
    for name, folders in systems.items():
        paths = [folder / "scores" / f"{trial_list.name}.{backend}" for folder in folders]
        there = [path.exists() for path in paths]
        if backend != "cosine" and not any(there):
            continue  # a loss without a distance
        trials = trial_list.trials
        found[name] = [read_scores(path).join(trials.enrol, trials.test, str(path)) for path in paths]
    return found


if __name__ == "__main__":
    sys.exit(run(main))
