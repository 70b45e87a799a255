"""The report as one HTML page: no script, no external resource; for a desk, a telephone, paper, light and dark."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from ham.report import Experiment, History, facts, notes
from ham.score import plots
from ham.score.curves import Curves
from ham.score.plots import Line
from ham.score.results import HEADER, ListResult, Results, table

_DARK_SERIES = ("#56a8e0", "#f28c4d", "#35c49a", "#e09cc2", "#f2b53a", "#8accf2")

_COLOURS = {
    plots.INK: "ink",
    plots.MUTED: "muted",
    plots.RULE: "rule",
    plots.PAPER: "paper",
    **{colour: f"c{at}" for at, colour in enumerate(plots.SERIES)},
}
"""Colours of the pictures, and the page's variables that replace them."""

_LIGHT = ";".join(f"--{name}:{colour}" for colour, name in _COLOURS.items())
_DARK = ";".join(
    ["--ink:#e7e8ea", "--muted:#a0a7b1", "--rule:#34383f", "--paper:#16181b"]
    + [f"--c{at}:{colour}" for at, colour in enumerate(_DARK_SERIES)]
)

_CSS = f"""
:root{{color-scheme:light dark;{_LIGHT};--tint:#f3f4f4}}
@media screen and (prefers-color-scheme:dark){{:root{{{_DARK};--tint:#1e2125}}}}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%}}
body{{margin:0 auto;padding:2.5rem 1.25rem 4rem;max-width:69rem;background:var(--paper);color:var(--ink);
 font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}}
header{{border-bottom:2px solid var(--ink);padding-bottom:1rem;margin-bottom:2rem}}
h1{{font-size:1.75rem;line-height:1.2;margin:0;overflow-wrap:anywhere}}
header p{{margin:.4rem 0 0;color:var(--muted)}}
h2{{font-size:1.15rem;margin:3rem 0 .9rem}}
h3{{font-size:1rem;margin:1.8rem 0 .3rem}}
table{{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}}
th{{font-weight:600;font-size:.85rem;color:var(--muted);text-align:left;vertical-align:bottom}}
th,td{{padding:.45rem .75rem .45rem 0;border-bottom:1px solid var(--rule)}}
thead th{{border-bottom:1px solid var(--ink)}}
tbody th{{color:var(--ink);font-size:1rem}}
.part{{display:inline-block;overflow-wrap:break-word;max-width:100%}}
tr.first>*{{border-top:1px solid var(--muted)}}
.n{{text-align:right;white-space:nowrap}}
.range{{color:var(--muted)}}
.whisker{{position:relative;display:block;width:100%;min-width:6rem;height:1rem}}
.whisker i,.whisker b{{position:absolute;top:50%;height:3px;margin-top:-1px;background:var(--c0);
 opacity:.45;min-width:2px}}
.whisker b{{width:9px;height:9px;margin:-4px 0 0 -4px;border-radius:50%;opacity:1}}
.notes{{color:var(--muted);font-size:.875rem;max-width:46rem;padding-left:1.1rem}}
dl{{display:grid;grid-template-columns:max-content 1fr;gap:.35rem 1.5rem;margin:0}}
dt{{color:var(--muted)}}
dd{{margin:0;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}}
pre{{background:var(--tint);padding:.8rem 1rem;border-radius:4px;white-space:pre-wrap;overflow-wrap:anywhere;
 font:.8125rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;margin:0}}
.grid{{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,19rem),1fr));gap:1.5rem 2rem}}
.pairs{{grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr))}}
figure{{margin:0;max-width:28rem;break-inside:avoid;display:flex;flex-direction:column;justify-content:space-between}}
figcaption{{font-size:.875rem;margin-bottom:.35rem}}
figcaption span{{display:block;color:var(--muted)}}
svg{{display:block;width:100%;height:auto;font-family:inherit}}
svg *{{stroke-linejoin:round;stroke-linecap:butt}}
@media screen and (min-width:56.01rem) and (max-width:68rem){{thead th:nth-child(4),.whole{{display:none}}}}
@media screen and (max-width:56rem){{
 body{{padding:1.5rem 1rem 3rem}}
 h1{{font-size:1.45rem}}
 thead{{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}}
 table,tbody{{display:block}}
 tbody tr{{display:grid;grid-template-columns:1fr 1fr;column-gap:1.75rem;padding:.7rem 0;
  border-top:1px solid var(--muted)}}
 tbody th,tbody td:nth-of-type(-n+2),.whole{{grid-column:1/-1}}
 tr.first>*{{border-top:0}}
 tbody th,tbody td{{border:0;padding:.1rem 0}}
 td{{display:flex;justify-content:space-between;gap:1rem}}
 td::before{{content:attr(data-head);color:var(--muted)}}
 td.whole::before{{content:none}}
 dl{{grid-template-columns:1fr;gap:0}}
 dd{{margin-bottom:.6rem}}
}}
@media print{{
 :root{{color-scheme:light;--paper:#fff}}
 body{{max-width:none;padding:0;font-size:9.5pt}}
 h2,h3{{break-after:avoid}}
 tr,pre{{break-inside:avoid}}
 thead th:nth-child(4),.whole{{display:none}}
 th,td,tbody th{{font-size:8.5pt}}
 .grid{{grid-template-columns:1fr 1fr}}
 *{{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
}}
"""


