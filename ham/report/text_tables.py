"""The table of an experiment's numbers as text, and how a terminal shows a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ham.score.results import ListResult, decimals, per_cent, with_interval

PUBLISHED_RULE = "EER % published rule"
"""Head of the column that :func:`table` adds where the two definitions of the EER differ in a printed digit."""


@dataclass(frozen=True)
class _Column:
    head: str
    cell: Callable[[ListResult], str]
    needed: Callable[[ListResult], bool] | None = None
    """Whether a row needs the column; None: it is always there."""


def row_names(results: Sequence[ListResult]) -> dict[tuple[str, str], str]:
    """What the rows of a table are called: by their back-ends, two of which share a row where nothing tells them apart.

    Args:
        results: the numbers.

    Returns:
        Trial list and back-end to the name; ``cosine, hyperbolic`` for both where they agree in every number and there
        are errors to compare.
    """
    found = {(result.trial_list, result.backend): result for result in results}
    names = {key: result.backend for key, result in found.items()}
    for (trial_list, backend), result in found.items():
        twin = backend.replace("cosine", "hyperbolic", 1)
        same = found.get((trial_list, twin)) == replace(result, backend=twin)
        if twin != backend and same and result.eer:
            names[trial_list, backend] = names[trial_list, twin] = f"{backend}, {twin}"
    return names


def merged(results: Sequence[ListResult]) -> list[ListResult]:
    """The rows of a table, those of the same name as one.

    Args:
        results: the numbers.

    Returns:
        The first of each name, with this name as its back-end.
    """
    names = row_names(results)
    found: dict[tuple[str, str], ListResult] = {}
    for result in results:
        name = names[result.trial_list, result.backend]
        found.setdefault((result.trial_list, name), replace(result, backend=name))
    return list(found.values())


def table(results: Sequence[ListResult]) -> tuple[list[str], list[list[str]]]:
    """The results table as text; the EER in per cent; rows as in :func:`merged`.

    Some columns are there only where a row needs them: actDCF, Cllr and minCllr, which not every file has, and the EER
    by the published rule, where it differs from the interpolated one in the second decimal.

    Args:
        results: the numbers.

    Returns:
        Heads of the columns, and one row for each that :func:`merged` leaves; ``-`` where one lacks a number.
    """
    results = merged(results)
    shown = [column for column in _COLUMNS if column.needed is None or any(map(column.needed, results))]
    return [column.head for column in shown], [[column.cell(result) for column in shown] for result in results]


def rules_differ(result: ListResult) -> bool:
    """Whether the two definitions of the EER differ in a printed digit.

    Args:
        result: the numbers.

    Returns:
        False also where only one of them is known.
    """
    return result.eer_published is not None and per_cent(result.eer_published) != per_cent(result.eer)


def _with_interval(result: ListResult) -> str:
    return with_interval(result.eer, result.eer_low, result.eer_high)


def _cost(name: str) -> Callable[[ListResult], str]:
    """A cell of a cost: three decimals."""
    return lambda result: decimals(getattr(result, name), 3)


def _optional_cost(head: str, name: str) -> _Column:
    return _Column(head, _cost(name), lambda result: getattr(result, name) is not None)


_COLUMNS = (
    _Column("list", lambda result: result.trial_list),
    _Column("back-end", lambda result: result.backend),
    _Column("EER % [95 %]", _with_interval),
    _Column(PUBLISHED_RULE, lambda result: per_cent(result.eer_published), rules_differ),
    _Column("minDCF 0.01", _cost("min_dcf_p01")),
    _Column("minDCF 0.05", _cost("min_dcf_p05")),
    _optional_cost("actDCF 0.01", "act_dcf_p01"),
    _optional_cost("actDCF 0.05", "act_dcf_p05"),
    _optional_cost("Cllr", "cllr"),
    _optional_cost("minCllr", "min_cllr"),
    _Column("targets", lambda result: f"{result.num_target:,}"),
    _Column("non-targets", lambda result: f"{result.num_nontarget:,}"),
)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay a table out for a terminal: the first two columns to the left, numbers to the right.

    Args:
        header: heads of the columns.
        rows: as many cells each.

    Returns:
        Lines without a line end after the last.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        for cells in (header, rule, *rows)
    )
