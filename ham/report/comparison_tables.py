"""The tables of a comparison: rows are systems, columns are trial lists, ours beside what was published.

Everything here is text and numbers; :mod:`ham.report.comparison` and :mod:`ham.report.comparison_page` lay it out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from ham.report.published import Published
from ham.report.text_tables import PUBLISHED_RULE
from ham.score.results import ListResult, decimals, per_cent
from ham.score.seeds import Difference, SeedSummary

Cells: TypeAlias = tuple[list[str], list[list[str]]]
"""Heads of the columns, and the rows; the first column names the system."""

PUBLISHED, MINUS_PUBLISHED = "published", "minus published"
"""Heads of the columns that follow a list's own where something was published for it."""


@dataclass(frozen=True)
class Entry:
    """One system on one trial list.

    Attributes:
        summary: EER over its trainings, its interval, its difference to the reference.
        results: the numbers of each training.
        published: what others reported for it; None where there is nothing.
        crossed: difference to the reference scored by other back-ends, by their names.
    """

    summary: SeedSummary
    results: tuple[ListResult, ...]
    published: Published | None = None
    crossed: Mapping[str, Difference] = field(default_factory=dict)

    @property
    def eer_published(self) -> float | None:
        """Mean EER of the trainings by the published rule; None where one of them lacks it."""
        rates = [result.eer_published for result in self.results]
        known = [rate for rate in rates if rate is not None]
        return sum(known) / len(known) if known and len(known) == len(rates) else None

    @property
    def rules_differ(self) -> bool:
        """Whether the two rules differ in a printed digit of the mean."""
        return self.eer_published is not None and per_cent(self.eer_published) != per_cent(self.summary.mean)


@dataclass(frozen=True)
class Column:
    """One trial list under one back-end.

    Attributes:
        trial_list: ``<root>/<list>``.
        backend: what made the scores.
        entries: by system; one without such scores is missing.
    """

    trial_list: str
    backend: str
    entries: Mapping[str, Entry]


@dataclass(frozen=True)
class Table:
    """All lists under one choice of back-end.

    Attributes:
        title: the back-end, or ``published protocol`` where each list has its own.
        reference: the system that the others are compared with.
        columns: one a list.
        unscored: lists that no system has scores of.
    """

    title: str
    reference: str
    columns: tuple[Column, ...]
    unscored: tuple[str, ...] = ()

    @property
    def systems(self) -> list[str]:
        """Those with an entry somewhere, in the order of the request."""
        return list(dict.fromkeys(name for column in self.columns for name in column.entries))

    @property
    def entries(self) -> list[Entry]:
        """Those of all lists and systems."""
        return [entry for column in self.columns for entry in column.entries.values()]

    @property
    def results(self) -> list[ListResult]:
        """The numbers of all trainings."""
        return [result for entry in self.entries for result in entry.results]

    def heading(self, column: Column) -> str:
        """What a column is called: its list, and its back-end where they differ from list to list.

        Args:
            column: one of the table.

        Returns:
            Plain text.
        """
        several = len({other.backend for other in self.columns}) > 1
        return f"{column.trial_list} ({column.backend})" if several else column.trial_list


def eer_table(table: Table) -> Cells:
    """Mean EER % [95 %] (lowest to highest training); published, and ours minus published in points.

    A list in which the two rules of the EER differ in a printed digit gets a column for the published one too.

    Args:
        table: what to show.

    Returns:
        Head and rows; ``-`` where there is nothing.
    """
    extra = {PUBLISHED_RULE: _other_rule, PUBLISHED: _published_eer, MINUS_PUBLISHED: _minus_published}
    return _assemble(table, {"": lambda entry: eer_cell(entry.summary)}, extra)


def eer_cell(summary: SeedSummary) -> str:
    """Mean EER % with its interval and, for several trainings, the lowest and the highest.

    Args:
        summary: of one system.

    Returns:
        ``2.00 [1.00, 2.87] (1.90 to 2.10)``.
    """
    low, high = map(per_cent, summary.interval)
    spread = f" ({per_cent(min(summary.eers))} to {per_cent(max(summary.eers))})" if len(summary.eers) > 1 else ""
    return f"{per_cent(summary.mean)} [{low}, {high}]{spread}"