def render(experiment: Experiment) -> str:
    """Make the page.

    Args:
        experiment: what to show.

    Returns:
        A complete HTML document.
    """
    name = escape(experiment.results.name)
    figures = _Figures()
    sections = [
        _section("Results", _results_table(experiment.results.results) + _notes(experiment.results)),
        _section("System", _system(experiment)),
        _section("Detection error trade-off", figures.det_curves(experiment)),
        _section("Score distributions", figures.histograms(experiment.curves)),
        _section("Training", figures.training(experiment.history)),
        _section("Diagnostics", figures.diagnostics(experiment.history)),
        _section("Configuration", _pre(experiment.config_text, "The resolved configuration")),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{name}: speaker verification</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<style>{_CSS}</style>\n</head>\n<body>\n'
        f"<header><h1>{name}</h1><p>{_subtitle(experiment)}</p></header>\n<main>\n"
        + "".join(sections)
        + "</main>\n</body>\n</html>\n"
    )


def _subtitle(experiment: Experiment) -> str:
    known = dict(facts(experiment))
    parts = [known[key].split(" (")[0] for key in ("Loss", "Backbone") if key in known]
    return escape(", ".join(["Speaker verification", *parts, f"seed {known['Seed']}"]))


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>\n{content}\n</section>\n" if content else ""


def _pre(text: str, label: str) -> str:
    return f'<pre aria-label="{escape(label)}">{escape(text.strip())}</pre>' if text.strip() else ""


def _notes(results: Results) -> str:
    return '<ul class="notes">' + "".join(f"<li>{escape(note)}</li>" for note in notes(results)) + "</ul>"


def _system(experiment: Experiment) -> str:
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts(experiment))
    return f"<dl>{pairs}<dt>Command</dt><dd>{_pre(experiment.results.command, 'Command')}</dd></dl>"


def _results_table(results: Sequence[ListResult]) -> str:
    heads = [*HEADER[:3], "", *HEADER[3:]]
    cells = "".join(f'<th scope="col" class="{_alignment(at)}">{escape(head)}</th>' for at, head in enumerate(heads))
    largest = max((result.eer_high for result in results), default=0.0) or 1.0
    rows = []
    for at, (result, row) in enumerate(zip(results, table(results), strict=True)):
        first = at and results[at - 1].trial_list != result.trial_list
        rows.append(_row(result, row, largest, "first" if first else ""))
    return (
        '<table role="table"><caption hidden>Error rates of every trial list</caption><thead role="rowgroup">'
        f'<tr role="row">{cells}</tr></thead><tbody role="rowgroup">{"".join(rows)}</tbody></table>'
    )


def _alignment(column: int) -> str:
    return "n" if column >= 2 else ""


def _row(result: ListResult, row: Sequence[str], largest: float, kind: str) -> str:
    name, backend, eer, *numbers = row
    value, _, interval = eer.partition(" ")
    rate = f'<span>{value} <span class="range">{escape(interval)}</span></span>'
    cells = [
        f'<th scope="row" role="rowheader">{_breakable(name)}</th>',
        _cell(HEADER[1], escape(backend), ""),
        _cell(HEADER[2], rate, "n"),
        f'<td role="cell" class="whole" aria-hidden="true">{_whisker(result, largest)}</td>',
        *(_cell(head, escape(number), "n") for head, number in zip(HEADER[3:], numbers, strict=True)),
    ]
    return f'<tr role="row" class="{kind}">{"".join(cells)}</tr>'


def _breakable(name: str) -> str:
    """A list's name that breaks after its slash and, only where a part is wider than the column, inside."""
    return "/<wbr>".join(f'<span class="part">{escape(part)}</span>' for part in name.split("/"))


def _cell(head: str, content: str, kind: str) -> str:
    return f'<td role="cell" class="{kind}" data-head="{escape(head)}">{content}</td>'


