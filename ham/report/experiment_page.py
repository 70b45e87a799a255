"""The report as one HTML page: no script, no external resource; for a desk, a telephone, paper, light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from ham.report import figures as plots
from ham.report import html
from ham.report.experiment import Experiment, facts
from ham.report.figures import Line
from ham.report.history import History
from ham.report.text_tables import PUBLISHED_RULE, table
from ham.report.wording import notes
from ham.score.backends import parse_backend
from ham.score.curves import Curves
from ham.score.results import ListResult


def render(experiment: Experiment, links: Mapping[str, str] = html.NONE) -> str:
    """Make the page.

    Args:
        experiment: what to show.
        links: address to text of further pages of the experiment.

    Returns:
        A complete HTML document.
    """
    figures = _Figures()
    results = experiment.results
    return html.document(
        results.name,
        _subtitle(experiment),
        {
            "Results": _results_table(results.results) + html.notes_list(notes(results)),
            "System": _system(experiment),
            "Detection error trade-off": figures.det_curves(experiment),
            "Score distributions": figures.histograms(experiment.curves),
            "Training": figures.training(experiment.history),
            "Diagnostics": figures.diagnostics(experiment.history),
            "Configuration": html.preformatted(experiment.config_text, "The resolved configuration"),
        },
        links=links,
    )


def _subtitle(experiment: Experiment) -> str:
    known = dict(facts(experiment))
    parts = [known[key].split(" (")[0] for key in ("Loss", "Backbone") if key in known]
    return ", ".join(["Speaker verification", *parts, f"seed {known['Seed']}"])


def _system(experiment: Experiment) -> str:
    pairs = [(name, escape(text)) for name, text in facts(experiment)]
    return html.definitions([*pairs, ("Command", html.preformatted(experiment.results.command, "Command"))])


def _results_table(results: Sequence[ListResult]) -> str:
    head, rows = table(results)
    largest = max((result.eer_high or 0.0 for result in results), default=0.0) or 1.0
    shown = []
    for at, (result, row) in enumerate(zip(results, rows, strict=True)):
        first = at and results[at - 1].trial_list != result.trial_list
        shown.append(_row(result, head, row, largest, "first" if first else ""))
    return html.table("Error rates of every trial list", [*head[:3], "", *head[3:]], shown, num_left=2)


def _row(result: ListResult, head: Sequence[str], row: Sequence[str], largest: float, kind: str) -> str:
    cells = [
        html.cell(head[1], f"<span>{html.breakable(row[1], '+')}</span>", "wide"),
        html.cell(head[2], html.ranged(row[2]), "n wide"),
        f'<td role="cell" class="whole" aria-hidden="true">{_whisker(result, largest)}</td>',
        *(html.cell(name, escape(number), _kind(name, number)) for name, number in zip(head[3:], row[3:], strict=True)),
    ]
    return html.row(html.breakable(row[0]), cells, kind)


def _kind(head: str, number: str) -> str:
    """Class of a cell: on a telephone an absent number goes, and one with a long name has a line of its own."""
    return "n" + " none" * (number == "-") + " wide" * (head == PUBLISHED_RULE)


def _whisker(result: ListResult, largest: float) -> str:
    """The EER as a dot on its interval; all rows share one scale, which begins at 0."""
    if result.eer is None or result.eer_low is None or result.eer_high is None:
        return ""
    left, width = 100 * result.eer_low / largest, 100 * (result.eer_high - result.eer_low) / largest
    dot = 100 * result.eer / largest
    return (
        f'<span class="whisker"><i style="left:{left:.1f}%;width:{width:.1f}%"></i>'
        f'<b style="left:{min(dot, 100):.1f}%"></b></span>'
    )


class _Figures(html.Figures):
    """The figures of an experiment."""

    def det_curves(self, experiment: Experiment) -> str:
        """One figure a trial list, with all of its back-ends; a back-end looks the same in all of them."""
        rates = {(r.trial_list, r.backend): r.eer for r in experiment.results.results if r.eer is not None}
        shown = [curve for curve in experiment.curves if (curve.trial_list, curve.backend) in rates]
        order = list(dict.fromkeys(curve.backend for curve in shown))
        figures = []
        for name in dict.fromkeys(curve.trial_list for curve in shown):
            curves = {curve.backend: curve for curve in shown if curve.trial_list == name}
            description = ", ".join(f"{backend} {100 * rates[name, backend]:.2f} %" for backend in curves)
            figures.append(self.figure(plots.det(curves, order=order), name, f"EER (circle): {description}"))
        return html.grid(figures, "pairs")

    def histograms(self, curves: Sequence[Curves]) -> str:
        """One figure for the first back-end of each list and for each calibrated one; a note names the others."""
        first = {curve.trial_list: curve.backend for curve in reversed(curves)}
        shown = [c for c in curves if c.backend == first[c.trial_list] or parse_backend(c.backend).calibrated]
        figures = [
            self.figure(
                plots.histogram(curve),
                f"{curve.trial_list}, {curve.backend}",
                f"{sum(curve.target):,} targets, {sum(curve.nontarget):,} non-targets; "
                f"EER threshold {curve.threshold:.3g}",
            )
            for curve in shown
        ]
        left_out = dict.fromkeys(curve.backend for curve in curves if curve not in shown)
        note = f"Drawn are the first back-end of each list and the calibrated ones; not drawn: {', '.join(left_out)}."
        return html.grid(figures, "pairs") + (html.notes_list([note]) if left_out else "")

    def training(self, history: History) -> str:
        """One figure a quantity that every training logs."""
        return html.grid(
            [
                *self._quantity(history, "loss", "Loss", "loss"),
                *self._quantity(history, "accuracy", "Accuracy on the training crops, without margin", "%", 100),
                *self._quantity(history, "valid_eer", "EER on training speakers kept aside", "EER %", 100),
                *self._quantity(history, "lr", "Learning rate", "learning rate", log=True),
                *self._quantity(history, "margin", "Margin", "margin"),
                *self._quantity(history, "crops_per_s", "Speed", "crops / s"),
            ]
        )

    def _quantity(
        self, history: History, key: str, title: str, unit: str, scale: float = 1, log: bool = False
    ) -> list[str]:
        """The figure of one logged quantity, or none where it was not logged."""
        steps = Line("steps", *_thinned(*history.values(key, of_steps=True, scale=scale)), faint=True)
        epochs = Line("epochs", *history.values(key, scale=scale))
        shown = [line for line in (epochs, steps) if line.x]
        if not shown:
            return []
        positive = all(value > 0 for line in shown for value in line.y)
        picture = plots.lines(shown, "epoch", unit, log=log and positive)
        return [self.figure(picture, title, _from_to(shown[0]))]

    def diagnostics(self, history: History) -> str:
        """One figure a group of diagnostics."""
        figures = []
        for group, names in history.diagnostics().items():
            shown = [Line(name.rpartition("/")[2], *history.values(name)) for name in names]
            description = "; ".join(f"{line.name} {_from_to(line)}" for line in shown)
            figures.append(self.figure(plots.lines(shown, "epoch", group), group, description))
        return html.grid(figures)


def _from_to(line: Line) -> str:
    if len(line.x) == 1:
        return f"{line.y[0]:.4g} after epoch {line.x[0]:.4g}"
    return f"from {line.y[0]:.4g} to {line.y[-1]:.4g} after epoch {line.x[-1]:.4g}"


def _thinned(x: list[float], y: list[float], most: int = 400) -> tuple[list[float], list[float]]:
    """Means of neighbours, so that a long run's steps fit a picture."""
    size = -(-len(x) // most) or 1
    parts = [slice(start, start + size) for start in range(0, len(x), size)]
    return [sum(x[part]) / len(x[part]) for part in parts], [sum(y[part]) / len(y[part]) for part in parts]
