"""The report of an experiment as one HTML page; for a desk, a telephone, paper, light and dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ham.report import figures, html, training_figures
from ham.report.decision_tables import decision_tables
from ham.report.experiment import Experiment, facts
from ham.report.html import Figure
from ham.report.text_tables import merged, row_names, table
from ham.report.wording import notes
from ham.score.backends import parse_backend
from ham.score.curves import Curves
from ham.score.results import ListResult


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
    results, curves = experiment.results, _distinct(experiment)
    drawn = _with_histogram(list(curves.values()))
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
        det_curves=_det_curves(experiment, curves),
        histograms=[_histogram(curve) for curve in drawn],
        not_drawn=list(dict.fromkeys(curve.backend for curve in curves.values() if curve not in drawn)),
        training=training_figures.training(experiment.history),
        diagnostics=training_figures.diagnostics(experiment.history),
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
    shown = [[*row[:3], _whisker(result, largest), *row[3:]] for result, row in zip(merged(results), rows, strict=True)]
    return [*head[:3], "", *head[3:]], shown


def _whisker(result: ListResult, largest: float) -> Whisker | None:
    if result.eer is None or result.eer_low is None or result.eer_high is None:
        return None
    low, high, dot = (100 * rate / largest for rate in (result.eer_low, result.eer_high, result.eer))
    return Whisker(low, high - low, min(dot, 100))


def _distinct(experiment: Experiment) -> dict[tuple[str, str], Curves]:
    """The curves by list and name in the table; of two back-ends that share a row, the first."""
    names = row_names(experiment.results.results)
    found: dict[tuple[str, str], Curves] = {}
    for curve in experiment.curves:
        key = (curve.trial_list, curve.backend)
        found.setdefault((curve.trial_list, names.get(key, curve.backend)), curve)
    return found


def _det_curves(experiment: Experiment, curves: Mapping[tuple[str, str], Curves]) -> list[Figure]:
    """One figure for each trial list, with all of its back-ends; a back-end looks the same in all of them."""
    rates = {(r.trial_list, r.backend): r.eer for r in merged(experiment.results.results) if r.eer is not None}
    shown = {key: curve for key, curve in curves.items() if key in rates}
    order = list(dict.fromkeys(backend for _, backend in shown))
    found = []
    for name in dict.fromkeys(trial_list for trial_list, _ in shown):
        here = {backend: curve for (trial_list, backend), curve in shown.items() if trial_list == name}
        description = ", ".join(f"{backend} {100 * rates[name, backend]:.2f} %" for backend in here)
        found.append(Figure(figures.det(here, order=order), name, f"EER (circle): {description}"))
    return found


def _with_histogram(curves: Sequence[Curves]) -> list[Curves]:
    """The first back-end of each list, and the calibrated ones."""
    first = {curve.trial_list: curve.backend for curve in reversed(curves)}
    return [c for c in curves if c.backend == first[c.trial_list] or parse_backend(c.backend).calibrated]


def _histogram(curve: Curves) -> Figure:
    counts = f"{sum(curve.target):,} targets, {sum(curve.nontarget):,} non-targets"
    title = f"{curve.trial_list}, {curve.backend}"
    return Figure(figures.histogram(curve), title, f"{counts}; EER threshold {curve.threshold:.3g}")
