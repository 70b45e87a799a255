"""The tables of a comparison, made from the files of the experiments and checked against the trial lists.

A system is one or several experiments: the same training with other seeds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ham.errors import ConfigError, DataError
from ham.report.comparison_tables import Column, Entry, Table
from ham.report.experiment import Experiment, read_experiment
from ham.report.published import Published
from ham.score.backends import parse_backend
from ham.score.intervals import Influences, influences
from ham.score.results import ListResult, per_cent
from ham.score.score_file import read_scores
from ham.score.seeds import Difference, summarise
from ham.score.trial_lists import TrialList

PROTOCOL = "published"
"""The back-end that stands for another one on each list: that of the list's published numbers."""

ROUNDING = 5e-5
"""Half a printed digit: an EER further away from that of ``results.json`` comes from other scores."""

logger = logging.getLogger(__name__)

Trainings: TypeAlias = Mapping[Path, Experiment]
"""The experiments of a system, by their folders."""


def read_systems(folders: Mapping[str, Iterable[Path]]) -> dict[str, Trainings]:
    """Read the experiments of some systems.

    Args:
        folders: those of the experiments, by system.

    Returns:
        What each system's experiments have in their files.

    Raises:
        DataError: if a file is missing or damaged.
    """
    return {name: {folder: read_experiment(folder) for folder in members} for name, members in folders.items()}


def build_tables(
    systems: Mapping[str, Trainings],
    lists: Sequence[TrialList],
    backends: Sequence[str],
    published: Sequence[Published],
    reference: str,
    reference_backends: Sequence[str] = (),
) -> tuple[Table, ...]:
    """Make a table for each back-end.

    Args:
        systems: what is compared.
        lists: on which trial lists.
        backends: names of back-ends, ``all`` for those of the experiments, :data:`PROTOCOL`.
        published: numbers to show beside; their lists come first, in their order.
        reference: the system that the others are compared with.
        reference_backends: further back-ends of the reference that every table compares with, named as ``backends``.

    Returns:
        The tables, in the order of ``backends``; a back-end that nothing was scored by is left out, and that is said.

    Raises:
        ConfigError: if there is no such back-end, or none of them has scores.
        DataError: if experiments were scored with other options or on other trials, or scores are missing.
    """
    order = list(dict.fromkeys(entry.trial_list for entry in published))
    lists = sorted(lists, key=lambda one: order.index(one.name) if one.name in order else len(order))
    names = [one.name for one in lists]
    plans = _plans(backends, names, published, systems)
    against = _plans(reference_backends, names, published, systems) if reference_backends else {}
    _check_settings(systems)
    for trainings in systems.values():
        for folder, experiment in trainings.items():
            _check_lists(folder, experiment, lists)
    tables = []
    with tqdm(total=len(plans) * len(lists), desc="lists", unit="list") as progress:
        for title, plan in plans.items():
            columns = []
            for one in lists:
                columns.append(_column(systems, one, plan[one.name], published, reference, against))
                progress.update()
            tables.append(_table(title, reference, columns))
    return tuple(tables)


def _plans(
    words: Sequence[str], names: Sequence[str], published: Sequence[Published], systems: Mapping[str, Trainings]
) -> dict[str, dict[str, str]]:
    """For each table the back-end of every list; each back-end must be there for some system and list."""
    experiments = [experiment for trainings in systems.values() for experiment in trainings.values()]
    known = dict.fromkeys(result.backend for experiment in experiments for result in experiment.results.results)
    plans: dict[str, dict[str, str]] = {}
    wanted = " ".join(words).replace(",", " ").split()
    for word in dict.fromkeys(name for one in wanted for name in (known if one == "all" else (one,))):
        if word == PROTOCOL and not published:
            raise ConfigError(f"--backends {PROTOCOL}: expected --published and --published_config, found neither")
        if word == PROTOCOL:
            first = {entry.trial_list: entry.backend for entry in reversed(published)}
            plans["published protocol"] = {name: first.get(name, "cosine") for name in names}
        elif word in known:
            plans[word] = dict.fromkeys(names, word)
        else:
            parse_backend(word)  # a name that there cannot be is a wrong request
            logger.info("left out: nothing was scored by %s", word)
    if not plans:
        raise ConfigError(f"--backends: expected some of {', '.join(known)}, found only what nothing was scored with")
    return plans


def _check_settings(systems: Mapping[str, Trainings]) -> None:
    """Scores that were made with other options cannot be told from those of another system."""
    known: dict[str, tuple[object, Path]] = {}
    for trainings in systems.values():
        for folder, experiment in trainings.items():
            for name, value in experiment.results.settings.items():
                expected, first = known.setdefault(name, (value, folder))
                if value != expected:
                    raise DataError(
                        f"{folder / 'results.json'}: expected {name} {expected} as in {first}, found {value}; score "
                        "all systems with the same options (stages 5 and 6)"
                    )


