"""The comparison of systems as one HTML page, of the same make as the page of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ham.report import figures as plots
from ham.report import html
from ham.report.comparison import Comparison, cells_of, commands, differences, notes, provenance
from ham.report.comparison_tables import Column, Table, published_digits
from ham.report.experiment import Experiment
from ham.report.figures import Estimate, Line
from ham.score.curves import Curves
from ham.score.results import per_cent


def render(comparison: Comparison) -> str:
    """Make the page.

    Args:
        comparison: what to show.

    Returns:
        A complete HTML document.
    """
    figures = _Figures(comparison)
    sections = {f"Results: {table.title}": _tables(table, comparison.reference) for table in comparison.tables}
    return html.document(
        comparison.title,
        _subtitle(comparison),
        {
            **sections,
            "How to read it": html.notes_list(notes(comparison)),
            "Equal error rates": figures.forests(),
            "Detection error trade-off": figures.det_curves(),
            "Score distributions": figures.histograms(),
            "Training": figures.training(),
            "Experiments": _experiments(comparison),
            "Commands": html.preformatted(commands(comparison), "Commands"),
        },
    )


def _subtitle(comparison: Comparison) -> str:
    trainings = len(comparison.experiments)
    lists = dict.fromkeys(column.trial_list for table in comparison.tables for column in table.columns)
    return f"Speaker verification, {len(comparison.systems)} systems, {trainings} trainings, {', '.join(lists)}"


def _tables(table: Table, reference: str) -> str:
    return "".join(
        f"<h3>{escape(title)}</h3>" + _cells(f"{table.title}: {title}", head, rows)
        for title, (head, rows) in cells_of(table, reference).items()
    )


def _cells(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    shown = [
        html.row(
            f'<span class="part">{escape(row[0])}</span>',
            [
                html.cell(name, html.ranged(text), "n wide none" if text == "-" else "n wide")
                for name, text in zip(head[1:], row[1:], strict=True)
            ],
        )
        for row in rows
    ]
    return html.table(caption, head, shown, stacked=True)


def _experiments(comparison: Comparison) -> str:
    head, rows = provenance(comparison)
    shown = [
        html.row(
            escape(row[0]),
            [html.cell(name, escape(text), "wide") for name, text in zip(head[1:], row[1:], strict=True)],
        )
        for row in rows
    ]
    return html.table("Experiments", head, shown, num_left=len(head)) + html.notes_list(differences(comparison))


class _Figures(html.Figures):
    """The figures of a comparison; a system has one colour and dash throughout."""

    def __init__(self, comparison: Comparison) -> None:
        super().__init__()
        self._comparison = comparison
        self._order = list(comparison.systems)

    def forests(self) -> str:
        """One figure a list and back-end: ours with interval and trainings, and what was published."""
        figures = []
        for table in self._comparison.tables:
            for column in table.columns:
                rows = [
                    Estimate(
                        name,
                        100 * entry.summary.mean,
                        100 * entry.summary.interval.low,
                        100 * entry.summary.interval.high,
                        [100 * rate for rate in entry.summary.eers],
                        None if entry.published is None else 100 * entry.published.eer,
                    )
                    for name, entry in column.entries.items()
                ]
                spoken = "; ".join(_spoken(name, column) for name in column.entries)
                far = plots.outliers(rows)
                described = "EER with its 95 % interval (bar)." + f" Far outside: {', '.join(far)}." * bool(far)
                figures.append(self.figure(plots.forest(rows, "EER %"), _title(column), described, spoken))
        return html.grid(figures, "pairs")

    def det_curves(self) -> str:
        """One figure a list and back-end, with the first training of every system."""
        figures = []
        for table in self._comparison.tables:
            for column in table.columns:
                curves = self._curves(column)
                if curves:
                    picture = plots.det(curves, order=self._order)
                    described = "First training of each system; circle: its EER."
                    figures.append(self.figure(picture, _title(column), described, ", ".join(curves)))
        return html.grid(figures, "pairs")

    def histograms(self) -> str:
        """Small ones for the first table: a group a list, a figure a system, of its first training."""
        table, *others = self._comparison.tables
        parts = []
        for column in table.columns:
            figures = [
                self.figure(plots.histogram(curve, small=True), name, f"EER threshold {curve.threshold:.3g}")
                for name, curve in self._curves(column).items()
            ]
            if figures:
                parts.append(f"<h3>{escape(_title(column))}</h3>{html.grid(figures, 'small')}")
        if not parts:
            return ""
        note = "First training of each system. Targets: blue, solid; non-targets: orange, dashed; both of area 1."
        left_out = f"Not drawn: {', '.join(other.title for other in others)}."
        return "".join(parts) + html.notes_list([note, *([left_out] if others else [])])

    def _curves(self, column: Column) -> dict[str, Curves]:
        """The curves of the first training of each system."""
        found = {}
        for name in column.entries:
            for curve in self._comparison.systems[name][0].curves:
                if (curve.trial_list, curve.backend) == (column.trial_list, column.backend):
                    found[name] = curve
        return found

    def training(self) -> str:
        """Loss and validation EER of the first training of every system."""
        return html.grid(
            [
                *self._quantity("loss", "Loss", "loss", 1, "Losses of different functions share no scale."),
                *self._quantity("valid_eer", "EER on training speakers kept aside", "EER %", 100, ""),
            ],
            "pairs",
        )

    def _quantity(self, key: str, title: str, unit: str, scale: float, remark: str) -> list[str]:
        firsts = {name: members[0] for name, members in self._comparison.systems.items()}
        shown = [line for at, name in enumerate(firsts) if (line := _line(name, firsts[name], key, scale, at)).x]
        if not shown:
            return []
        last = ", ".join(f"{line.name} {line.y[-1]:.3g}" for line in shown)
        described = f"First training of each system. {remark}".rstrip()
        log = min(value for line in shown for value in line.y) > 0
        return [self.figure(plots.lines(shown, "epoch", unit, log=log), title, described, f"At the end {last}.")]


def _line(name: str, experiment: Experiment, key: str, scale: float, style: int) -> Line:
    return Line(name, *experiment.history.values(key, scale=scale), style=style)


def _title(column: Column) -> str:
    return f"{column.trial_list}, {column.backend}"


def _spoken(name: str, column: Column) -> str:
    """One row of a picture of intervals in words."""
    entry = column.entries[name]
    low, high = map(per_cent, entry.summary.interval)
    published = "" if entry.published is None else f", published {published_digits(entry.published.eer)}"
    return f"{name} {per_cent(entry.summary.mean)} ({low} to {high}{published})"
