"""What the pages share: pictures that follow the page, nothing unescaped."""

from __future__ import annotations

import re

from ham.report import figures, html

EVIL = '<b a="1">&'
SAFE = "&lt;b a=&quot;1&quot;&gt;&amp;"


def test_inline_svg_follows_the_page() -> None:
    svg = figures.lines(
        [figures.Line("a", [1, 2], [1, 2]), figures.Line("b", [1, 2], [2, 1])], "epoch", "loss"
    ).decode()
    found = html.inline_svg(svg, "p1-", 'a "b"')
    assert found.startswith('<svg viewBox="0 0 ')
    assert 'aria-label="a &quot;b&quot;"' in found
    assert not re.search(r"#[0-9a-f]{6}\b", found)
    assert {"var(--ink)", "var(--c0)", "var(--c1)"} <= set(re.findall(r"var\(--\w+\)", found))
    assert "font-family" not in found
    assert "<style" not in found


def test_text_is_escaped_everywhere() -> None:
    svg = figures.lines([figures.Line("a", [1, 2], [1, 2])], "epoch", "loss")
    parts = [
        html.document(EVIL, EVIL, {EVIL: "x"}),
        html.preformatted(EVIL, EVIL),
        html.notes_list([EVIL]),
        html.definitions([(EVIL, "x")]),
        html.table(EVIL, [EVIL], []),
        html.cell(EVIL, "x"),
        html.breakable(EVIL),
        html.ranged(EVIL),
        html.Figures().figure(svg, EVIL, EVIL),
    ]
    for part in parts:
        assert EVIL not in part
        assert "<b " not in part
    assert SAFE in parts[0]


def test_empty_content_leaves_nothing() -> None:
    assert html.document("a", "b", {"c": ""}).count("<h2>") == 0
    assert [html.preformatted(" ", "a"), html.notes_list([]), html.grid([])] == ["", "", ""]


def test_a_table_names_each_column_in_its_cells() -> None:
    text = html.table("t", ["system", "", "EER"], [html.row("a", [html.cell("EER", "1")])])
    assert text.count("<th ") == 4
    assert '<th scope="col" class="whole"></th>' in text
    assert 'data-head="EER">1</td>' in text


def test_an_interval_stays_on_one_line() -> None:
    found = html.ranged("1.98 [1.51, 2.41] (1.9 to 2.1)").replace("\N{NO-BREAK SPACE}", "_")
    assert found == '<span>1.98 <span class="range">[1.51,_2.41] (1.9_to_2.1)</span></span>'
    assert "[+0.1,_0.7] 2_%" in html.ranged("+0.4 [+0.1, 0.7] 2 %").replace("\N{NO-BREAK SPACE}", "_")
    assert html.ranged("0.2 / 0.1") == "<span>0.2 / 0.1</span>"


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.1."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_can_be_told_from_the_ground_in_light_and_dark() -> None:
    blocks = re.findall(r":root\{(color-scheme:[^}]*|--ink[^}]*)\}", html.document("a", "b", {}))
    for block in blocks[:2]:
        colours = dict(re.findall(r"--(\w+):(#[0-9a-f]{6})", block))
        ground = luminance(colours["paper"])
        for name, least in [("ink", 7.0), ("muted", 4.5), *((f"c{at}", 1.9) for at in range(len(figures.SERIES)))]:
            low, high = sorted((ground, luminance(colours[name])))
            assert (high + 0.05) / (low + 0.05) >= least, name
