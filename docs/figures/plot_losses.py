"""Draw what each loss asks of a target pair: ``python docs/figures/plot_losses.py`` makes the pictures of losses.md.

``target_logit.svg`` and ``target_slope.svg`` show the logit of an embedding's own speaker, and its slope, against the
cosine between the embedding and the centre; ``published_c.svg`` the published distance between two points of the shell
against their angle. Every value comes out of the losses themselves at their published settings, in float64, and every
slope out of autograd. The same losses give the same bytes.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import ham.losses
from ham.files import replacing
from ham.report.figures import PAPER, SERIES, STYLE

FIGURES = Path(__file__).resolve().parent

BEYOND = 10.0
"""Norm of what the published form clips to the shell, at any of its curvatures; a cosine does not depend on it."""

WIDTH_IN = 3.9
"""375 CSS pixels, a telephone's width."""

LOOK = {**STYLE, "legend.fontsize": 8, "figure.facecolor": PAPER, "axes.facecolor": PAPER}
"""That of the reports, with room for longer legends; the ground is given, since these stand alone."""

BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY = SERIES[:6]
DASHED, DOTTED, DOT_DASHED = (0, (5, 1.6)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5))


@dataclass(frozen=True)
class Curve:
    """A loss, and where its embedding and its centre lie.

    Attributes:
        label: what the legend says.
        loss: name of the loss.
        colour: of the line.
        embedding_norm: length of the embedding as it leaves a backbone.
        centre_norm: length of the centre as the loss keeps it.
        options: options of the loss where they are not as published.
        dash: of the line.
        width: of the line, in points; a wide one lies under others of the same values.
    """

    label: str
    loss: str
    colour: str
    embedding_norm: float = BEYOND
    centre_norm: float = BEYOND
    options: Mapping[str, Any] = field(default_factory=dict)
    dash: Any = "-"
    width: float = 1.5


def half_shell(loss: str) -> float:
    """Half the radius of the published shell at a loss's published curvature."""
    return 0.5 * (1.0 - 1e-5) / math.sqrt(ham.losses.LOSSES[loss].options()["curvature"])


CURVED = {"geometry": "poincare", "curvature": 1.0, "centres": "tangent", "embedding_scale": 1.0}
"""Curvature -1 with an embedding that is its own tangent vector; ``lorentz`` gives the same values."""

EUCLIDEAN = (
    Curve("scaled_softmax, |x| = |w| = 1", "scaled_softmax", SKY, 1.0, 1.0, width=4.0),
    Curve("softmax, |x| = |w| = 1", "softmax", GREEN, 1.0, 1.0),
    Curve("aam_softmax", "aam_softmax", VERMILION, dash=DASHED),
    Curve("am_softmax", "am_softmax", BLUE, width=2.2),
    Curve("ram_softmax, the same", "ram_softmax", ORANGE, dash=DOTTED),
)
HYPERBOLIC = (
    Curve("h_softmax", "h_softmax", BLUE),
    Curve("ham_softmax", "ham_softmax", VERMILION),
    Curve("eh_am_softmax", "eh_am_softmax", GREEN),
    Curve("ham_softmax, poincare", "ham_softmax", PURPLE, 1.0, 1.0, CURVED, dash=DASHED),
    Curve("h_softmax, w at r/2", "h_softmax", BLUE, centre_norm=half_shell("h_softmax"), dash=DOTTED),
    Curve("ham_softmax, w at r/2", "ham_softmax", VERMILION, centre_norm=half_shell("ham_softmax"), dash=DOTTED),
    Curve("eh_am_softmax, w at r/2", "eh_am_softmax", GREEN, centre_norm=half_shell("eh_am_softmax"), dash=DOTTED),
)
"""Embedding on the shell of radius r and centre there too, or at half of it; ``lorentz`` is as ``poincare``."""

PUBLISHED_C = ((1.5, BLUE, "-"), (3.0, VERMILION, DASHED), (5.0, GREEN, DOTTED), (10.0, PURPLE, DOT_DASHED))
"""Values of the published ``c``, at least 1, and how their lines look."""


def target_logit(curve: Curve, cosine: Tensor) -> Tensor:
    """Logit of an embedding's own speaker, margin included, from a loss of two speakers.

    Args:
        curve: the loss and the lengths.
        cosine: cosines between embedding and centre, shape ``(N,)``.

    Returns:
        Logits, shape ``(N,)``, differentiable with respect to ``cosine``.
    """
    loss = ham.losses.build(curve.loss, 2, 2, **curve.options).double()
    with torch.no_grad():
        for name, parameter in loss.named_parameters():
            if name.endswith("weight"):
                parameter.copy_(curve.centre_norm * torch.tensor([[1.0, 0.0], [0.0, -1.0]]))
            elif name.endswith("bias"):
                parameter.zero_()
    x = curve.embedding_norm * directions(cosine)
    return loss.logits(x, torch.zeros(len(x), dtype=torch.int64))[:, 0]


