"""The report of a comparison of systems: what is shown, as Markdown and LaTeX; comparison_page.py makes the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from ham.markdown import escape_markdown, fenced, markdown_table
from ham.report.comparison_tables import MINUS_PUBLISHED, Cells, Table, cost_table, difference_table, eer_table
from ham.report.experiment import Experiment
from ham.report.latex import latex_table
from ham.report.wording import EER_RULE, RANK_ALIKE, RULES_AGREE, RULES_DIFFER, backend_notes, cost_notes
from ham.score.intervals import few_speakers
from ham.score.results import ListResult

_APART = ("loss", "seed", "fingerprint")
"""Parts of a configuration in which rows and seeds differ on purpose."""

_SHORT = 12
"""Digits of a commit that the table of experiments shows."""

Members: TypeAlias = Sequence[tuple[str, Experiment]]
"""Every experiment, with the name of its system."""


@dataclass(frozen=True)
class Comparison:
    """Everything that is shown.

    Attributes:
        title: of the page.
        tables: one for each choice of back-end.
        systems: experiments of each system, one a training, in the order of the rows.
        reference: the system that the others are compared with.
        command: what makes this report.
        published_from: file and configuration of the published numbers; empty without them.
        repeated: titles of tables that are left out, see :func:`without_repeats`.
    """

    title: str
    tables: tuple[Table, ...]
    systems: Mapping[str, tuple[Experiment, ...]]
    reference: str
    command: str
    published_from: str = ""
    repeated: tuple[str, ...] = ()

    @property
    def experiments(self) -> Members:
        """All of them, with the name of their system."""
        return [(name, experiment) for name, members in self.systems.items() for experiment in members]


def without_repeats(tables: Sequence[Table]) -> tuple[tuple[Table, ...], tuple[str, ...]]:
    """Leave out a table of hyperbolic scores in which every number is the cosine's; without errors none is compared.

    Args:
        tables: one for each choice of back-end.

    Returns:
        Those that are left, and the titles of the others.
    """
    numbers = {table.title: _numbers(table) for table in tables}
    gone = []
    for title, found in numbers.items():
        cosine = title.replace("hyperbolic", "cosine", 1)
        errors = all(one.eer for trainings in found.values() for one in trainings)
        if cosine != title and errors and found.items() <= numbers.get(cosine, {}).items():
            gone.append(title)
    return tuple(table for table in tables if table.title not in gone), tuple(gone)


def _numbers(table: Table) -> dict[tuple[str, str], tuple[ListResult, ...]]:
    """By list and system, without the back-end's name."""
    return {
        (column.trial_list, name): tuple(replace(one, backend="") for one in entry.results)
        for column in table.columns
        for name, entry in column.entries.items()
    }


def cells_of(table: Table, reference: str) -> dict[str, Cells]:
    """The parts of one table with their titles.

    Args:
        table: what to show.
        reference: the system that the others are compared with.

    Returns:
        Title to head and rows; the comparison is left out where there is nothing to compare.
    """
    parts = {"EER %": eer_table(table)}
    crossed = dict.fromkeys(backend for entry in table.entries for backend in entry.crossed)
    for backend in ("", *crossed):
        if (differences := difference_table(table, backend)) is not None:
            by = f" by {backend}" if backend else ""
            parts[f"EER minus that of {reference}{by}, points"] = differences
    return {**parts, "Detection costs": cost_table(table)}


def notes(comparison: Comparison) -> list[str]:
    """How the numbers are to be read, what they cover and what they do not.

    Args:
        comparison: what is shown.

    Returns:
        Sentences to show beside the tables.
    """
    tables = comparison.tables
    return [
        *_rule_notes(tables),
        *(f"{title}: no table, since it repeats the cosine's; {RANK_ALIKE}" for title in comparison.repeated),
        *_seed_notes(comparison),
        *_published_notes(comparison),
        *(cost_notes([result for table in tables for result in table.results])),
        "Costs are means over the trainings; two numbers are those at 0.01 and at 0.05.",
        *backend_notes(column.backend for table in tables for column in table.columns),
        *(note for table in tables for note in _missing_notes(table, comparison.systems)),
    ]


