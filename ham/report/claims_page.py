"""The results of the page about the two claims, as Markdown, with its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ham.analysis.radius import CROPS, FULL, RATIOS
from ham.markdown import escape_markdown, markdown_table
from ham.report.claims import Claims, Effect, Measure, Trained, shown, worst_p
from ham.report.claims_figures import Dots, dots, effects
from ham.report.figures import Line, lines
from ham.score.results import decimals
from ham.score.seeds import SeedSummary

HEADING = "## Results"
"""What the page's generated part begins with; all above it is kept."""

CONVERGING = ("am_softmax", "am_softmax_m0", "aam_softmax", "h_softmax", "ham_softmax", "ham_softmax_m0")
"""Systems in the figure of convergence."""

LONGER = ("", "_x3", "_x10")
"""Ends of the names of rows with 1, 3 and 10 times the epochs."""


@dataclass(frozen=True)
class Page:
    """What is written.

    Attributes:
        text: Markdown from :data:`HEADING` on.
        figures: SVG by the name of its file.
    """

    text: str
    figures: Mapping[str, bytes]


def render(claims: Claims, command: str, figures: str) -> Page:
    """Make the results.

    Args:
        claims: the numbers.
        command: what makes them.
        figures: folder of the figures as the page names it.

    Returns:
        Text and figures; the same numbers give the same bytes.
    """
    drawn: dict[str, bytes] = {}

    def _picture(name: str, title: str, content: bytes) -> list[str]:
        drawn[name] = content
        return [f"![{title}]({figures}/{name})", ""]

    parts = (_runs, _rates, _tree, _convergence, _radii)
    body = [line for part in parts for line in part(claims, _picture)]
    text = [HEADING, "", f"Written by `{command}`.", "", *body, *_not_run(claims)]
    return Page("\n".join(text).rstrip() + "\n", drawn)


_Picture = Callable[[str, str, bytes], list[str]]


def _runs(claims: Claims, _: _Picture) -> Iterator[str]:
    """What was trained, by which commits, in how many minutes."""
    yield from ("### What was run", "")
    head = ["row", "seeds", "epochs", "scored at commit", "minutes a training"]
    yield from [*markdown_table(head, [_run(name, one) for name, one in claims.trained.items()], num_left=4), ""]
    minutes = sum(
        _minutes(experiment.history.epochs)
        for one in claims.trained.values()
        for experiment in one.experiments.values()
    )
    number = sum(len(one.experiments) for one in claims.trained.values())
    yield from (f"{number} trainings, {minutes / 60:.1f} hours of training.", "")


def _run(name: str, trained: Trained) -> list[str]:
    experiments = list(trained.experiments.values())
    seeds = " ".join(str(one.results.seed) for one in experiments)
    epochs = sorted({str(one.history.epochs[-1]["epoch"]) for one in experiments if one.history.epochs})
    commits = sorted({(one.results.commit or "unknown")[:9] for one in experiments})
    minutes = np.mean([_minutes(one.history.epochs) for one in experiments])
    return [name, seeds, " ".join(epochs), " ".join(commits), f"{minutes:.1f}"]


def _minutes(epochs: Sequence[Mapping[str, Any]]) -> float:
    return sum(float(epoch.get("seconds", 0.0)) for epoch in epochs) / 60


def _rates(claims: Claims, picture: _Picture) -> Iterator[str]:
    yield from ("### Error rate", "")
    head = ["row", *(f"{measure.name} [95 %] (lowest to highest seed)" for measure in claims.lists)]
    yield from [*markdown_table(head, _by_system(claims.lists, spread=True)), ""]
    tested = claims.effects[claims.lists[0].name]
    if tested:
        drawing = effects(tested, "points of EER", claims.lists[0].scale.decimals)
        yield from picture("claims_error_rate.svg", "Differences of EER by factor", drawing)
        yield from ("A filled dot: p is below 0.05 after Holm's correction.", "")
        yield from _single(tested)
    for measure in claims.lists:
        yield from _differences(measure, claims.effects[measure.name])