def target_slope(curve: Curve, cosine: Tensor) -> Tensor:
    """Slope of :func:`target_logit`, from autograd.

    Args:
        curve: the loss and the lengths.
        cosine: cosines between embedding and centre, strictly between -1 and 1, shape ``(N,)``.

    Returns:
        Change of the logit with the cosine, shape ``(N,)``.
    """
    cosine = cosine.detach().requires_grad_()
    (slope,) = torch.autograd.grad(target_logit(curve, cosine).sum(), cosine)
    return slope


def shell_distance(published_c: float, angle: Tensor) -> Tensor:
    """Published distance between two points of the shell.

    Args:
        published_c: ``c`` of the published form.
        angle: between the points, in radians, shape ``(N,)``.

    Returns:
        Distances, shape ``(N,)``.
    """
    loss = ham.losses.build("h_softmax", 2, 2, curvature=published_c).double()
    x = BEYOND * directions(torch.cos(angle))
    return loss.distance(x, x.new_tensor([BEYOND, 0.0]).expand_as(x)).detach()


def directions(cosine: Tensor) -> Tensor:
    """Unit vectors in the plane at given cosines to the first axis, shape ``(N, 2)``."""
    return torch.stack([cosine, torch.sqrt((1.0 - cosine) * (1.0 + cosine))], dim=1)


def target_picture(values: Callable[[Curve, Tensor], Tensor], ylabel: str, *, log: bool = False) -> bytes:
    """Euclidean losses above, hyperbolic ones below, over the cosine.

    Args:
        values: of a curve at cosines.
        ylabel: name of the vertical axes.
        log: whether they are logarithmic.

    Returns:
        The picture, SVG.
    """
    cosine = torch.cos(torch.linspace(0.99 * math.pi, 0.01 * math.pi, 197, dtype=torch.float64))
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(WIDTH_IN, 6.3))
        # No automatic layout: it would shrink the axes to make room for the legends beside them.
        figure.subplots_adjust(left=0.16, right=0.965, bottom=0.068, top=0.905, hspace=0.47)
        panels = figure.subplots(2, 1, sharex=True, sharey=log)
        for axes, curves in zip(panels, (EUCLIDEAN, HYPERBOLIC), strict=True):
            for curve in curves:
                y = values(curve, cosine).detach()
                axes.plot(cosine, y, label=curve.label, color=curve.colour, linestyle=curve.dash, linewidth=curve.width)
            axes.set(ylabel=ylabel, xlim=(-1, 1), xticks=[-1, -0.5, 0, 0.5, 1])
            axes.tick_params(labelbottom=True)
            if log:
                log_axis(axes, (1, 3, 10, 30, 100, 300))
            legend(axes, ncols=2)
        panels[1].set_xlabel("cosine between embedding and centre")
        return svg(figure)


def distance_picture() -> bytes:
    """Published distance over the angle for several ``c``."""
    angle = torch.linspace(0.0, math.pi, 181, dtype=torch.float64)
    with mpl.rc_context(LOOK):
        figure = Figure(figsize=(WIDTH_IN, 2.9))
        figure.subplots_adjust(left=0.16, right=0.95, bottom=0.15, top=0.9)
        axes = figure.subplots()
        for c, colour, dash in PUBLISHED_C:
            axes.plot(torch.rad2deg(angle), shell_distance(c, angle), label=f"c = {c:g}", color=colour, linestyle=dash)
        axes.set(xlabel="angle between two points of the shell, degrees", ylabel="published distance")
        axes.set(xlim=(0, 180), xticks=range(0, 181, 30))
        axes.set_ylim(bottom=0)
        legend(axes, ncols=len(PUBLISHED_C))
        return svg(figure)


def log_axis(axes: Axes, ticks: Sequence[float]) -> None:
    """Make the vertical axis logarithmic with plain numbers at some ticks."""
    axes.set(yscale="log", ylim=(0.7, 500))
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.yaxis.set_minor_formatter(NullFormatter())


def legend(axes: Axes, ncols: int) -> None:
    """Name the lines above the axes."""
    axes.legend(loc="lower left", bbox_to_anchor=(-0.19, 1.0), ncols=ncols, handlelength=2.1, columnspacing=1.0)


def svg(figure: Figure) -> bytes:
    """The figure's file, without its date."""
    picture = io.BytesIO()
    figure.savefig(picture, format="svg", metadata={"Date": None})
    return picture.getvalue()


def write(folder: Path) -> list[Path]:
    """Draw all pictures, each written whole or not at all.

    Args:
        folder: where they go; made if it is not there.

    Returns:
        The files.
    """
    pictures = {
        "target_logit.svg": target_picture(target_logit, "target logit"),
        "target_slope.svg": target_picture(target_slope, "slope of the target logit", log=True),
        "published_c.svg": distance_picture(),
    }
    for name, content in pictures.items():
        with replacing(folder / name) as part:
            part.write_bytes(content)
    return [folder / name for name in pictures]


def main() -> None:
    """Draw, and say where the pictures are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FIGURES, help="folder of the pictures")
    print(*write(parser.parse_args().out), sep="\n")


if __name__ == "__main__":
    main()