def _check_lists(folder: Path, experiment: Experiment, lists: Iterable[TrialList]) -> None:
    """An experiment must have been scored on every list, on the trials that the list has now."""
    place, cure = folder / "results.json", "score all systems on the same lists (stage 6)"
    scored = {result.trial_list: result for result in experiment.results.results}
    for one in lists:
        if one.name not in scored:
            found = ", ".join(scored) or "none"
            raise DataError(f"{place}: expected the list {one.name}, found {found}; {cure}, or name --test_sets")
        labels, result = np.asarray(one.trials.labels), scored[one.name]
        expected = int((labels == 1).sum()), int((labels == 0).sum())
        if expected != (result.num_target, result.num_nontarget):
            raise DataError(
                f"{place}: {one.name}: expected {expected[0]} target and {expected[1]} non-target trials, found "
                f"{result.num_target} and {result.num_nontarget}; {cure}"
            )


def _table(title: str, reference: str, columns: Sequence[Column]) -> Table:
    """One table; a list that no system has scores of is named and left out."""
    shown = tuple(column for column in columns if column.entries)
    if not shown:
        names = ", ".join(column.trial_list for column in columns)
        raise DataError(f"{title}: expected scores of some system, found none on {names}; score (stage 6)")
    unscored = tuple(f"{column.trial_list} by {column.backend}" for column in columns if not column.entries)
    return Table(title, reference, shown, unscored)


def _column(
    systems: Mapping[str, Trainings],
    one: TrialList,
    backend: str,
    published: Sequence[Published],
    reference: str,
    against: Mapping[str, Mapping[str, str]],
) -> Column:
    """All systems on one list; empty if none was scored there by the back-end."""
    results = {name: found for name in systems if (found := _results(name, systems[name], one.name, backend))}
    if not results:
        return Column(one.name, backend, {})
    rates = {name: training_rates(found, one, backend) for name, found in results.items()}
    summaries = summarise(rates, reference)
    crossed = {
        title: _crossed(systems[reference], one, plan[one.name], reference, rates)
        for title, plan in against.items()
        if plan[one.name] != backend
    }
    others = {entry.system: entry for entry in published if (entry.trial_list, entry.backend) == (one.name, backend)}
    entries = {}
    for summary in summaries:
        found = results[summary.system]
        _check_eers(summary.eers, found)
        own = {title: rows[summary.system] for title, rows in crossed.items() if rows}
        entries[summary.system] = Entry(summary, tuple(found.values()), others.get(summary.system), own)
    return Column(one.name, backend, entries)


def _crossed(
    trainings: Trainings, one: TrialList, backend: str, reference: str, rates: Mapping[str, Sequence[Influences]]
) -> dict[str, Difference]:
    """Differences of all systems to the reference as another back-end scores it; none without such scores."""
    beside = training_rates(_results(reference, trainings, one.name, backend), one, backend)
    found = summarise({**rates, "": beside}, "") if beside else []
    return {summary.system: summary.difference for summary in found if summary.difference}


def training_rates(folders: Iterable[Path], one: TrialList, backend: str) -> list[Influences]:
    """The EER of each training on a list, and what each speaker contributes to it.

    Args:
        folders: the experiments.
        one: the list.
        backend: whose scores are read, ``scores/<list>.<backend>``.

    Returns:
        One a training, in their order.

    Raises:
        DataError: if scores are missing, damaged, or not those of the list's trials.
    """
    trials = one.trials
    sides = one.speakers(trials.enrol), one.speakers(trials.test)
    return [influences(_scores(folder, one, backend), trials.labels, *sides) for folder in folders]


def _results(system: str, trainings: Trainings, trial_list: str, backend: str) -> dict[Path, ListResult]:
    """The numbers of each training; none if no training has them, all if one has."""
    found = {}
    for folder, experiment in trainings.items():
        for result in experiment.results.results:
            if (result.trial_list, result.backend) == (trial_list, backend):
                found[folder] = result
    lacking = [folder for folder in trainings if folder not in found]
    if found and lacking:
        raise DataError(
            f"{lacking[0] / 'results.json'}: expected {trial_list} by {backend} as in the other trainings of "
            f"{system}, found none; score it again (stage 6)"
        )
    return found


def _scores(folder: Path, one: TrialList, backend: str) -> NDArray[np.float32]:
    path = folder / "scores" / f"{one.name}.{backend}"
    return read_scores(path).join(one.trials.enrol, one.trials.test, str(path))


def _check_eers(eers: Iterable[float], results: Mapping[Path, ListResult]) -> None:
    """The scores must be those that the numbers were computed from."""
    for eer, (folder, result) in zip(eers, results.items(), strict=True):
        if result.eer is None or not abs(eer - result.eer) <= ROUNDING:
            raise DataError(
                f"{folder / 'results.json'}: {result.trial_list} by {result.backend}: expected the EER of the "
                f"scores, {per_cent(eer)} %, found {per_cent(result.eer)} %; score it again (stage 6)"
            )
