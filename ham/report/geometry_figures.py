"""Pictures of the page about geometry: the Poincaré disk, the tree of the speakers, bands of a radius."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Circle
from numpy.typing import NDArray

from ham.analysis.picture import Picture, ShownSpeaker, SpeakerTree
from ham.report.figures import INK, MUTED, RULE, SERIES, drawing

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*")
"""As many as have no common divisor with the number of colours, so that 66 speakers differ in one of the two."""

LONGEST_HALF = 26
"""Letters of a name that fit into half of the legend."""

CIRCLES = (0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
"""Hyperbolic distances from the centre at which circles may be drawn."""


def marks(speakers: Sequence[ShownSpeaker]) -> list[tuple[str, str]]:
    """Colour and shape of the speakers: the colour says the first label, the sex, where it is known.

    Args:
        speakers: those of a picture.

    Returns:
        A colour of :data:`ham.report.figures.SERIES` and a matplotlib marker for each; no pair occurs twice among 66.
    """
    if not all(speaker.labels for speaker in speakers):
        return [(SERIES[at % len(SERIES)], MARKERS[at % len(MARKERS)]) for at in range(len(speakers))]
    firsts = [speaker.labels[0] for speaker in speakers]
    kinds = sorted(set(firsts))
    found = []
    for at, first in enumerate(firsts):
        again, shape = divmod(firsts[:at].count(first), len(MARKERS))
        found.append((SERIES[(kinds.index(first) + again * len(kinds)) % len(SERIES)], MARKERS[shape]))
    return found


def reach(picture: Picture) -> float:
    """How far out the picture's points and the origin are.

    Args:
        picture: the picture.

    Returns:
        Largest distance from the centre in the picture's own coordinates.
    """
    places = [place for speaker in picture.speakers for place in speaker.points]
    return max(math.hypot(*place) for place in [*places, picture.origin or (0.0, 0.0)])


def disk(picture: Picture, names: Sequence[str] = (), *, whole: bool = True) -> bytes:
    """Speakers on the Poincaré disk or, for a loss without a distance, in the plane.

    Args:
        picture: what to show.
        names: what the legend calls the speakers; without names there is none.
        whole: show the disk up to its rim, not only the part that holds points; means nothing in the plane.

    Returns:
        The picture, as SVG; circles lie at the hyperbolic distances from the centre that they name.
    """
    is_disk = picture.kind == "disk"
    extent = 1.02 if whole and is_disk else 1.08 * (reach(picture) or 1.0)
    num_columns = 2 if max(map(len, names), default=0) <= LONGEST_HALF else 1
    num_rows = -(-(len(names) + 1) // num_columns) if names else 0
    with drawing(3.9 + 0.15 * num_rows) as (axes, stream):
        axes.set(aspect="equal", xlim=(-extent, extent), ylim=(-extent, extent))
        if is_disk:
            _rings(axes, picture.curvature, extent)
        style: dict[str, Any] = {"markersize": 4.4, "markeredgewidth": 0, "alpha": 0.85}
        drawn = []
        for speaker, (colour, shape) in zip(picture.speakers, marks(picture.speakers), strict=True):
            x, y = np.array(speaker.points).T
            drawn += axes.plot(x, y, shape, color=colour, **style)
        if picture.origin is not None:
            drawn += axes.plot(*picture.origin, "+", color=INK, markersize=9)
        if names:
            _legend(axes, dict(zip([*names, "origin of the ball"], drawn, strict=False)), num_columns)
    return stream.getvalue()


def _legend(axes: Axes, entries: Mapping[str, Line2D], num_columns: int) -> None:
    """Names above the picture, in smaller letters than those of lines, as they are longer."""
    axes.figure.legend(
        list(entries.values()), list(entries), loc="outside upper left", ncols=num_columns, fontsize=7.5,
        handlelength=0.8, handletextpad=0.5, columnspacing=1.0, borderpad=0.2,
    )  # fmt: skip


def _rings(axes: Axes, curvature: float, extent: float) -> None:
    """The rim, and circles around the centre with their hyperbolic radii in the unit of the loss's distance."""
    axes.set_axis_off()
    axes.add_patch(Circle((0, 0), 1.0, fill=False, edgecolor=MUTED, linewidth=1.0))
    last = 0.0
    for distance in CIRCLES:
        radius = math.tanh(math.sqrt(curvature) * distance / 2)
        if last + 0.16 * extent < radius < 0.98 * extent and radius < 0.97:
            axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor=RULE, linewidth=0.8))
            axes.annotate(f"{distance:g}", (0, -radius), color=MUTED, fontsize=7.5, ha="center", va="bottom")
            last = radius


