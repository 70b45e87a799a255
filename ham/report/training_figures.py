"""How a training went, in pictures: what it logged of itself and of its loss; what never changed is a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple, TypeAlias

from ham.report import figures
from ham.report.figures import Line
from ham.report.history import History
from ham.report.html import Figure

_MOST_POINTS = 400
"""Points of a line; the steps of a long run are averaged until they are as few."""


class _Quantity(NamedTuple):
    """What a logged quantity is called, its unit, what to look for, and how it is drawn."""

    title: str
    axis: str
    look: str = ""
    scale: float = 1
    log: bool = False


_TRAINING = {
    "loss": _Quantity("Loss", "loss", "Falls, then levels off."),
    "accuracy": _Quantity("Accuracy on the training crops, without margin", "%", "Rises towards 100 %.", 100),
    "valid_eer": _Quantity(
        "EER on training speakers kept aside", "%", "Falls; where it rises again, the training is too long.", 100
    ),
    "lr": _Quantity("Learning rate", "learning rate", log=True),
    "margin": _Quantity("Margin", "margin"),
    "crops_per_s": _Quantity("Speed", "crops / s", "Level; a drop is a busy machine or slow reading."),
}

_DIAGNOSTICS = {
    "embedding_norm": _Quantity("Length of the embeddings", "length", "The cosine does not see it."),
    "centre_norm": _Quantity("Length of the speakers' centres", "length"),
    "cosine": _Quantity("Cosine with the centres", "cosine", "The gap between the two lines opens."),
    "effective_scale": _Quantity(
        "Pull of the loss",
        "slope",
        "Mean slope of the own speaker's logit against the cosine; in most losses the scale.",
    ),
    "distance": _Quantity("Hyperbolic distance to the centres", "distance", "The gap between the two lines opens."),
    "on_shell": _Quantity(
        "Share on the shell, the furthest place that the ball allows",
        "%",
        "Where all embeddings are there, how far out they lie says nothing: only their direction does.",
        100,
    ),
    "centre_radius": _Quantity("Hyperbolic distance of the centres from the origin", "distance"),
    "curvature": _Quantity("Curvature", "curvature"),
    "embedding_scale": _Quantity("Learnt scale of the embeddings", "scale"),
}

_LINES = {
    "q05": "5 % are below",
    "q50": "median",
    "q95": "95 % are below",
    "target": "own speaker",
    "nearest_impostor": "nearest other",
}
"""What the lines of a diagnostic are called; others keep their own names."""

Drawn: TypeAlias = tuple[list[Figure], list[str]]
"""Pictures of what changed, and a sentence for each quantity that did not."""


def training(history: History) -> Drawn:
    """What every training logs, as far as it was logged.

    Args:
        history: the log.

    Returns:
        Pictures, the epochs' means as dots and the steps as a pale line, and sentences.
    """
    found = [(quantity, _curves(history, key, quantity.scale)) for key, quantity in _TRAINING.items()]
    return _drawn(found)


def diagnostics(history: History) -> Drawn:
    """What the loss did to the last batch of each epoch; a constant curvature is left out, as it stands with the loss.

    Args:
        history: the log.

    Returns:
        Pictures, the lines of one quantity in one, and sentences.
    """
    found = []
    for group, keys in history.diagnostics().items():
        plain = group.replace("_", " ")
        quantity = _DIAGNOSTICS.get(group, _Quantity(plain.capitalize(), plain))
        lines = [Line(_line_name(key, keys), *history.values(key, scale=quantity.scale)) for key in keys]
        if group != "curvature" or not _constant(lines):
            found.append((quantity, lines))
    return _drawn(found)


def _line_name(key: str, keys: Sequence[str]) -> str:
    """Nothing for the only line of a picture, as the title names it."""
    name = "" if len(keys) == 1 else key.rpartition("/")[2]
    return _LINES.get(name, name.replace("_", " "))


def _curves(history: History, key: str, scale: float) -> list[Line]:
    """The epochs and the steps of one quantity, those that were logged; no legend names them."""
    epochs = Line("", *history.values(key, scale=scale))
    steps = Line("", *_thinned(*history.values(key, of_steps=True, scale=scale)), faint=True)
    return [line for line in (epochs, steps) if line.x]


def _drawn(found: Sequence[tuple[_Quantity, Sequence[Line]]]) -> Drawn:
    shown = [(quantity, lines) for quantity, lines in found if lines]
    return (
        [_figure(quantity, lines) for quantity, lines in shown if not _constant(lines)],
        [_sentence(quantity, lines) for quantity, lines in shown if _constant(lines)],
    )


def _constant(lines: Sequence[Line]) -> bool:
    """Whether no line changes in a printed digit."""
    return all(len(set(map(_number, line.y))) == 1 for line in lines)


def _figure(quantity: _Quantity, lines: Sequence[Line]) -> Figure:
    positive = all(value > 0 for line in lines for value in line.y)
    picture = figures.lines(lines, "epoch", quantity.axis, log=quantity.log and positive)
    numbers = "; ".join(_from_to(line, quantity) for line in lines if not line.faint)
    if len(lines) > 1 and lines[0].name:
        return Figure(picture, quantity.title, quantity.look, numbers)
    return Figure(picture, quantity.title, f"{numbers.capitalize()}. {quantity.look}".rstrip())


def _sentence(quantity: _Quantity, lines: Sequence[Line]) -> str:
    """``Margin: 0.2 throughout``, and what there is to see in it."""
    values = ", ".join(f"{line.name} {_valued(line.y[-1], quantity)}".strip() for line in lines if not line.faint)
    return f"{quantity.title}: {values} throughout. {quantity.look}".rstrip()


def _from_to(line: Line, quantity: _Quantity) -> str:
    first, last = _number(line.y[0]), _valued(line.y[-1], quantity)
    return f"{line.name} from {first} to {last} after epoch {line.x[-1]:.4g}".strip()


def _valued(value: float, quantity: _Quantity) -> str:
    """With its unit, where that is per cent."""
    return f"{_number(value)} %" if quantity.axis == "%" else _number(value)


def _number(value: float) -> str:
    """Three digits: more of them are noise."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _thinned(x: list[float], y: list[float]) -> tuple[list[float], list[float]]:
    """Means of neighbours, so that a long run's steps fit a picture."""
    size = -(-len(x) // _MOST_POINTS) or 1
    parts = [slice(start, start + size) for start in range(0, len(x), size)]
    return [fmean(x[part]) for part in parts], [fmean(y[part]) for part in parts]
