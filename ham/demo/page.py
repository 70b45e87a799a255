"""The files of the demo's page, by the path at which the browser asks for them."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ham.demo.answers import LONGEST_S
from ham.demo.server import MOST_BYTES, Content
from ham.model.encoder import SpeakerEncoder
from ham.score.decisions import DEFAULT_POINT

FOLDER = Path(__file__).with_name("page")

POINTS = {
    "eer": "as many wrongly refused as wrongly accepted",
    "min_dcf_p05": "least cost where 5 of 100 comparisons are of one speaker",
    "min_dcf_p01": "least cost where 1 of 100 comparisons is of one speaker",
    "far_1": "1 of 100 strangers accepted",
    "far_0_1": "1 of 1,000 strangers accepted",
    "far_0_01": "1 of 10,000 strangers accepted",
}
"""What the operating points of :mod:`ham.score.decisions` are, in words."""


def render(encoder: SpeakerEncoder, keeps: str) -> dict[str, Content]:
    """Make the page of a model.

    Args:
        encoder: the model.
        keeps: where the embeddings of enrolled speakers are, and for how long, in words.

    Returns:
        The page ``/``, its style and its script.
    """
    measured = encoder.decisions.points if encoder.decisions else ()
    points = [one for one in measured if one.threshold is not None]
    templates = Environment(loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined)
    shown = {
        "model": encoder.folder.resolve().name,
        "architecture": f"{encoder.config.backbone.name}, trained with {encoder.config.loss.name}",
        "keeps": keeps,
        "points": [(one.name, POINTS[one.name]) for one in points],
        "default_point": DEFAULT_POINT,
        "whose": encoder.decisions.whose if encoder.decisions else "",
        "most_bytes": MOST_BYTES,
        "longest_minutes": round(LONGEST_S / 60),
    }
    page = templates.get_template("page.html").render(shown)
    return {
        "/": Content("text/html; charset=utf-8", page.encode()),
        "/style.css": Content("text/css; charset=utf-8", (FOLDER / "style.css").read_bytes()),
        "/script.js": Content("text/javascript; charset=utf-8", (FOLDER / "script.js").read_bytes()),
    }
