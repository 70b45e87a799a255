"""What the pages share: the style sheet, the frame of a document, figures. No script and no external resource."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from types import MappingProxyType

from ham.report import figures as plots

_DARK_SERIES = (
    "#56a8e0", "#f28c4d", "#35c49a", "#e09cc2", "#f2b53a", "#8accf2",
    "#a393e8", "#dd7fae", "#c3c35e", "#c49a74", "#6fbf73", "#a8a8a8",
)  # fmt: skip
"""The same hues, light enough for a dark ground."""

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

NONE: Mapping[str, str] = MappingProxyType({})

_CSS = f"""
:root{{color-scheme:light dark;{_LIGHT};--tint:#f3f4f4}}
@media screen and (prefers-color-scheme:dark){{:root{{{_DARK};--tint:#1e2125}}}}
*{{box-sizing:border-box}}
html{{-webkit-text-size-adjust:100%}}
body{{margin:0 auto;padding:2.5rem 1.25rem 4rem;max-width:69rem;background:var(--paper);color:var(--ink);
 font:1rem/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}}
header{{border-bottom:2px solid var(--ink);padding-bottom:1rem;margin-bottom:2rem}}
h1{{font-size:1.75rem;line-height:1.2;margin:0;overflow-wrap:anywhere}}
a{{color:inherit}}
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
thead .n{{white-space:normal}}
.range{{color:var(--muted)}}
.scroll{{overflow-x:auto}}
tbody th,tbody td{{vertical-align:baseline}}
.many th,.many td{{padding-right:.55rem;font-size:.85rem}}
.many tbody th{{min-width:6.5rem}}
.stacked .range{{display:block;font-size:.8em;line-height:1.35;white-space:normal}}
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
.small{{grid-template-columns:repeat(auto-fit,minmax(min(100%,9.5rem),1fr));gap:1rem 1.25rem}}
figure{{margin:0;min-width:0;max-width:28rem;break-inside:avoid;display:flex;flex-direction:column;justify-content:space-between}}
figcaption{{font-size:.875rem;margin-bottom:.35rem;overflow-wrap:anywhere}}
figcaption span{{display:block;color:var(--muted)}}
svg{{display:block;width:100%;height:auto;font-family:inherit}}
svg *{{stroke-linejoin:round;stroke-linecap:butt}}
@media screen and (min-width:56.01rem){{.many .whole{{display:none}}}}
@media screen and (min-width:56.01rem) and (max-width:68rem){{.whole{{display:none}}}}
@media screen and (max-width:56rem){{
 body{{padding:1.5rem 1rem 3rem}}
 h1{{font-size:1.45rem}}
 thead{{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}}
 table,tbody{{display:block}}
 tbody tr{{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));column-gap:1.75rem;padding:.7rem 0;
  border-top:1px solid var(--muted)}}
 tbody th,.wide,.whole{{grid-column:1/-1}}
 tr.first>*{{border-top:0}}
 tbody th,tbody td{{border:0;padding:.1rem 0}}
 td{{display:flex;justify-content:space-between;gap:1rem}}
 td::before{{content:attr(data-head);color:var(--muted);min-width:0;overflow-wrap:anywhere}}
 td.whole::before{{content:none}}
 .none,.many .whole{{display:none}}
 dl{{grid-template-columns:1fr;gap:0}}
 dd{{margin-bottom:.6rem}}
}}
@media print{{
 :root{{color-scheme:light;--paper:#fff}}
 body{{max-width:none;padding:0;font-size:9.5pt}}
 h2,h3{{break-after:avoid}}
 tr,pre{{break-inside:avoid}}
 .whole{{display:none}}
 th,td,tbody th{{font-size:8.5pt}}
 .grid{{grid-template-columns:1fr 1fr}}
 .small{{grid-template-columns:repeat(4,1fr)}}
 .many th,.many td,.many tbody th{{font-size:7pt;padding-right:.3rem;min-width:0}}
 .scroll{{overflow-x:visible}}
 *{{print-color-adjust:exact;-webkit-print-color-adjust:exact}}
}}
"""


def document(
    title: str, subtitle: str, sections: Mapping[str, str], *, links: Mapping[str, str] = NONE, style: str = ""
) -> str:
    """A complete page.

    Args:
        title: plain text; the heading, and with what the page is about the window's title.
        subtitle: plain text below the heading.
        sections: heading to content, which is HTML; an empty one is left out.
        links: address to text of further pages.
        style: rules of this page alone, after the common ones.

    Returns:
        The HTML document.
    """
    content = "".join(
        f"<section><h2>{escape(name)}</h2>\n{body}\n</section>\n" for name, body in sections.items() if body
    )
    anchors = [f'<a href="{escape(address)}">{escape(text)}</a>' for address, text in links.items()]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}: speaker verification</title>\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<style>{_CSS}{style}</style>\n</head>\n<body>\n'
        f"<header><h1>{escape(title)}</h1><p>{'. '.join([escape(subtitle), *anchors])}</p></header>\n<main>\n"
        f"{content}</main>\n</body>\n</html>\n"
    )


def preformatted(text: str, label: str) -> str:
    """A command or a file as it stands.

    Args:
        text: plain text.
        label: what it is, for somebody who does not see it.

    Returns:
        An element; nothing for empty text.
    """
    return f'<pre aria-label="{escape(label)}">{escape(text.strip())}</pre>' if text.strip() else ""


def notes_list(notes: Sequence[str]) -> str:
    """Sentences in small print.

    Args:
        notes: plain text.

    Returns:
        A list; nothing if there are no notes.
    """
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{items}</ul>' if items else ""


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and what they stand for.

    Args:
        pairs: a name in plain text, and its content, which is HTML.

    Returns:
        A description list.
    """
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{content}</dd>" for name, content in pairs) + "</dl>"


def table(caption: str, head: Sequence[str], rows: Iterable[str], *, num_left: int = 1, stacked: bool = False) -> str:
    """A table that becomes cards on a telephone.

    Args:
        caption: plain text for somebody who does not see it.
        head: plain text of the column heads; one that is empty stands over a drawing, which narrow pages leave out.
        rows: ``<tr>`` elements, such as :func:`row` makes.
        num_left: number of columns set to the left, the first ones; numbers go to the right.
        stacked: whether intervals stand below their numbers.

    Returns:
        The element.
    """
    heads = "".join(_head(name, "n" if at >= num_left else "") for at, name in enumerate(head))
    kind = " ".join(["many"] * (len(head) > 9) + ["stacked"] * stacked)
    return (
        f'<div class="scroll"><table role="table" class="{kind}"><caption hidden>{escape(caption)}</caption>'
        f'<thead role="rowgroup"><tr role="row">{heads}</tr></thead>'
        f'<tbody role="rowgroup">{"".join(rows)}</tbody></table></div>'
    )


def _head(name: str, kind: str) -> str:
    text = escape(name).replace("/", "/<wbr>")
    return f'<th scope="col" class="{kind if name else "whole"}">{text}</th>'


def row(name: str, cells: Iterable[str], kind: str = "") -> str:
    """A row of :func:`table`.

    Args:
        name: HTML of its head.
        cells: ``<td>`` elements, such as :func:`cell` makes.
        kind: its class.

    Returns:
        The element.
    """
    return f'<tr role="row" class="{kind}"><th scope="row" role="rowheader">{name}</th>{"".join(cells)}</tr>'


def cell(head: str, content: str, kind: str = "n") -> str:
    """A cell that names its column where the head is not shown.

    Args:
        head: plain text of the column's head.
        content: HTML.
        kind: its class; ``n`` for a number.

    Returns:
        The element.
    """
    return f'<td role="cell" class="{kind}" data-head="{escape(head)}">{content}</td>'


def breakable(name: str, after: str = "/") -> str:
    """A name that breaks after its slashes and, only where a part is wider than the column, inside.

    Args:
        name: plain text.
        after: what it breaks after instead, such as the ``+`` of a back-end.

    Returns:
        HTML.
    """
    *parts, last = name.split(after)
    return "<wbr>".join(f'<span class="part">{escape(part)}</span>' for part in [*(p + after for p in parts), last])


def ranged(text: str) -> str:
    """A number with its interval and spread in a second colour; a line ends between the two, not within one.

    Args:
        text: plain text, the number first, ``1.98 [1.51, 2.41]``.

    Returns:
        HTML.
    """
    value, space, rest = text.partition(" ") if "[" in text else (text, "", "")
    parts = [part.replace(" ", "\N{NO-BREAK SPACE}") for part in re.findall(r"\[.*?\]|\(.*?\)|[^\s\[(][^\[(]*", rest)]
    rest = f'{space}<span class="range">{escape(" ".join(part.strip() for part in parts))}</span>' if rest else ""
    return f"<span>{escape(value)}{rest}</span>"


class Figures:
    """Makes the figures of one page; each picture's ids get their own prefix."""

    def __init__(self) -> None:
        self._number = 0

    def figure(self, svg: bytes, title: str, description: str, spoken: str = "") -> str:
        """A picture with its caption.

        Args:
            svg: as :mod:`ham.report.figures` makes it.
            title: plain text.
            description: plain text; with the title also what somebody who does not see the picture hears.
            spoken: plain text that they hear besides: what others see.

        Returns:
            An element.
        """
        self._number += 1
        picture = inline_svg(svg.decode(), f"p{self._number}-", f"{title}. {description} {spoken}".rstrip())
        caption = f"<strong>{escape(title)}</strong><span>{escape(description)}</span>"
        return f"<figure><figcaption>{caption}</figcaption>{picture}</figure>"


def grid(figures: Iterable[str], kind: str = "") -> str:
    """Figures side by side as far as the page is wide.

    Args:
        figures: elements.
        kind: ``pairs`` for wider ones, ``small`` for small ones.

    Returns:
        An element; nothing without figures.
    """
    joined = "\n".join(figures)
    return f'<div class="grid {kind}">{joined}</div>' if joined else ""


def inline_svg(svg: str, prefix: str, description: str) -> str:
    """Fit a picture of :mod:`ham.report.figures` into an HTML page.

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
