"""HTML pages from the templates beside this module: one file each, without a script, fetching nothing."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from ham.report import figures
from ham.score.results import decimals

_COLOURS = {
    figures.INK: "ink",
    figures.MUTED: "muted",
    figures.RULE: "rule",
    figures.PAPER: "paper",
    **{colour: f"c{at}" for at, colour in enumerate(figures.SERIES)},
}
"""Colours of the pictures, and the page's variables that replace them."""


@dataclass(frozen=True)
class Figure:
    """A picture with its words.

    Attributes:
        svg: as :mod:`ham.report.figures` makes it.
        title: of the caption.
        description: the rest of the caption.
        spoken: what somebody who does not see the picture hears besides: what others see.
    """

    svg: bytes
    title: str
    description: str
    spoken: str = ""

    @property
    def label(self) -> str:
        """All that somebody hears who does not see the picture."""
        return f"{self.title}. {self.description} {self.spoken}".rstrip()


def render(template: str, **shown: Any) -> str:
    """Fill a template; whatever is no template is escaped.

    Args:
        template: name of a file in ``templates``.
        shown: what it shows; each template says by its placeholders what it needs.

    Returns:
        A complete HTML document.
    """
    next_prefix = map("p{}-".format, count(1)).__next__
    return _TEMPLATES.get_template(template).render(colours=_COLOURS, next_prefix=next_prefix, **shown)


def inline_svg(svg: bytes, prefix: str, label: str) -> Markup:
    """Fit a picture of :mod:`ham.report.figures` into a page.

    Its colours become the page's variables and so follow light and dark, its text takes the page's font, its ids get
    a prefix of their own, its width follows the page, and whatever names another server goes.

    Args:
        svg: the picture as matplotlib writes it.
        prefix: what to put before every id.
        label: what somebody who does not see it should hear.

    Returns:
        An ``<svg>`` element.
    """
    opening, _, rest = svg.decode().partition("<svg")[2].strip().partition(">")
    view = re.search(r'viewBox="[^"]*"', opening)
    rest = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", rest, flags=re.DOTALL)
    rest = re.sub(r'\bid="|href="#|url\(#', lambda match: match[0] + prefix, rest)
    rest = re.sub(r"font-family: [^;\"]*;? ?", "", rest)
    for colour, name in _COLOURS.items():
        rest = rest.replace(colour, f"var(--{name})")
    rest = re.sub(r"\s*\n\s*", "\n", rest)
    start = Markup('<svg {} role="img" aria-label="{}">').format(Markup(view[0] if view else ""), label)
    return start + Markup(rest)


def _parts(name: str) -> list[str]:
    """A name cut after each slash and plus, where a line may end."""
    return re.split(r"(?<=[/+])", name)


def _number_and_range(text: str) -> tuple[str, str]:
    """``1.98 [1.51, 2.41] (1.9 to 2.1)`` cut into the number and the rest; a line may end between brackets only."""
    number, _, rest = text.partition(" ") if "[" in text else (text, "", "")
    parts = re.findall(r"\[.*?\]|\(.*?\)|[^\s\[(][^\[(]*", rest)
    return number, " ".join(part.strip().replace(" ", "\N{NO-BREAK SPACE}") for part in parts)


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters.update(decimals=decimals, inline_svg=inline_svg, number_and_range=_number_and_range, parts=_parts)
