"""Systems in tables: a row each, a column for every trial list, ours with intervals, published numbers beside.

A system is `NAME=EXPERIMENT[,EXPERIMENT...]`, the experiments being the same system trained with several seeds. Writes
RESULTS.md and table.html to --out and prints the tables.
"""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ham.bin.summary import Systems, parse_systems
from ham.cli import Parser, run
from ham.errors import ConfigError, DataError
from ham.files import write_text
from ham.losses import LOSSES
from ham.report import comparison as table_report
from ham.report import comparison_page, experiment
from ham.report.comparison import Comparison
from ham.report.comparison_tables import Column, Entry, Table
from ham.report.experiment import Experiment
from ham.report.published import Published, read_published
from ham.report.text_tables import text_table
from ham.score.backends import parse_backend
from ham.score.results import ListResult, per_cent
from ham.score.score_file import read_scores
from ham.score.seeds import summarise_seeds
from ham.score.trial_lists import TrialList, rated_lists

PROTOCOL = "published"
"""Word of ``--backends`` that takes each list's back-end from the published numbers."""

ROUNDING = 5e-5
"""Half a printed digit: an EER further away from that of ``results.json`` comes from other scores."""

logger = logging.getLogger(__name__)

Trainings = Mapping[str, Sequence[Experiment]]


