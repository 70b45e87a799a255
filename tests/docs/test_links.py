"""Documents lead to each other: every relative link and anchor is there, and one page leads to all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PAGES = sorted([*TOP.glob("*.md"), *TOP.glob("docs/*.md"), *TOP.glob("egs/*.md"), *TOP.glob("egs/*/*.md")])
INDEX = TOP / "docs" / "README.md"


def prose(page: Path) -> str:
    """The text without code, in which nothing is a link."""
    text = re.sub(r"^(`{3,}).*?^\1", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^    .*$", "", text, flags=re.MULTILINE)


def links(page: Path) -> list[str]:
    text = prose(page)
    found = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'(?:src|href)="([^"]+)"', text)]
    return [link for link in found if "://" not in link]


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings: small letters, hyphens for blanks, no other punctuation; repeats are counted."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if name in found else name)
        found[name] = found.get(name, 0) + 1
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(TOP)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: no such file"
        assert not anchor or anchor in anchors(target), f"{link}: no such heading"


def test_one_page_leads_to_all_documents() -> None:
    reached = {(INDEX.parent / link).resolve() for link in links(INDEX)}
    assert [str(page.relative_to(TOP)) for page in PAGES if page not in {*reached, INDEX}] == []
    assert INDEX in {(TOP / link).resolve() for link in links(TOP / "README.md")}
    rows = re.findall(r"^\| (?!I want)\w.*$", INDEX.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert len(rows) == len(reached) - 1


def test_what_is_missing_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b`: c\n\n# A `b`: c\n\n[x](other.md#a) `code` [y](#a-b-c-1)\n\n    [no](link)\n")
    assert links(page) == ["other.md#a", "#a-b-c-1"]
    assert anchors(page) == {"a-b-c", "a-b-c-1"}
    with pytest.raises(AssertionError, match=r"other\.md#a: no such file"):
        test_links_lead_somewhere(page)
    (tmp_path / "other.md").write_text("# B\n")
    with pytest.raises(AssertionError, match=r"other\.md#a: no such heading"):
        test_links_lead_somewhere(page)
