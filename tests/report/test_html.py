"""What the pages share: pictures that follow the page, nothing unescaped, tables that name their columns."""

from __future__ import annotations

import ast
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from ham.report import figures, html
from ham.report.experiment_page import Whisker
from tests.report.test_experiment_page import Checker

EVIL = '<b a="1">&'
SAFE = "&lt;b a=&#34;1&#34;&gt;&amp;"


def a_picture() -> bytes:
    series = [figures.Line("a", [1, 2], [1, 2]), figures.Line("b", [1, 2], [2, 1])]
    return figures.lines(series, "epoch", "loss")


def page(**shown: Any) -> str:
    """The page of an experiment, with these things on it."""
    lists = dict.fromkeys(("links", "remarks", "decisions", "facts", "det_curves", "histograms", "not_drawn"), ())
    texts = dict.fromkeys(("title", "subtitle", "command", "config"), "x")
    nothing = {"results": ([], []), "training": ([], []), "diagnostics": ([], []), **lists, **texts}
    return html.render("experiment.html", **{**nothing, **shown})


def results(head: list[str], *rows: list[Any]) -> str:
    """The table of results as it stands in the page."""
    text = page(results=(head, rows))
    return text[text.index("<table") : text.index("</table>")]


def test_inline_svg_follows_the_page() -> None:
    found = html.inline_svg(a_picture(), "p1-", 'a "b"')
    assert found.startswith('<svg viewBox="0 0 ')
    assert 'aria-label="a &#34;b&#34;"' in found
    assert not re.search(r"#[0-9a-f]{6}\b", found)
    assert {"var(--ink)", "var(--c0)", "var(--c1)"} <= set(re.findall(r"var\(--\w+\)", found))
    assert "font-family" not in found
    assert "<style" not in found


def test_text_is_escaped_everywhere() -> None:
    picture = html.Figure(a_picture(), EVIL, EVIL, EVIL)
    text = page(
        title=EVIL, subtitle=EVIL, links=[(EVIL, EVIL)], results=([EVIL] * 3, [[EVIL] * 3]), remarks=[EVIL],
        facts=[(EVIL, EVIL)], command=EVIL, det_curves=[picture], not_drawn=[EVIL], config=EVIL,
    )  # fmt: skip
    assert "<b " not in text
    # title twice, subtitle, address and text, 3 heads, 3 cells, 2 columns named in cells, remark, fact twice, command,
    # caption twice and label three times, what is not drawn, configuration
    assert text.count(SAFE) == 24


def test_a_page_that_lacks_something_is_not_made() -> None:
    with pytest.raises(UndefinedError, match="title"):
        html.render("experiment.html")


def test_empty_content_leaves_no_section() -> None:
    assert re.findall("<h2>(.*?)</h2>", page()) == ["Results", "System", "Configuration"]
    assert "Configuration" not in page(config=" ")


def test_a_table_names_each_column_in_its_cells() -> None:
    text = results(["system", "back-end", "", "EER"], ["a", "cosine", Whisker(10, 20, 15), "1"], ["b", "x", None, "-"])
    cells = [attrs for tag, attrs in Checker(text + "</table>").elements if tag in ("th", "td")]
    assert [attrs.get("scope") for attrs in cells] == ["col"] * 4 + ["row", None, None, None] * 2
    assert [attrs.get("data-head") for attrs in cells[5:8]] == ["back-end", None, "EER"]
    assert [attrs.get("class") for attrs in cells[9:]] == [None, "drawing", "n none"]
    assert text.count('class="drawing"') == 3
    assert 'style="left:10.0%;width:20.0%"' in text
    assert text.count("whisker") == 1


def test_rows_of_another_list_are_set_apart() -> None:
    text = results(["list", "back-end"], ["a", "x"], ["a", "y"], ["b", "x"])
    rows = [attrs.get("class") for tag, attrs in Checker(text + "</table>").elements if tag == "tr"]
    assert rows == [None, None, None, "first"]


def test_an_interval_stays_on_one_line() -> None:
    def cell(text: str) -> str:
        found = results(["a", "b", "c"], ["", "", text]).replace("\N{NO-BREAK SPACE}", "_")
        return found[found.index('data-head="c"><span>') + 20 : found.rindex("</span></td>")]

    assert cell("1.98 [1.51, 2.41] (1.9 to 2.1)") == '1.98 <span class="range">[1.51,_2.41] (1.9_to_2.1)</span>'
    assert "[+0.1,_0.7] 2_%" in cell("+0.4 [+0.1, 0.7] 2 %")
    assert cell("0.2 / 0.1") == "0.2 / 0.1"


def test_a_long_name_breaks_between_its_parts() -> None:
    text = results(["a"], ["mini/cosine+llr"])
    parts = re.findall(r'<span class="part">(.*?)</span>', text[text.index("<tbody") :])
    assert parts == ["mini/", "cosine+", "llr"]
    assert text.count("</span><wbr><span") == 2


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.1."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_can_be_told_from_the_ground_in_light_and_dark() -> None:
    light, dark = re.findall(r":root \{([^}]*--ink[^}]*)\}", page())
    for block in (light, dark):
        colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
        ground = luminance(colours["paper"])
        for name, least in [("ink", 7.0), ("muted", 4.5), *((f"c{at}", 1.9) for at in range(len(figures.SERIES)))]:
            low, high = sorted((ground, luminance(colours[name])))
            assert (high + 0.05) / (low + 0.05) >= least, name


def test_an_installed_package_has_the_templates() -> None:
    repository = Path(__file__).parents[2]
    listed = re.search(r'^"ham\.report" = (.*)$', (repository / "pyproject.toml").read_text(), re.MULTILINE)
    assert listed
    patterns = ast.literal_eval(listed[1])
    others = [path for path in (repository / "ham/report").rglob("*") if path.suffix in (".html", ".css")]
    assert len(others) >= 5
    for path in others:
        assert any(fnmatch(str(path.relative_to(repository / "ham/report")), pattern) for pattern in patterns), path