def dendrogram(tree: SpeakerTree, names: Sequence[str]) -> bytes:
    """The tree of the speakers from left to right.

    Args:
        tree: the tree.
        names: what to write at the leaves.

    Returns:
        The picture, as SVG. Where the known tree is given, squares at the leaves have the colour of the first label,
        and so has a branch if all leaves below it share that label.
    """
    order = leaf_order(tree)
    with drawing(0.7 + 0.135 * len(order)) as (axes, stream):
        segments, colours = _branches(tree)
        axes.add_collection(LineCollection(segments, colors=colours, linewidths=1.0))
        for position, leaf in enumerate(order):
            if tree.labels[leaf]:
                axes.plot(0, position, "s", color=_colour(tree, [leaf]), markersize=3.6)
        axes.set(xlim=(1.04 * max(tree.heights), -0.02 * max(tree.heights)), ylim=(len(order) - 0.3, -0.7))
        axes.set_xlabel("chord between the means")
        axes.yaxis.tick_right()
        axes.set_yticks(range(len(order)), [names[leaf] for leaf in order], fontsize=7.5)
        axes.tick_params(axis="y", length=0)
        axes.spines[["left"]].set_visible(False)
        axes.grid(visible=False, axis="y")
    return stream.getvalue()


def leaf_order(tree: SpeakerTree) -> list[int]:
    """Leaves from top to bottom so that no branches cross.

    Args:
        tree: the tree.

    Returns:
        Numbers of all leaves.
    """
    return leaves_below(tree)[-1]


def leaves_below(tree: SpeakerTree) -> list[list[int]]:
    """What hangs below each node, in the order of :func:`leaf_order`.

    Args:
        tree: the tree.

    Returns:
        Numbers of leaves: first those of each leaf, itself, then those of each merge; the last one is the root.
    """
    below: list[list[int]] = [[leaf] for leaf in range(len(tree.speakers))]
    for left, right in tree.merges:
        below.append(below[left] + below[right])
    return below


def _colour(tree: SpeakerTree, leaves: Sequence[int]) -> str:
    """The colour of the first label, if these leaves have one and share it."""
    kinds = sorted({labels[0] for labels in tree.labels if labels})
    first, *others = {tree.labels[leaf][:1] for leaf in leaves}
    return MUTED if others or not first else SERIES[kinds.index(first[0]) % len(SERIES)]


def _branches(tree: SpeakerTree) -> tuple[list[NDArray[np.float64]], list[str]]:
    """A bracket for every merge, and its colour."""
    below = leaves_below(tree)
    place = {leaf: float(position) for position, leaf in enumerate(below[-1])}
    height = dict.fromkeys(place, 0.0)
    segments = []
    for node, ((left, right), top) in enumerate(zip(tree.merges, tree.heights, strict=True), len(place)):
        corners = [(height[left], place[left]), (top, place[left]), (top, place[right]), (height[right], place[right])]
        segments.append(np.array(corners))
        place[node], height[node] = (place[left] + place[right]) / 2, top
    return segments, [_colour(tree, leaves) for leaves in below[len(tree.speakers) :]]


def bands(quantiles: Mapping[str, Mapping[str, float]], xlabel: str, ylabel: str) -> bytes:
    """A radius in several conditions: median, middle half and middle nine tenths.

    Args:
        quantiles: condition to ``p05``, ``p25``, ``p50``, ``p75``, ``p95``; from left to right.
        xlabel: what the conditions are.
        ylabel: what the values are.

    Returns:
        The picture, as SVG.
    """
    with drawing(2.3) as (axes, stream):
        for at, found in enumerate(quantiles.values()):
            axes.plot([at, at], [found["p05"], found["p95"]], color=SERIES[0], linewidth=1.2)
            axes.plot([at, at], [found["p25"], found["p75"]], color=SERIES[0], linewidth=7, alpha=0.45)
        axes.plot([found["p50"] for found in quantiles.values()], "o-", color=SERIES[0], markersize=5, linewidth=0.8)
        axes.set_xticks(range(len(quantiles)), list(quantiles))
        axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(-0.5, len(quantiles) - 0.5))
        axes.grid(visible=False, axis="x")
    return stream.getvalue()