def published_digits(rate: float) -> str:
    """A published EER in per cent with its own two or three decimals.

    Args:
        rate: a fraction.

    Returns:
        ``1.048`` or ``0.87``.
    """
    return f"{100 * rate:.3f}".removesuffix("0")


def _other_rule(entry: Entry) -> str:
    return per_cent(entry.eer_published)


def _published_eer(entry: Entry) -> str:
    if entry.published is None:
        return "-"
    return published_digits(entry.published.eer) + ("" if entry.published.verified else " (unverified)")


def _minus_published(entry: Entry) -> str:
    if entry.published is None:
        return "-"
    ours = entry.summary.mean if entry.eer_published is None else entry.eer_published
    return decimals(100 * (ours - entry.published.eer), 2, "+")


def difference_table(table: Table, backend: str = "") -> Cells | None:
    """EER of each system minus that of the reference, in points: ``+0.40 [+0.10, +0.71]``.

    Args:
        table: what to show.
        backend: of the reference's scores, one of ``crossed``; empty for the table's own.

    Returns:
        Head and rows, the reference without one; None where there is nothing to compare.
    """
    head, rows = _assemble(table, {"": partial(_difference_cell, backend=backend)}, {})
    rows = [row for row in rows if any(cell != "-" for cell in row[1:])]
    return (head, rows) if rows else None


def _difference_cell(entry: Entry, backend: str) -> str:
    difference = entry.crossed.get(backend) if backend else entry.summary.difference
    if difference is None:
        return "-"
    low, high = (decimals(100 * end, 2, "+") for end in difference.interval)
    return f"{decimals(100 * difference.value, 2, '+')} [{low}, {high}]"


def cost_table(table: Table) -> Cells:
    """Detection costs, means over the trainings: minDCF, where the scores are calibrated actDCF, and Cllr.

    Args:
        table: what to show.

    Returns:
        Head and rows; two numbers in a cell are those at 0.01 and at 0.05, or Cllr and minCllr.
    """
    ours: dict[str, Callable[[Entry], str]] = {
        "minDCF": lambda entry: _means(entry, "min_dcf_p01", "min_dcf_p05"),
        "actDCF": lambda entry: _means(entry, "act_dcf_p01", "act_dcf_p05"),
        "Cllr / minCllr": lambda entry: _means(entry, "cllr", "min_cllr"),
    }
    calibrated = any(result.cllr is not None for result in table.results)
    shown = ours if calibrated else {"minDCF": ours["minDCF"]}
    return _assemble(table, shown, {"published minDCF": _published_costs})


def _means(entry: Entry, *names: str) -> str:
    """Means over the trainings of two numbers; ``-`` for one that a training lacks."""
    columns = [[getattr(result, name) for result in entry.results] for name in names]
    texts = ["-" if None in values else decimals(sum(values) / len(values), 3) for values in columns]
    return "-" if set(texts) == {"-"} else " / ".join(texts)


def _published_costs(entry: Entry) -> str:
    if entry.published is None:
        return "-"
    costs = (entry.published.min_dcf_p01, entry.published.min_dcf_p05)
    return "-" if costs == (None, None) else " / ".join(decimals(cost, 3) for cost in costs)


def _assemble(
    table: Table, ours: Mapping[str, Callable[[Entry], str]], extra: Mapping[str, Callable[[Entry], str]]
) -> Cells:
    """For each list the columns of ours and, where there is something in them, the extra ones behind them."""
    head, names = ["system"], table.systems
    rows = [[name] for name in names]
    for column in table.columns:
        entries = [column.entries.get(name) for name in names]
        for kind, cell in [*ours.items(), *extra.items()]:
            cells = ["-" if entry is None else cell(entry) for entry in entries]
            same_rule = kind == PUBLISHED_RULE and not any(entry and entry.rules_differ for entry in entries)
            if same_rule or (kind in extra and set(cells) == {"-"}):
                continue
            head.append(kind if kind in extra else f"{table.heading(column)} {kind}".rstrip())
            rows = [[*row, text] for row, text in zip(rows, cells, strict=True)]
    return head, rows
