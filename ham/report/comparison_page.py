"""The comparison of systems as one HTML page, of the same make as the page of an experiment."""

from __future__ import annotations

from ham.report import figures, html
from ham.report.comparison import Comparison, cells_of, commands, differences, notes, provenance
from ham.report.comparison_tables import Column, Entry, published_digits
from ham.report.figures import Estimate, Line
from ham.report.html import Figure
from ham.score.curves import Curves
from ham.score.results import per_cent


def render(comparison: Comparison) -> str:
    """Make the page.

    Args:
        comparison: what to show.

    Returns:
        A complete HTML document.
    """
    tables = comparison.tables
    columns = [column for table in tables for column in table.columns]
    return html.render(
        "comparison.html",
        title=comparison.title,
        subtitle=_subtitle(comparison, columns),
        links=(),
        tables={table.title: cells_of(table, comparison.reference) for table in tables},
        remarks=notes(comparison),
        forests=[_forest(column) for column in columns],
        det_curves=[_det_curves(comparison, column) for column in columns if _curves(comparison, column)],
        histograms=_histograms(comparison),
        not_drawn=[table.title for table in tables[1:]],
        training=[
            *_quantity(comparison, "loss", "Loss", "loss", 1, " Losses of different functions share no scale."),
            *_quantity(comparison, "valid_eer", "EER on training speakers kept aside", "EER %", 100, ""),
        ],
        experiments=provenance(comparison),
        differences=differences(comparison),
        commands=commands(comparison),
    )


def _subtitle(comparison: Comparison, columns: list[Column]) -> str:
    lists = dict.fromkeys(column.trial_list for column in columns)
    trainings = len(comparison.experiments)
    return f"Speaker verification, {len(comparison.systems)} systems, {trainings} trainings, {', '.join(lists)}"


def _forest(column: Column) -> Figure:
    """Ours with interval and trainings, and what was published, for one list and back-end."""
    rows = [_estimate(name, entry) for name, entry in column.entries.items()]
    far = figures.outliers(rows)
    described = "EER with its 95 % interval (bar)." + f" Far outside: {', '.join(far)}." * bool(far)
    spoken = "; ".join(_spoken(name, entry) for name, entry in column.entries.items())
    return Figure(figures.forest(rows, "EER %"), _title(column), described, spoken)


def _estimate(name: str, entry: Entry) -> Estimate:
    """A row of a forest, in per cent."""
    summary, published = entry.summary, entry.published
    low, high = summary.interval
    return Estimate(
        name,
        100 * summary.mean,
        100 * low,
        100 * high,
        [100 * rate for rate in summary.eers],
        None if published is None else 100 * published.eer,
    )


def _spoken(name: str, entry: Entry) -> str:
    """The same row in words."""
    low, high = map(per_cent, entry.summary.interval)
    published = "" if entry.published is None else f", published {published_digits(entry.published.eer)}"
    return f"{name} {per_cent(entry.summary.mean)} ({low} to {high}{published})"


def _title(column: Column) -> str:
    return f"{column.trial_list}, {column.backend}"


def _curves(comparison: Comparison, column: Column) -> dict[str, Curves]:
    """The curves of the first training of each system."""
    return {
        name: curve
        for name in column.entries
        for curve in comparison.systems[name][0].curves
        if (curve.trial_list, curve.backend) == (column.trial_list, column.backend)
    }


def _det_curves(comparison: Comparison, column: Column) -> Figure:
    """The first training of every system; a system has one colour and dash in all figures."""
    curves = _curves(comparison, column)
    picture = figures.det(curves, order=list(comparison.systems))
    return Figure(picture, _title(column), "First training of each system; circle: its EER.", ", ".join(curves))


def _histograms(comparison: Comparison) -> dict[str, list[Figure]]:
    """Small ones for the first table: a group for each list, in it a figure for each system."""
    found = {
        _title(column): [
            Figure(figures.histogram(curve, small=True), name, f"EER threshold {curve.threshold:.3g}")
            for name, curve in _curves(comparison, column).items()
        ]
        for column in comparison.tables[0].columns
    }
    return {title: group for title, group in found.items() if group}


def _quantity(comparison: Comparison, key: str, title: str, unit: str, scale: float, remark: str) -> list[Figure]:
    """A logged quantity of the first training of every system, or nothing where it was not logged."""
    firsts = {name: members[0].history for name, members in comparison.systems.items()}
    lines = [
        Line(name, *history.values(key, scale=scale), style=at) for at, (name, history) in enumerate(firsts.items())
    ]
    shown = [line for line in lines if line.x]
    if not shown:
        return []
    log = min(value for line in shown for value in line.y) > 0
    last = ", ".join(f"{line.name} {line.y[-1]:.3g}" for line in shown)
    picture = figures.lines(shown, "epoch", unit, log=log)
    return [Figure(picture, title, f"First training of each system.{remark}", f"At the end {last}.")]
