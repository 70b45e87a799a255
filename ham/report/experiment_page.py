"""The report of an experiment as one HTML page; for a desk, a telephone, paper, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any, NamedTuple

from ham.report import figures, html
from ham.report.decision_tables import decision_tables
from ham.report.experiment import Experiment, facts
from ham.report.figures import Line
from ham.report.history import History
from ham.report.html import Figure
from ham.report.text_tables import table
from ham.report.wording import notes
from ham.score.backends import parse_backend
from ham.score.curves import Curves
from ham.score.results import ListResult

_MOST_POINTS = 400
"""Points of a line; the steps of a long run are averaged until they are as few."""


class Whisker(NamedTuple):
    """An EER as a dot on its interval, in per cent of the largest upper end in the table, where the scale ends."""

    left: float
    width: float
    dot: float


def render(experiment: Experiment, links: Sequence[tuple[str, str]] = ()) -> str:
    """Make the page.

    Args:
        experiment: what to show.
        links: address and text of further pages of the experiment.

    Returns:
        A complete HTML document.
    """
    results, history = experiment.results, experiment.history
    drawn = _with_histogram(experiment.curves)
    return html.render(
        "experiment.html",
        title=results.name,
        subtitle=_subtitle(experiment),
        links=links,
        results=_results(results.results),
        remarks=notes(results),
        decisions=decision_tables(results),
        facts=facts(experiment),
        command=results.command,
        det_curves=_det_curves(experiment),
        histograms=[_histogram(curve) for curve in drawn],
        not_drawn=list(dict.fromkeys(curve.backend for curve in experiment.curves if curve not in drawn)),
        training=_training(history),
        diagnostics=[_diagnostics(history, group, names) for group, names in history.diagnostics().items()],
        config=experiment.config_text,
    )


def _subtitle(experiment: Experiment) -> str:
    known = dict(facts(experiment))
    parts = [known[key].split(" (")[0] for key in ("Loss", "Backbone") if key in known]
    return ", ".join(["Speaker verification", *parts, f"seed {known['Seed']}"])


def _results(results: Sequence[ListResult]) -> tuple[list[str], list[list[Any]]]:
    """The table of the numbers, with a column of whiskers behind the EER."""
    head, rows = table(results)
    largest = max((result.eer_high or 0.0 for result in results), default=0.0) or 1.0
    shown = [[*row[:3], _whisker(result, largest), *row[3:]] for result, row in zip(results, rows, strict=True)]
    return [*head[:3], "", *head[3:]], shown


def _whisker(result: ListResult, largest: float) -> Whisker | None:
    if result.eer is None or result.eer_low is None or result.eer_high is None:
        return None
    low, high, dot = (100 * rate / largest for rate in (result.eer_low, result.eer_high, result.eer))
    return Whisker(low, high - low, min(dot, 100))


def _det_curves(experiment: Experiment) -> list[Figure]:
    """One figure for each trial list, with all of its back-ends; a back-end looks the same in all of them."""
    rates = {(r.trial_list, r.backend): r.eer for r in experiment.results.results if r.eer is not None}
    shown = [curve for curve in experiment.curves if (curve.trial_list, curve.backend) in rates]
    order = list(dict.fromkeys(curve.backend for curve in shown))
    found = []
    for name in dict.fromkeys(curve.trial_list for curve in shown):
        curves = {curve.backend: curve for curve in shown if curve.trial_list == name}
        description = ", ".join(f"{backend} {100 * rates[name, backend]:.2f} %" for backend in curves)
        found.append(Figure(figures.det(curves, order=order), name, f"EER (circle): {description}"))
    return found


def _with_histogram(curves: Sequence[Curves]) -> list[Curves]:
    """The first back-end of each list, and the calibrated ones."""
    first = {curve.trial_list: curve.backend for curve in reversed(curves)}
    return [c for c in curves if c.backend == first[c.trial_list] or parse_backend(c.backend).calibrated]


def _histogram(curve: Curves) -> Figure:
    counts = f"{sum(curve.target):,} targets, {sum(curve.nontarget):,} non-targets"
    title = f"{curve.trial_list}, {curve.backend}"
    return Figure(figures.histogram(curve), title, f"{counts}; EER threshold {curve.threshold:.3g}")


def _training(history: History) -> list[Figure]:
    """One figure for each quantity that every training logs, as far as it was logged."""
    return [
        *_quantity(history, "loss", "Loss", "loss"),
        *_quantity(history, "accuracy", "Accuracy on the training crops, without margin", "%", 100),
        *_quantity(history, "valid_eer", "EER on training speakers kept aside", "EER %", 100),
        *_quantity(history, "lr", "Learning rate", "learning rate", log=True),
        *_quantity(history, "margin", "Margin", "margin"),
        *_quantity(history, "crops_per_s", "Speed", "crops / s"),
    ]


def _quantity(
    history: History, key: str, title: str, unit: str, scale: float = 1, *, log: bool = False
) -> list[Figure]:
    """The figure of one quantity, or none where it was not logged."""
    steps = Line("steps", *_thinned(*history.values(key, of_steps=True, scale=scale)), faint=True)
    epochs = Line("epochs", *history.values(key, scale=scale))
    shown = [line for line in (epochs, steps) if line.x]
    if not shown:
        return []
    positive = all(value > 0 for line in shown for value in line.y)
    return [Figure(figures.lines(shown, "epoch", unit, log=log and positive), title, _from_to(shown[0]))]


def _diagnostics(history: History, group: str, names: Sequence[str]) -> Figure:
    shown = [Line(name.rpartition("/")[2], *history.values(name)) for name in names]
    description = "; ".join(f"{line.name} {_from_to(line)}" for line in shown)
    return Figure(figures.lines(shown, "epoch", group), group, description)


def _from_to(line: Line) -> str:
    if len(line.x) == 1:
        return f"{line.y[0]:.4g} after epoch {line.x[0]:.4g}"
    return f"from {line.y[0]:.4g} to {line.y[-1]:.4g} after epoch {line.x[-1]:.4g}"


def _thinned(x: list[float], y: list[float]) -> tuple[list[float], list[float]]:
    """Means of neighbours, so that a long run's steps fit a picture."""
    size = -(-len(x) // _MOST_POINTS) or 1
    parts = [slice(start, start + size) for start in range(0, len(x), size)]
    return [fmean(x[part]) for part in parts], [fmean(y[part]) for part in parts]