def _single(found: Sequence[Effect]) -> list[str]:
    """What has to be said of comparisons in which a side has been trained once."""
    factors = [effect.comparison.factor for effect in found if min(effect.trainings) == 1]
    if not factors:
        return []
    return [f"Trained once on one side, so that its interval holds that training fixed: {'; '.join(factors)}.", ""]


def _tree(claims: Claims, picture: _Picture) -> Iterator[str]:
    yield from ("### Hierarchy", "", "Rank correlation of each level alone [95 %]; chance is 0:", "")
    levels = [_level(measure) for measure in claims.levels]
    yield from [*markdown_table(["row", *levels], _by_system(claims.levels)), ""]
    yield from picture("claims_tree.svg", "Rank correlation by level", _drawn_levels(claims.levels))
    yield from (
        "Purity (chance) and effective rank, means; then the largest p of a training, of rank correlation and purity:",
        "",
    )
    head = ["row", *(f"purity {level}" for level in levels), "effective rank", *(f"p {level}" for level in levels)]
    rows = [[name, *_purities(one, levels), *_worst(one, levels)] for name, one in claims.trained.items()]
    yield from [*markdown_table(head, rows), ""]
    for measure in claims.levels[:2]:
        if found := claims.effects[measure.name]:
            drawing = effects(found, "rank correlation", measure.scale.decimals)
            level = _level(measure)
            yield from picture(f"claims_{level}.svg", f"Differences of the rank correlation of {level}", drawing)
    for measure in claims.levels:
        yield from _differences(measure, claims.effects[measure.name])


def _level(measure: Measure) -> str:
    """The level whose rank correlation a measure is."""
    return measure.name.split()[-1]


def _by_system(measures: Sequence[Measure], *, spread: bool = False) -> list[list[str]]:
    summaries = [measure.summaries() for measure in measures]
    return [
        [name, *(_cell(measure, of[name], spread) for measure, of in zip(measures, summaries, strict=True))]
        for name in summaries[0]
    ]


def _cell(measure: Measure, summary: SeedSummary, spread: bool) -> str:
    digits = measure.scale.decimals
    value, low, high = (decimals(number, digits) for number in shown(measure.scale, summary))
    ends = sorted(measure.scale.offset + measure.scale.factor * rate for rate in summary.eers)
    seeds = f" ({decimals(ends[0], digits)} to {decimals(ends[-1], digits)})" if spread and len(ends) > 1 else ""
    return f"{value} [{low}, {high}]{seeds}"


def _differences(measure: Measure, found: Sequence[Effect]) -> list[str]:
    if not found:
        return []
    head = ["factor", "system - control", f"{measure.name} [95 %]", "p", "p (Holm)", "least seen", "trainings"]
    return [*markdown_table(head, [_row(effect, measure.scale.decimals) for effect in found], num_left=2), ""]


def _row(effect: Effect, digits: int) -> list[str]:
    value, low, high = (decimals(number, digits, "+") for number in (effect.value, *effect.interval))
    return [
        effect.comparison.factor,
        f"{effect.comparison.system} - {effect.comparison.control}",
        f"{value} [{low}, {high}]",
        _p(effect.p),
        "-" if effect.adjusted is None else _p(effect.adjusted),
        decimals(effect.least, digits),
        f"{effect.trainings[0]}, {effect.trainings[1]}",
    ]


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _purities(trained: Trained, levels: Sequence[str]) -> list[str]:
    found = [[one[level].purity for one in trained.levels] for level in levels]
    cells = [f"{np.mean([p.value for p in of]):.3f} ({np.mean([p.chance for p in of]):.3f})" for of in found]
    return [*cells, f"{np.mean(trained.effective_ranks):.1f}"]


def _worst(trained: Trained, levels: Sequence[str]) -> list[str]:
    return [", ".join(f"{value:.3f}" for value in worst_p(trained, level)) for level in levels]


