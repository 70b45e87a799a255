"""A page as a real browser lays it out: how wide it gets at a width, and what it asks other places for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@dataclass(frozen=True)
class Layout:
    """Widths in CSS pixels, and the addresses that the page fetched."""

    width: int
    content_width: int
    fetched: list[str]
    shown: list[str]


def find_browser() -> str:
    """Path of a browser; without one the test is skipped, saying why."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip(f"no browser installed (one of {', '.join(NAMES)})")
    return found


def lay_out(page: str, width: int, folder: Path) -> Layout:
    """Show a page in a frame of a width, in a browser without a window, and read what the browser made of it.

    Args:
        page: a complete HTML document.
        width: of the frame, in CSS pixels.
        folder: an empty one for the browser's own files.

    Returns:
        The layout.
    """
    measure = (
        "const w=this.contentWindow,d=w.document;"
        "const out={width:w.innerWidth,content_width:d.documentElement.scrollWidth,"
        "fetched:w.performance.getEntriesByType('resource').map(e=>e.name),"
        "shown:[...d.querySelectorAll('svg')].filter(s=>s.getBoundingClientRect().width>100).map(s=>s.id||'svg')};"
        "document.querySelector('pre').textContent=JSON.stringify(out)"
    )
    frame = f'<iframe style="width:{width}px;height:900px;border:0" srcdoc="{escape(page)}" onload="{escape(measure)}">'
    (folder / "frame.html").write_text(f"<!DOCTYPE html><pre></pre>{frame}</iframe>", encoding="utf-8")
    command = [find_browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--window-size=1400,1000", f"--user-data-dir={folder / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, (folder / "frame.html").as_uri()], capture_output=True, text=True, timeout=60, check=True
    )
    found = re.search(r"<pre>(.*?)</pre>", done.stdout, re.DOTALL)
    assert found, done.stdout[:500]
    return Layout(**json.loads(unescape(found[1])))