def _whisker(result: ListResult, largest: float) -> str:
    """The EER as a dot on its interval; all rows share one scale, which begins at 0."""
    left, width = 100 * result.eer_low / largest, 100 * (result.eer_high - result.eer_low) / largest
    dot = 100 * result.eer / largest
    return (
        f'<span class="whisker"><i style="left:{left:.1f}%;width:{width:.1f}%"></i>'
        f'<b style="left:{min(dot, 100):.1f}%"></b></span>'
    )


class _Figures:
    """Makes the figures of one page; each picture's ids get their own prefix."""

    def __init__(self) -> None:
        self._number = 0

    def _figure(self, svg: bytes, title: str, description: str) -> str:
        self._number += 1
        picture = inline_svg(svg.decode(), f"p{self._number}-", f"{title}. {description}")
        caption = f"<strong>{escape(title)}</strong><span>{escape(description)}</span>"
        return f"<figure><figcaption>{caption}</figcaption>{picture}</figure>"

    def det_curves(self, experiment: Experiment) -> str:
        """One figure a trial list, with all of its back-ends."""
        rates = {(r.trial_list, r.backend): r.eer for r in experiment.results.results}
        figures = []
        for name in dict.fromkeys(curve.trial_list for curve in experiment.curves):
            labels = {
                curve.backend: curve
                for curve in experiment.curves
                if curve.trial_list == name and (name, curve.backend) in rates
            }
            if labels:
                description = ", ".join(f"{backend} {100 * rates[name, backend]:.2f} %" for backend in labels)
                figures.append(self._figure(plots.det(labels), name, f"EER (circle): {description}"))
        return _grid(figures, "pairs")

    def histograms(self, curves: Iterable[Curves]) -> str:
        """One figure a trial list and back-end."""
        figures = [
            self._figure(
                plots.histogram(curve),
                f"{curve.trial_list}, {curve.backend}",
                f"{sum(curve.target):,} targets, {sum(curve.nontarget):,} non-targets; "
                f"EER threshold {curve.threshold:.3g}",
            )
            for curve in curves
        ]
        return _grid(figures, "pairs")

    def training(self, history: History) -> str:
        """One figure a quantity that every training logs."""
        return _grid(
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
        return [self._figure(picture, title, _from_to(shown[0]))]

    def diagnostics(self, history: History) -> str:
        """One figure a group of diagnostics."""
        figures = []
        for group, names in history.diagnostics().items():
            shown = [Line(name.rpartition("/")[2], *history.values(name)) for name in names]
            description = "; ".join(f"{line.name} {_from_to(line)}" for line in shown)
            figures.append(self._figure(plots.lines(shown, "epoch", group), group, description))
        return _grid(figures)


def _grid(figures: Iterable[str], kind: str = "") -> str:
    joined = "\n".join(figures)
    return f'<div class="grid {kind}">{joined}</div>' if joined else ""


def _from_to(line: Line) -> str:
    if len(line.x) == 1:
        return f"{line.y[0]:.4g} after epoch {line.x[0]:.4g}"
    return f"from {line.y[0]:.4g} to {line.y[-1]:.4g} after epoch {line.x[-1]:.4g}"


def _thinned(x: list[float], y: list[float], most: int = 400) -> tuple[list[float], list[float]]:
    """Means of neighbours, so that a long run's steps fit a picture."""
    size = -(-len(x) // most) or 1
    parts = [slice(start, start + size) for start in range(0, len(x), size)]
    return [sum(x[part]) / len(x[part]) for part in parts], [sum(y[part]) / len(y[part]) for part in parts]


def inline_svg(svg: str, prefix: str, description: str) -> str:
    """Fit a picture of :mod:`ham.score.plots` into an HTML page.

    Its colours become the page's variables and so follow light and dark, its text takes the page's font, its ids get
    a prefix of their own, its width follows the page, and whatever names another server goes.

    Args:
        svg: the picture as matplotlib writes it.
        prefix: what to put before every id.
        description: what somebody who does not see it should hear.

    Returns:
        An ``<svg>`` element.
    """
    body = svg[svg.index("<svg") :].strip()
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", body, flags=re.DOTALL)
    opening, _, rest = body.partition(">")
    view = re.search(r'viewBox="[^"]*"', opening)
    rest = re.sub(r'\bid="', f'id="{prefix}', rest)
    rest = re.sub(r'href="#|url\(#', lambda match: match[0] + prefix, rest)
    rest = re.sub(r"font-family: [^;\"]*;? ?", "", rest)
    for colour, name in _COLOURS.items():
        rest = rest.replace(colour, f"var(--{name})")
    rest = re.sub(r"\s*\n\s*", "\n", rest)
    return f'<svg {view[0] if view else ""} role="img" aria-label="{escape(description)}">{rest}'
