"""A page as a real browser lays it out: what overflows, what cannot be read, what it asks other places for.

A copy of the page gets a script that measures it and a policy that reports whatever it would fetch; it stands in
frames of a telephone's, a tablet's and a desk's width.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

WIDTHS = (360, 390, 768, 1280)

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'nonce-measure'"

SCRIPT = """
const wrong = [];
addEventListener('error', event => wrong.push(String(event.message || event.target)), true);
addEventListener('securitypolicyviolation', event => wrong.push('fetches ' + event.blockedURI));
const channels = colour => colour.match(/[\\d.]+/g).map(Number);
const luminance = colour => {
  const [r, g, b] = channels(colour).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = element => {
  for (let at = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (!/, 0\\)$/.test(colour)) return colour;
  }
  return 'rgb(255, 255, 255)';
};
const contrast = element => {
  const style = getComputedStyle(element);
  const pair = [luminance(element.closest('svg') ? style.fill : style.color), luminance(ground(element))];
  return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
};
addEventListener('load', () => {
  document.querySelectorAll('details').forEach(details => details.open = true);
  const texts = [], faint = [], hidden = [], clipped = [], tiny = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = walker.nextNode();) {
    const element = node.parentElement, text = node.data.trim();
    if (!text || element.closest('script, thead, caption, .none, .drawing')) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const box = range.getBoundingClientRect();
    const shown = box.width >= 1 && box.height >= 1 && getComputedStyle(element).visibility === 'visible';
    (shown ? texts : hidden).push(text);
    if (!shown) continue;
    if (contrast(element) < 4.5) faint.push(text);
    const picture = element.closest('svg')?.getBoundingClientRect();
    if (picture && (box.left < picture.left - 2 || box.right > picture.right + 2)) clipped.push(text);
    if (box.height < 7) tiny.push(text);
  }
  const root = document.documentElement;
  const boxes = [root, ...document.querySelectorAll('.scroll, td, figure, pre')];
  const overflow = boxes.filter(box => box.scrollWidth > box.clientWidth + 1 && box.clientWidth > 0)
    .map(box => box.tagName + ' ' + box.textContent.trim().slice(0, 40));
  const fetched = performance.getEntriesByType('resource').map(entry => entry.name);
  const found = {width: innerWidth, overflow, wrong, fetched, texts, faint, hidden, clipped, tiny};
  const place = parent.document.createElement('pre');
  place.className = 'measured';
  place.textContent = JSON.stringify(found);
  parent.document.body.append(place);
});
"""


def find_browser() -> str:
    """Path of a browser; without one the test is skipped, saying why."""
    found = next((path for path in map(shutil.which, NAMES) if path), None)
    if found is None:
        pytest.skip(f"no browser on PATH: none of {', '.join(NAMES)}")
    return found


def measure(folder: Path, page: str, *, dark: bool = False) -> dict[int, dict[str, Any]]:
    """What the browser makes of a page at each of :data:`WIDTHS`, and what it wrote to its console.

    Args:
        folder: an empty one for the browser's own files.
        page: a complete HTML document.
        dark: whether the reader prefers dark pages.

    Returns:
        Width in CSS pixels to the lists that the script makes.
    """
    head = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><script nonce="measure">{SCRIPT}</script>'
    copy = page.replace("<head>", f"<head>{head}", 1)
    frames = [f'<iframe width="{width}" height="900" srcdoc="{escape(copy)}"></iframe>' for width in WIDTHS]
    path = folder / "frames.html"
    path.write_text(f'<!DOCTYPE html><meta charset="utf-8"><body style="width:1400px">{"".join(frames)}</body>')
    command = [
        find_browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--disable-background-networking", "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}",
        "--window-size=1500,2000", "--virtual-time-budget=10000", "--dump-dom",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    found = [json.loads(unescape(text)) for text in re.findall(r'<pre class="measured">(.*?)</pre>', done.stdout)]
    console = re.findall(r"CONSOLE.*", done.stderr)
    assert len(found) == len(WIDTHS), done.stderr[-2000:]
    return {measured["width"]: {**measured, "console": console} for measured in found}
