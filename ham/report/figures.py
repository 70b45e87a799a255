"""Pictures: DET curves, score histograms, curves over epochs. No display is needed; the same data give the same bytes.

Lines differ in colour and in dash, so that neither colour vision nor a colour printer is needed. The first six colours
are those of Okabe and Ito ("Color universal design", 2008) without yellow; the other six are darker and duller ones of
Tol's muted scheme (SRON/EPS/TN/09-002, 2021) and a brown. Sizes suit a telephone's width; text stays text in SVG.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from scipy.special import ndtri

from ham.score.curves import Curves

INK, MUTED, RULE, PAPER = "#1c1e21", "#5c626b", "#d5d8dd", "#fdfdfc"
"""Text, secondary text, grid and ground; a page may replace them in the SVG by its own."""

SERIES = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
    "#332288", "#882255", "#999933", "#6b4a2b", "#117733", "#777777",
)  # fmt: skip
"""Colours of the lines, in this order; the thirteenth line begins again."""
_DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1)), (0, (8, 2)),
    (0, (10, 1.5, 1.2, 1.5, 1.2, 1.5)), (0, (1.2, 2.4)), (0, (4, 1.2, 4, 1.2, 1.2, 1.2)), (0, (12, 1.5)),
    (0, (2.4, 1.2, 1.2, 1.2)), (0, (6, 3)),
)  # fmt: skip

DET_TICKS = (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
DET_TICKS_WIDE = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99)
"""Rates that a DET axis names, and those for systems whose EER is above 25 %."""

_HIGHEST = 0.9999
"""Rates above are drawn here, outside every plot: the probit of 1 is infinite."""

_FAR = 4.0
"""A number beyond this many times the median of the upper ends is no longer drawn to scale by :func:`forest`."""

STYLE: Any = {  # releases of matplotlib differ in how they type such a table
    "svg.fonttype": "none",
    "svg.hashsalt": "ham",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.5,
}
"""How every picture of the project looks, as matplotlib's parameters."""