def _rule_notes(tables: Sequence[Table]) -> list[str]:
    entries = [entry for table in tables for entry in table.entries]
    if any(entry.rules_differ for entry in entries):
        return [EER_RULE, RULES_DIFFER]
    return [EER_RULE, RULES_AGREE] if all(entry.eer_published is not None for entry in entries) else [EER_RULE]


def _seed_notes(comparison: Comparison) -> list[str]:
    counts = {name: len(members) for name, members in comparison.systems.items()}
    several = max(counts.values()) > 1
    trainings = _listed(counts, lambda count: "1 training" if count == 1 else f"{count} trainings")
    found = [
        f"Trainings, each with a seed of its own: {trainings}.",
        f"[95 %]: interval of {'the mean over the trainings' if several else 'the EER'} over draws of the speakers of "
        + ("the list and over trainings." if several else "the list; another training would be further away."),
        *_few_speakers(comparison.tables),
    ]
    if several:
        found.append("(lowest to highest): EER of the single trainings; a few seeds show little of what is possible.")
    if len(comparison.systems) > 1:
        found.append(
            f"Minus {comparison.reference}: paired, over the same draws of speakers for both systems; negative where "
            "the system of the row errs less. An interval that holds 0 says that these speakers and trainings do not "
            "tell the two apart."
        )
    return found


def _few_speakers(tables: Sequence[Table]) -> list[str]:
    """What has to be said of lists of few speakers, each once."""
    counts = {
        column.trial_list: entry.summary.num_speakers
        for table in tables
        for column in table.columns
        for entry in column.entries.values()
    }
    return [f"{name}: {said}." for name, number in counts.items() if (said := few_speakers(number))]


def _published_notes(comparison: Comparison) -> list[str]:
    entries = [entry.published for table in comparison.tables for entry in table.entries]
    sources = list(dict.fromkeys(entry.source for entry in entries if entry is not None))
    if not sources:
        return [f"Nothing was published for these systems, lists and back-ends in {comparison.published_from}."] * bool(
            comparison.published_from
        )
    return [
        f"published: figures of {comparison.published_from} ({'; '.join(sources)}), as a rule of one training run and "
        "without an interval; a difference within the spread of two such runs is none.",
        f"{MINUS_PUBLISHED}: our interpolated mean EER less the published figure, in points. It has no interval of its "
        "own, since the scores behind the published figure are not at hand.",
    ]


def _missing_notes(table: Table, systems: Iterable[str]) -> list[str]:
    without = [name for name in systems if name not in table.systems]
    uncompared = ", so that there is nothing to compare with" if table.reference in without else ""
    found = [f"{table.title}: no such scores of {', '.join(without)}{uncompared}."] if without else []
    return found + ([f"{table.title}: no scores of {', '.join(table.unscored)}."] if table.unscored else [])


def differences(comparison: Comparison) -> list[str]:
    """What the experiments differ in apart from loss and seed.

    Args:
        comparison: what is shown.

    Returns:
        Sentences; a single one if they differ in nothing.
    """
    members = comparison.experiments
    found = [
        *_varying(members, "Commit at scoring", lambda experiment: _short(_commit(experiment).removesuffix("-dirty"))),
        *_varying(members, "Hardware", lambda experiment: experiment.hardware),
        *_varying(members, "Versions", lambda experiment: _pairs(experiment.results.versions)),
        *_settings(members),
    ]
    dirty = [_label(name, experiment) for name, experiment in members if _commit(experiment).endswith("-dirty")]
    if dirty:
        found.append(f"Scored from a tree with uncommitted changes (-dirty): {', '.join(dirty)}.")
    for name, trainings in comparison.systems.items():
        seeds = [experiment.results.seed for experiment in trainings]
        if len(set(seeds)) < len(seeds):
            found.append(f"{name}: the seeds {', '.join(map(str, seeds))} are not all different.")
    return found or ["The experiments differ in nothing but loss and seed."]


