"""Pictures of differences with their intervals around 0, and of several systems at each of several levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ham.report.claims import Effect
from ham.report.figures import INK, SERIES, drawing
from ham.score.results import decimals

PAGE_IN = 6.2
"""Width of a picture that has long names beside it."""


@dataclass(frozen=True)
class Dots:
    """One system of :func:`dots`: its name, and value, low and high end at each level."""

    name: str
    values: Sequence[tuple[float, float, float]]


def effects(found: Sequence[Effect], unit: str, digits: int) -> bytes:
    """Differences below each other, with their intervals and a line at 0; filled where Holm's p is below 0.05.

    Args:
        found: what to draw, from top to bottom.
        unit: of the axis.
        digits: of the numbers beside the names.

    Returns:
        The picture, as SVG.
    """
    with drawing(0.6 + 0.26 * len(found), width_in=PAGE_IN) as (axes, picture):
        axes.axvline(0, color=INK, linewidth=0.8)
        for at, effect in enumerate(found):
            sure = effect.adjusted is not None and effect.adjusted < 0.05
            axes.hlines(at, *effect.interval, color=SERIES[0], linewidth=2.6, alpha=0.4)
            axes.plot(
                effect.value, at, "o", color=SERIES[0], markersize=5, markerfacecolor=SERIES[0] if sure else "none"
            )
        names = [f"{effect.comparison.factor}  {decimals(effect.value, digits, '+')}" for effect in found]
        axes.set_yticks(range(len(found)), names)
        axes.set(xlabel=f"system minus control, {unit}", ylim=(len(found) - 0.5, -0.5))
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
    return picture.getvalue()


def dots(systems: Sequence[Dots], levels: Sequence[str], unit: str) -> bytes:
    """Values with their intervals, side by side at each level.

    Args:
        systems: what to draw.
        levels: names along the axis.
        unit: of the vertical axis.

    Returns:
        The picture, as SVG.
    """
    step = 0.8 / max(len(systems), 1)
    with drawing(3.0, [system.name for system in systems], width_in=PAGE_IN) as (axes, picture):
        for at, system in enumerate(systems):
            places = [level - 0.4 + (at + 0.5) * step for level in range(len(levels))]
            middle, low, high = zip(*system.values, strict=True)
            colour, marker = SERIES[at % len(SERIES)], "osD^v"[at % 5]
            axes.vlines(places, low, high, color=colour, linewidth=2.0, alpha=0.4)
            axes.plot(places, middle, marker, color=colour, markersize=4, label=system.name)
        axes.set_xticks(range(len(levels)), levels)
        axes.set(ylabel=unit, xlim=(-0.5, len(levels) - 0.5))
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.grid(visible=False, axis="x")
    return picture.getvalue()