def _drawn_levels(measures: Sequence[Measure]) -> bytes:
    summaries = [measure.summaries() for measure in measures]
    return dots(
        [
            Dots(system, [shown(measure.scale, of[system]) for measure, of in zip(measures, summaries, strict=True)])
            for system in summaries[0]
        ],
        [_level(measure) for measure in measures],
        "rank correlation",
    )


def _convergence(claims: Claims, picture: _Picture) -> Iterator[str]:
    """Errors on the speakers kept aside by epoch, and at the end of longer trainings."""
    yield from ("### Convergence", "")
    shown_of = {name: claims.trained[name] for name in CONVERGING if name in claims.trained}
    seeds = set.intersection(*(_seeds(one) for one in shown_of.values())) if shown_of else set()
    drawn = [Line(name, *_mean_curve(one, seeds)) for name, one in shown_of.items()]
    drawing = lines([line for line in drawn if len(line.x)], "epoch", "validation EER %", log=True)
    yield from picture("claims_convergence.svg", "Validation EER over the epochs", drawing)
    named = " ".join(map(str, sorted(seeds)))
    yield from (f"Of the speakers kept aside, mean of the seeds that all of these rows have: {named or 'none'}.", "")
    summaries = claims.lists[0].summaries()
    rows = [
        [
            name,
            *(
                _cell(claims.lists[0], summaries[key], False) if (key := name + end) in summaries else "not run"
                for end in LONGER
            ),
        ]
        for name in CONVERGING
        if name in summaries
    ]
    head = [claims.lists[0].name, *(f"{times} x epochs" for times in (1, 3, 10))]
    yield from [*markdown_table(head, rows), ""]


def _seeds(trained: Trained) -> set[int]:
    return {experiment.results.seed for experiment in trained.experiments.values()}


def _mean_curve(trained: Trained, seeds: set[int]) -> tuple[list[float], list[float]]:
    members = [one for one in trained.experiments.values() if one.results.seed in seeds]
    curves = [one.history.values("valid_eer", scale=100.0) for one in members]
    length = min((len(x) for x, _ in curves), default=0)
    return (curves[0][0][:length], np.mean([y[:length] for _, y in curves], axis=0).tolist()) if length else ([], [])


def _radii(claims: Claims, _: _Picture) -> Iterator[str]:
    """What ``hierarchy.json`` says of the lengths, where there is one."""
    measured = {name: one.radii for name, one in claims.trained.items() if one.radii}
    if not measured:
        return
    yield from ("### What a radius carries", "")
    crops, ratios = [*CROPS, FULL], [*RATIOS]
    head = ["row", "trainings", f"norm at {', '.join(crops)}", "rho with duration", f"norm at {', '.join(ratios)}"]
    head += ["rho with SNR", "hyperbolic radius: rho with duration, SNR", "centre radius: rho with times heard"]
    yield from [*markdown_table(head, [_radius(name, of) for name, of in measured.items()]), ""]


def _radius(name: str, found: Sequence[Mapping[str, Any]]) -> list[str]:
    def _medians(kind: str) -> str:
        return ", ".join(
            f"{v:.2f}" for v in np.mean([list(one["norm"][kind]["median"].values()) for one in found], axis=0)
        )

    def _rho(*keys: str) -> str:
        values = [
            one[keys[0]] if len(keys) == 1 else (one[keys[0]] or {}).get(keys[1], {}).get("correlation")
            for one in found
        ]
        known = [value for value in values if value is not None]
        return decimals(float(np.mean(known)), 2, "+") if known else "-"

    hyperbolic = f"{_rho('hyperbolic_radius', 'duration')}, {_rho('hyperbolic_radius', 'snr')}"
    return [
        name, str(len(found)), _medians("duration"), _rho("norm", "duration"), _medians("snr"), _rho("norm", "snr"),
        hyperbolic, _rho("heard"),
    ]  # fmt: skip


def _not_run(claims: Claims) -> list[str]:
    if not claims.not_run:
        return []
    named = [f"- {escape_markdown(one.factor)}: `{one.system}` - `{one.control}`" for one in claims.not_run]
    return ["### Comparisons that stand ready, not run", "", *named, ""]