def _varying(members: Members, what: str, key: Callable[[Experiment], str]) -> list[str]:
    groups: dict[str, list[str]] = {}
    for name, experiment in members:
        groups.setdefault(key(experiment), []).append(_label(name, experiment))
    if len(groups) < 2:
        return []
    most = max(groups, key=lambda value: len(groups[value]))
    others = "; ".join(f"{value}: {', '.join(labels)}" for value, labels in groups.items() if value != most)
    return [f"{what} differs: {most} for most ({len(groups[most])} of {len(members)}); {others}."]


def _settings(members: Members) -> list[str]:
    """Settings of the configurations that are not the same everywhere."""
    configs = [dict(_flat(experiment.config)) for _, experiment in members]
    keys = dict.fromkeys(key for config in configs for key in config)
    found = []
    for key in keys:
        values = list(dict.fromkeys(str(config.get(key, "unset")) for config in configs))
        if len(values) > 1:
            found.append(f"{key} {' or '.join(values)}")
    return [f"Configurations differ beyond the loss: {'; '.join(found)}."] if found else []


def _flat(block: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in block.items():
        if place or key not in _APART:
            name = f"{place}{key}"
            yield from _flat(value, f"{name}.") if isinstance(value, Mapping) else [(name, value)]


def provenance(comparison: Comparison) -> Cells:
    """One line an experiment: what it is and where it comes from.

    Args:
        comparison: what is shown.

    Returns:
        Head and rows.
    """
    head = ["system", "experiment", "seed", "epochs", "commit", "hardware"]
    return head, [
        [
            name,
            experiment.results.name,
            str(experiment.results.seed),
            str(experiment.history.epochs[-1]["epoch"]) if experiment.history.epochs else "-",
            _short(_commit(experiment)),
            experiment.hardware,
        ]
        for name, experiment in comparison.experiments
    ]


def commands(comparison: Comparison) -> str:
    """The command of every experiment, and the one that makes this report.

    Args:
        comparison: what is shown.

    Returns:
        One command a line.
    """
    lines = dict.fromkeys(experiment.results.command for _, experiment in comparison.experiments)
    return "\n".join([*lines, comparison.command])


def markdown(comparison: Comparison) -> str:
    """``RESULTS.md`` of a comparison.

    Args:
        comparison: what to show.

    Returns:
        The file's text.
    """
    lines = [f"# {escape_markdown(comparison.title)}", ""]
    for table in comparison.tables:
        lines += [f"## {escape_markdown(table.title)}", ""]
        for title, (head, rows) in cells_of(table, comparison.reference).items():
            lines += [f"### {escape_markdown(title)}", "", *markdown_table(head, rows), ""]
    return "\n".join(
        [
            *lines,
            "## How to read it",
            "",
            *(f"- {escape_markdown(note)}" for note in notes(comparison)),
            "",
            "## Experiments",
            "",
            *markdown_table(*provenance(comparison), num_left=2),
            "",
            *(f"- {escape_markdown(note)}" for note in differences(comparison)),
            "",
            *fenced(commands(comparison)),
            "",
        ]
    )


def _label(name: str, experiment: Experiment) -> str:
    return f"{name} seed {experiment.results.seed}"


def _commit(experiment: Experiment) -> str:
    return experiment.results.commit or "unknown"


def _short(commit: str) -> str:
    name, dash, dirty = commit.partition("-")
    return f"{name[:_SHORT]}{dash}{dirty}"


def _pairs(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _listed(counts: Mapping[str, int], words: Callable[[int], str]) -> str:
    """``3 trainings each``, or every system with its own number."""
    if len(set(counts.values())) == 1:
        return words(next(iter(counts.values()))) + (" each" if len(counts) > 1 else "")
    return ", ".join(f"{name} {words(count)}" for name, count in counts.items())


def latex(comparison: Comparison) -> str:
    """The tables alone, for a LaTeX document that uses the package booktabs.

    Args:
        comparison: what to show.

    Returns:
        The file's text: a ``tabular`` for each part of each table, a comment above says of what.
    """
    lines = ["% needs \\usepackage{booktabs}"]
    for table in comparison.tables:
        for title, cells in cells_of(table, comparison.reference).items():
            lines += ["", f"% {table.title}: {title}", *latex_table(*cells)]
    return "\n".join([*lines, ""])
