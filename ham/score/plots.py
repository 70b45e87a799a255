"""Pictures: DET curves, score histograms, curves over epochs. No display is needed; the same data give the same bytes.

Lines differ in colour and in dash, so that neither colour vision nor a colour printer is needed. The colours are
those of Okabe and Ito ("Color universal design", 2008) without yellow. Sizes suit a telephone's width; text stays
text in SVG.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from numpy.typing import NDArray

from ham.score.curves import Curves

Format: TypeAlias = Literal["svg", "png"]

INK, MUTED, RULE, PAPER = "#1c1e21", "#5c626b", "#d5d8dd", "#fdfdfc"
"""Text, secondary text, grid and ground; a page may replace them in the SVG by its own."""

SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "-", (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1)), (0, (8, 2))
)  # fmt: skip

DET_TICKS = (0.0001, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
DET_TICKS_WIDE = (0.0001, 0.001, 0.01, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 0.99)
"""Rates that a DET axis names, and those for systems whose EER is above 25 %."""

_HIGHEST = 0.9999
"""Rates above are drawn here, outside every plot: the probit of 1 is infinite."""

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
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    faint: bool = False


def det(curves: Mapping[str, Curves], image_format: Format = "svg") -> bytes:
    """Detection error trade-off on probit axes: a normal score distribution gives a straight line.

    A circle marks each curve's equal error rate. Rates below half an error are drawn at the border of the plot.

    Args:
        curves: what the legend says, and the curves of one trial list.
        image_format: ``svg`` or ``png``.

    Returns:
        The picture.
    """
    ticks = _det_ticks(list(curves.values()))
    low, high = ticks[0], ticks[-1]
    with _figure(3.9, image_format) as (axes, picture):
        axes.plot(_probit([low, high]), _probit([low, high]), color=MUTED, linewidth=0.6, linestyle=(0, (2, 3)))
        for at, (name, curve) in enumerate(curves.items()):
            miss, false_alarm = (np.clip(rates, low, _HIGHEST) for rates in (curve.miss, curve.false_alarm))
            colour, dash = SERIES[at % len(SERIES)], _DASHES[at % len(_DASHES)]
            axes.plot(_probit(false_alarm), _probit(miss), label=name, color=colour, linestyle=dash)
            meets = _probit([np.clip(_equal_rate(curve), low, high)])
            axes.plot(meets, meets, "o", color=colour, markerfacecolor=PAPER, markersize=5)
        names = [f"{100 * rate:g}" for rate in ticks]
        margin = 0.03 * float(np.ptp(_probit([low, high])))
        limits = (_probit([low])[0] - margin, _probit([high])[0])
        axes.set(xlim=limits, ylim=limits, xlabel="false alarms %", ylabel="misses %", aspect="equal")
        axes.set_xticks(_probit(ticks), names)
        axes.set_yticks(_probit(ticks), names)
    return picture.getvalue()


def _det_ticks(curves: Sequence[Curves]) -> list[float]:
    """From below the rarest error that the list can count (0.01 % at the least) upwards."""
    every = DET_TICKS if max(map(_equal_rate, curves)) < 0.25 else DET_TICKS_WIDE
    rarest = 0.5 / max(max(sum(curve.target), sum(curve.nontarget)) for curve in curves)
    lowest = max([every[0], *(tick for tick in every[:-2] if tick <= rarest)])
    return [tick for tick in every if tick >= lowest]


def _equal_rate(curve: Curves) -> float:
    gap = np.subtract(curve.miss, curve.false_alarm)  # rises, as the rates of falling false alarms go with it
    return float(np.interp(0.0, gap, curve.miss))


def _probit(rates: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantile of the normal distribution."""
    values: NDArray[np.float64] = torch.special.ndtri(torch.as_tensor(rates, dtype=torch.float64)).numpy()
    return values


def histogram(curves: Curves, image_format: Format = "svg") -> bytes:
    """Distributions of the target and of the non-target scores, each of area 1, and the threshold of the EER.

    Args:
        curves: of one trial list and back-end.
        image_format: ``svg`` or ``png``.

    Returns:
        The picture.
    """
    edges = np.asarray(curves.edges)
    sides = (("non-target", curves.nontarget, SERIES[1], _DASHES[1]), ("target", curves.target, SERIES[0], "-"))
    with _figure(2.5, image_format) as (axes, picture):
        for name, counts, colour, dash in sides:
            density = np.asarray(counts) / (sum(counts) * np.diff(edges))
            axes.stairs(density, edges, fill=True, color=colour, alpha=0.22, linewidth=0)
            axes.stairs(density, edges, color=colour, linestyle=dash, linewidth=1.2, label=name)
        axes.axvline(curves.threshold, color=INK, linewidth=0.8, linestyle=(0, (2, 2)), label="EER threshold")
        axes.set(xlabel=f"score ({curves.backend})", ylabel="density", xlim=(edges[0], edges[-1]))
        axes.set_ylim(bottom=0)
        axes.grid(visible=False, axis="x")
    return picture.getvalue()


def lines(
    series: Sequence[Line], xlabel: str, ylabel: str, *, log: bool = False, image_format: Format = "svg"
) -> bytes:
    """Values over epochs or steps.

    Args:
        series: the lines; a legend stands above two or more.
        xlabel: name of the horizontal axis.
        ylabel: name and unit of the vertical axis.
        log: whether the vertical axis is logarithmic; every value must then be positive.
        image_format: ``svg`` or ``png``.

    Returns:
        The picture.
    """
    with _figure(2.3, image_format) as (axes, picture):
        for at, line in enumerate(series):
            width, alpha, layer = (0.7, 0.5, 1.9) if line.faint else (1.5, 1.0, 2.0)
            marker = "o" if len(line.x) <= 30 and not line.faint else None
            axes.plot(
                line.x, line.y, label=line.name, color=SERIES[at % len(SERIES)], linewidth=width, alpha=alpha,
                linestyle="-" if line.faint else _DASHES[at % len(_DASHES)], marker=marker, markersize=2.8,
                zorder=layer,
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
def _figure(height_in: float, image_format: Format) -> Iterator[tuple[Axes, io.BytesIO]]:
    """Axes of a figure 3.9 inches (281 points) wide, and the file that holds it afterwards."""
    picture = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.9, height_in), layout="constrained")
        axes = figure.add_subplot()
        yield axes, picture
        if len(axes.get_legend_handles_labels()[1]) > 1:
            figure.legend(loc="outside upper left", ncols=3, handlelength=2.2, columnspacing=1.2, borderpad=0.2)
        metadata = {"Date": None} if image_format == "svg" else {"Software": None}
        figure.savefig(picture, format=image_format, dpi=160, metadata=metadata, transparent=image_format == "svg")