def main(argv: Sequence[str]) -> None:
    """Make the tables.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    systems = parse_systems(options.systems)
    reference = options.reference or next(iter(systems))
    if reference not in systems:
        raise ConfigError(f"--reference: expected one of {', '.join(systems)}, found '{reference}'")
    published = _read_published(options, systems)
    found = {trial_list.name: trial_list for trial_list in rated_lists(options.data_dir, options.test_sets)}
    names = _in_order(list(found), published)
    trainings = {name: tuple(map(experiment.read_experiment, folders)) for name, folders in systems.items()}
    plans = _plans(options.backends, names, published, trainings)
    lists = {name: found[name] for name in names}
    _check_lists(systems, trainings, lists)
    builder = _Builder(systems, trainings, published, reference)
    with tqdm(total=sum(map(len, plans.values())), desc="lists", unit="list") as progress:
        tables = tuple(builder.table(title, plan, lists, progress) for title, plan in plans.items())
    comparison = Comparison(
        title=options.title,
        tables=tables,
        systems=trainings,
        reference=reference,
        command=shlex.join(["python", "-m", "ham.bin.table", *argv]),
        published_from=f"{options.published}, {options.published_config}" if options.published else "",
    )
    write_text(options.out / "RESULTS.md", table_report.markdown(comparison))
    write_text(options.out / "table.html", comparison_page.render(comparison))
    _print(comparison, options.out)


def _parser() -> Parser:
    parser = Parser(prog="python -m ham.bin.table", description=__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="egs/<corpus>/data: its test/<root>/<list>")
    parser.add_argument("--systems", nargs="+", required=True, metavar="NAME=EXP,...", help="scored experiments")
    parser.add_argument("--reference", default="", help="system that the others are compared with; the first")
    parser.add_argument("--test_sets", nargs="+", default=["all"], help="lists (<root>/<list>), roots, or all")
    parser.add_argument(
        "--backends", nargs="+", default=["cosine"],
        help=f"a table each: cosine, cosine+as_norm, ..., all; {PROTOCOL}: for each list that of its published numbers",
    )  # fmt: skip
    parser.add_argument("--published", type=Path, help="file of published numbers: egs/<corpus>/conf/published.yaml")
    parser.add_argument("--published_config", default="", help="configuration whose published numbers are shown")
    parser.add_argument("--title", default="Systems compared", help="heading of both files")
    parser.add_argument("--out", type=Path, required=True, help="folder for RESULTS.md and table.html")
    return parser


def _read_published(options: Any, systems: Systems) -> list[Published]:
    if bool(options.published) != bool(options.published_config):
        raise ConfigError("--published and --published_config: expected both or neither, found one of them")
    if not options.published:
        return []
    every = read_published(options.published)
    names = list(dict.fromkeys(entry.config for entry in every))
    if options.published_config not in names:
        choices = f"one of {', '.join(names) or 'none'} ({options.published})"
        raise ConfigError(f"--published_config: expected {choices}, found '{options.published_config}'")
    if strange := sorted({entry.system for entry in every} - {*LOSSES, *systems}):
        place = f"{options.published}: system {strange[0]}"
        raise DataError(f"{place}: expected a loss ({', '.join(LOSSES)}) or a system of the table, found neither")
    # None of ours is fine-tuned.
    return [entry for entry in every if entry.config == options.published_config and not entry.finetuned]


def _in_order(names: Sequence[str], published: Sequence[Published]) -> list[str]:
    """The lists as the published numbers have them (usually O, E, H), then the others."""
    order = list(dict.fromkeys(entry.trial_list for entry in published))
    return sorted(names, key=lambda name: order.index(name) if name in order else len(order))


def _plans(
    words: Sequence[str], names: Sequence[str], published: Sequence[Published], trainings: Trainings
) -> dict[str, dict[str, str]]:
    """For each table the back-end of every list; each back-end must be there for some system and list."""
    known = dict.fromkeys(
        result.backend for members in trainings.values() for member in members for result in member.results.results
    )
    plans: dict[str, dict[str, str]] = {}
    wanted = " ".join(words).replace(",", " ").split()
    for word in dict.fromkeys(name for one in wanted for name in (known if one == "all" else (one,))):
        if word == PROTOCOL and not published:
            raise ConfigError(f"--backends {PROTOCOL}: expected --published and --published_config, found neither")
        if word != PROTOCOL and word not in known:
            parse_backend(word)  # a name that there cannot be is a wrong request
            logger.info("left out: nothing was scored by %s", word)
            continue
        if word == PROTOCOL:
            first = {entry.trial_list: entry.backend for entry in reversed(published)}
            plans["published protocol"] = {name: first.get(name, "cosine") for name in names}
        else:
            plans[word] = dict.fromkeys(names, word)
    if not plans:
        raise ConfigError(f"--backends: expected some of {', '.join(known)}, found only what nothing was scored with")
    return plans


def _check_lists(systems: Systems, trainings: Trainings, lists: Mapping[str, TrialList]) -> None:
    """Every experiment must have been scored on every list, on the trials that the list has now."""
    settings: dict[str, tuple[object, Path]] = {}
    for name, members in trainings.items():
        for folder, member in zip(systems[name], members, strict=True):
            _check_settings(folder, member.results.settings, settings)
            scored = {result.trial_list: result for result in member.results.results}
            for trial_list in lists.values():
                _check_list(folder, scored, trial_list)


def _check_settings(folder: Path, found: Mapping[str, object], known: dict[str, tuple[object, Path]]) -> None:
    """Scores that were made with other options cannot be told from those of another system."""
    for name, value in found.items():
        expected, first = known.setdefault(name, (value, folder))
        if value != expected:
            raise DataError(
                f"{folder / 'results.json'}: expected {name} {expected} as in {first}, found {value}; score all "
                "systems with the same options (stages 5 and 6)"
            )


def _check_list(folder: Path, scored: Mapping[str, ListResult], trial_list: TrialList) -> None:
    place, cure = folder / "results.json", "score all systems on the same lists (stage 6)"
    if trial_list.name not in scored:
        found = ", ".join(scored) or "none"
        raise DataError(f"{place}: expected the list {trial_list.name}, found {found}; {cure}, or name --test_sets")
    labels = np.asarray(trial_list.trials.labels)
    expected = int((labels == 1).sum()), int((labels == 0).sum())
    result = scored[trial_list.name]
    if expected != (result.num_target, result.num_nontarget):
        raise DataError(
            f"{place}: {trial_list.name}: expected {expected[0]} target and {expected[1]} non-target trials, found "
            f"{result.num_target} and {result.num_nontarget}; {cure}"
        )


class _Builder:
    """Makes tables from the scores of the experiments."""

    def __init__(
        self,
        systems: Systems,
        trainings: Trainings,
        published: Sequence[Published],
        reference: str,
    ) -> None:
        self._systems, self._trainings = systems, trainings
        self._published = {(entry.system, entry.trial_list, entry.backend): entry for entry in published}
        self._reference = reference

    def table(self, title: str, plan: Mapping[str, str], lists: Mapping[str, TrialList], progress: tqdm[Any]) -> Table:
        """One table; a list that no system has scores of is named and left out."""
        columns = []
        for name, backend in plan.items():
            columns.append(self._column(lists[name], backend))
            progress.update()
        shown = tuple(column for column in columns if column.entries)
        if not shown:
            raise DataError(
                f"{title}: expected scores of some system, found none on {', '.join(plan)}; score (stage 6)"
            )
        unscored = tuple(f"{column.trial_list} by {column.backend}" for column in columns if not column.entries)
        return Table(title, self._reference, shown, unscored)

    def _column(self, trial_list: TrialList, backend: str) -> Column:
        results = {name: found for name in self._systems if (found := self._results(name, trial_list.name, backend))}
        if not results:
            return Column(trial_list.name, backend, {})
        trials = trial_list.trials
        summaries = summarise_seeds(
            {name: self._scores(name, found, trial_list) for name, found in results.items()},
            trials.labels,
            trial_list.speakers(trials.enrol),
            trial_list.speakers(trials.test),
            reference=self._reference,
        )
        entries = {}
        for summary in summaries:
            name = summary.system
            self._check_eers(name, summary.eers, results[name])
            published = self._published.get((name, trial_list.name, backend))
            entries[name] = Entry(summary, results[name], published)
        return Column(trial_list.name, backend, entries)

    def _results(self, system: str, trial_list: str, backend: str) -> tuple[ListResult, ...]:
        """The numbers of each training; none if no training has them, all if one has."""
        found: list[ListResult] = []
        lacking = []
        for folder, member in zip(self._systems[system], self._trainings[system], strict=True):
            numbers = [r for r in member.results.results if (r.trial_list, r.backend) == (trial_list, backend)]
            found += numbers[:1]
            lacking += [] if numbers else [folder]
        if found and lacking:
            raise DataError(
                f"{lacking[0] / 'results.json'}: expected {trial_list} by {backend} as in the other trainings of "
                f"{system}, found none; score it again (stage 6)"
            )
        return tuple(found)

    def _scores(self, system: str, results: Sequence[ListResult], trial_list: TrialList) -> list[NDArray[np.float32]]:
        trials, backend = trial_list.trials, results[0].backend
        paths = [folder / "scores" / f"{trial_list.name}.{backend}" for folder in self._systems[system]]
        return [read_scores(path).join(trials.enrol, trials.test, str(path)) for path in paths]

    def _check_eers(self, system: str, eers: Sequence[float], results: Sequence[ListResult]) -> None:
        for folder, eer, result in zip(self._systems[system], eers, results, strict=True):
            if result.eer is None or not abs(eer - result.eer) <= ROUNDING:
                raise DataError(
                    f"{folder / 'results.json'}: {result.trial_list} by {result.backend}: expected the EER of the "
                    f"scores, {per_cent(eer)} %, found {per_cent(result.eer)} %; score it again (stage 6)"
                )


def _print(comparison: Comparison, out: Path) -> None:
    for table in comparison.tables:
        for title, cells in table_report.cells_of(table, comparison.reference).items():
            print(f"{table.title}: {title}\n{text_table(*cells)}\n")
    print(out / "RESULTS.md")
    print(out / "table.html")


if __name__ == "__main__":
    sys.exit(run(main))