@dataclass(frozen=True)
class Line:
    """One line of :func:`lines`.

    Attributes:
        name: what the legend calls it.
        x: positions, shape ``(N,)``.
        y: values, shape ``(N,)``; those that are not finite leave a gap.
        faint: drawn thin and pale, for raw values behind a summary.
        style: number of its colour and dash, so that one system looks alike in all pictures; None: its position.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    faint: bool = False
    style: int | None = None


def det(curves: Mapping[str, Curves], *, order: Sequence[str] | None = None) -> bytes:
    """Detection error trade-off on probit axes: a normal score distribution gives a straight line.

    A circle marks each curve's equal error rate. Rates below half an error are drawn at the border of the plot.

    Args:
        curves: what the legend says, and the curves of one trial list.
        order: all names of a series of pictures; the place in it decides colour and dash. The curves' own order
            where it is missing.

    Returns:
        The picture, as SVG.
    """
    places = {name: at for at, name in enumerate(curves if order is None else order)}
    ticks = _det_ticks(list(curves.values()))
    low, high = ticks[0], ticks[-1]
    with drawing(3.9, list(curves)) as (axes, picture):
        axes.plot(ndtri([low, high]), ndtri([low, high]), color=MUTED, linewidth=0.6, linestyle=(0, (2, 3)))
        for name, curve in curves.items():
            miss, false_alarm = (np.clip(rates, low, _HIGHEST) for rates in (curve.miss, curve.false_alarm))
            colour, dash = _look(places[name])
            axes.plot(ndtri(false_alarm), ndtri(miss), label=name, color=colour, linestyle=dash)
            meets = ndtri([np.clip(_equal_rate(curve), low, high)])
            axes.plot(meets, meets, "o", color=colour, markerfacecolor=PAPER, markersize=5)
        names = [f"{100 * rate:g}" for rate in ticks]
        margin = 0.03 * float(np.ptp(ndtri([low, high])))
        limits = (ndtri([low])[0] - margin, ndtri([high])[0])
        axes.set(xlim=limits, ylim=limits, xlabel="false alarms %", ylabel="misses %", aspect="equal")
        axes.set_xticks(ndtri(ticks), names)
        axes.set_yticks(ndtri(ticks), names)
    return picture.getvalue()


def _look(number: int) -> tuple[str, Any]:
    """Colour and dash of a line."""
    return SERIES[number % len(SERIES)], _DASHES[(number + number // len(SERIES)) % len(_DASHES)]


def _det_ticks(curves: Sequence[Curves]) -> list[float]:
    """From below the rarest error that the list can count (0.01 % at the least) upwards."""
    every = DET_TICKS if max(map(_equal_rate, curves)) < 0.25 else DET_TICKS_WIDE
    rarest = 0.5 / max(max(sum(curve.target), sum(curve.nontarget)) for curve in curves)
    lowest = max([every[0], *(tick for tick in every[:-2] if tick <= rarest)])
    return [tick for tick in every if tick >= lowest]


def _equal_rate(curve: Curves) -> float:
    gap = np.subtract(curve.miss, curve.false_alarm)  # rises, as the rates of falling false alarms go with it
    return float(np.interp(0.0, gap, curve.miss))


def histogram(curves: Curves, *, small: bool = False) -> bytes:
    """Distributions of the target and of the non-target scores, each of area 1, and the threshold of the EER.

    Args:
        curves: of one trial list and back-end.
        small: half as wide, without legend and axis names, for several side by side.

    Returns:
        The picture, as SVG.
    """
    edges = np.asarray(curves.edges)
    sides = (("non-target", curves.nontarget, SERIES[1], _DASHES[1]), ("target", curves.target, SERIES[0], "-"))
    names = () if small else ("non-target", "target", "EER threshold")
    height, width = (1.2, 2.0) if small else (2.5, 3.9)
    with drawing(height, names, width_in=width) as (axes, picture):
        for name, counts, colour, dash in sides:
            density = np.asarray(counts) / (sum(counts) * np.diff(edges))
            axes.stairs(density, edges, fill=True, color=colour, alpha=0.22, linewidth=0)
            axes.stairs(density, edges, color=colour, linestyle=dash, linewidth=1.2, label=None if small else name)
        label = None if small else "EER threshold"
        axes.axvline(curves.threshold, color=INK, linewidth=0.8, linestyle=(0, (2, 2)), label=label)
        axes.set(xlim=(edges[0], edges[-1]))
        axes.set_ylim(bottom=0)
        axes.grid(visible=False, axis="x")
        if small:
            axes.set_yticks([])
            axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
        else:
            axes.set(xlabel=f"score ({curves.backend})", ylabel="density")
    return picture.getvalue()


@dataclass(frozen=True)
class Estimate:
    """One row of :func:`forest`; all numbers in the unit of the axis.

    Attributes:
        name: what stands at the row.
        value: the number, drawn as a dot.
        low: low end of its interval.
        high: high end.
        parts: what the number is the mean of, drawn as small ticks.
        reference: somebody else's number, drawn as a diamond.
    """

    name: str
    value: float
    low: float
    high: float
    parts: Sequence[float] = ()
    reference: float | None = None


def forest(estimates: Sequence[Estimate], xlabel: str) -> bytes:
    """Numbers with their intervals below each other, on one axis that begins at 0.

    A number far beyond the others is written at the border beside an arrow.

    Args:
        estimates: the rows, from top to bottom.
        xlabel: name and unit of the axis.

    Returns:
        The picture, as SVG.
    """
    rows = range(len(estimates))
    parts = [(part, at) for at, row in zip(rows, estimates, strict=True) if len(row.parts) > 1 for part in row.parts]
    others = [(row.reference, at) for at, row in zip(rows, estimates, strict=True) if row.reference is not None]
    names = ["ours", *(["one training"] if parts else []), *(["published"] if others else [])]
    with drawing(0.6 + 0.24 * len(estimates), names) as (axes, picture):
        ends = [row.low for row in estimates], [row.high for row in estimates]
        axes.hlines(rows, *ends, color=SERIES[0], linewidth=2.6, alpha=0.4)
        axes.plot([row.value for row in estimates], rows, "o", color=SERIES[0], markersize=5, label="ours")
        if parts:
            ticks: Any = {"color": INK, "markersize": 7, "markeredgewidth": 0.8}
            axes.plot(*zip(*parts, strict=True), "|", label="one training", **ticks)
        if others:
            diamond: Any = {"color": SERIES[1], "markersize": 4.5, "markerfacecolor": PAPER}
            axes.plot(*zip(*others, strict=True), "D", label="published", **diamond)
        axes.set(xlabel=xlabel, ylim=(len(estimates) - 0.5, -0.5))
        axes.set_xlim(left=0)
        _cut_outliers(axes, estimates)
        axes.set_yticks(rows, [row.name for row in estimates])
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
    return picture.getvalue()


def outliers(estimates: Sequence[Estimate]) -> list[str]:
    """Rows that :func:`forest` does not draw to scale, since they would leave the others no room.

    Args:
        estimates: the rows.

    Returns:
        Their names.
    """
    limit = _FAR * float(np.median([row.high for row in estimates]))
    return [row.name for row in estimates if row.value > limit]


def _cut_outliers(axes: Axes, estimates: Sequence[Estimate]) -> None:
    """End the axis before the outliers, and write their numbers beside an arrow."""
    far = outliers(estimates)
    if not far:
        return
    end = 1.15 * max(max(row.high, row.reference or 0, *row.parts) for row in estimates if row.name not in far)
    axes.set_xlim(0, end)
    for at, row in enumerate(estimates):
        if row.name in far:
            axes.text(end, at, f"{row.value:.1f} \N{RIGHTWARDS ARROW}", ha="right", va="center", color=SERIES[0])


def lines(series: Sequence[Line], xlabel: str, ylabel: str, *, log: bool = False) -> bytes:
    """Values over epochs or steps.

    Args:
        series: the lines; a legend stands above two or more.
        xlabel: name of the horizontal axis.
        ylabel: name and unit of the vertical axis.
        log: whether the vertical axis is logarithmic; every value must then be positive.

    Returns:
        The picture, as SVG.
    """
    with drawing(2.3, [line.name for line in series]) as (axes, picture):
        for at, line in enumerate(series):
            colour, dash = _look(at if line.style is None else line.style)
            width, alpha, layer = (0.7, 0.5, 1.9) if line.faint else (1.5, 1.0, 2.0)
            marker = "o" if len(line.x) <= 30 and not line.faint else None
            axes.plot(
                line.x, line.y, label=line.name, color=colour, linewidth=width, alpha=alpha,
                linestyle="-" if line.faint else dash, marker=marker, markersize=2.8, zorder=layer,
            )  # fmt: skip
        axes.set(xlabel=xlabel, ylabel=ylabel, yscale="log" if log else "linear")
        if log:
            axes.yaxis.set_major_formatter(_plain_number)
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    return picture.getvalue()


def _plain_number(value: float, _position: float = 0) -> str:
    return f"{value:g}"


@contextmanager
def drawing(height_in: float, names: Sequence[str] = (), *, width_in: float = 3.9) -> Iterator[tuple[Axes, io.BytesIO]]:
    """Axes to draw on, and the stream that holds the picture once the block is done.

    A legend names two or more lines above the axes; the picture grows by what the legend needs beyond one row.

    Args:
        height_in: of the picture, in inches.
        names: what the legend will hold.
        width_in: of the picture, in inches; 3.9 inches are 281 points.

    Yields:
        The axes and the stream, for SVG.
    """
    picture = io.BytesIO()
    columns = _legend_columns(names, width_in)
    rows = -(-len(names) // columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width_in, height_in + 0.19 * max(rows - 1, 0)), layout="constrained")
        axes = figure.add_subplot()
        yield axes, picture
        if len(axes.get_legend_handles_labels()[1]) > 1:
            figure.legend(loc="outside upper left", ncols=columns, handlelength=2.8, columnspacing=1.2, borderpad=0.2)
        figure.savefig(picture, format="svg", metadata={"Date": None}, transparent=True)


def _legend_columns(names: Sequence[str], width_in: float) -> int:
    """How many columns of a legend fit: 5.2 points a character at 8.5 points, and 41 for each line and its gaps."""
    for columns in (3, 2):
        rows = -(-len(names) // columns) or 1
        longest = [max(map(len, names[at : at + rows])) for at in range(0, len(names), rows)]
        if sum(5.2 * length + 41 for length in longest) <= 72 * width_in:
            return columns
    return 1
