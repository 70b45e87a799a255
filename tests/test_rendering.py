"""The pages in a real browser: nothing overflows, nothing is fetched, every word can be read.

A copy of each page gets a script that measures it and a policy that reports whatever it would fetch; both stand in
frames of a telephone's and of a desk's width.
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

from ham.bin import report, table
from tests.comparisons import PUBLISHED, write_lists, write_system

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next((found for name in NAMES if (found := shutil.which(name))), "")

pytestmark = pytest.mark.skipif(not BROWSER, reason=f"no browser on PATH: none of {', '.join(NAMES)}")

WIDTHS = (390, 1280)

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
  const texts = [], faint = [], hidden = [], clipped = [], tiny = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; node = walker.nextNode();) {
    const element = node.parentElement, text = node.data.trim();
    if (!text || element.closest('script, thead, caption, .none, .whole')) continue;
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


def measure(folder: Path, page: str) -> dict[int, dict[str, Any]]:
    """What the browser makes of a page at each of :data:`WIDTHS`, and what it wrote to its console."""
    head = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><script nonce="measure">{SCRIPT}</script>'
    copy = page.replace("<head>", f"<head>{head}", 1)
    frames = [f'<iframe width="{width}" height="900" srcdoc="{escape(copy)}"></iframe>' for width in WIDTHS]
    path = folder / "frames.html"
    path.write_text(f'<!DOCTYPE html><meta charset="utf-8"><body style="width:1400px">{"".join(frames)}</body>')
    command = [
        BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr",
        f"--user-data-dir={folder / 'profile'}", "--window-size=1500,2000", "--virtual-time-budget=10000", "--dump-dom",
        path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    found = [json.loads(unescape(text)) for text in re.findall(r'<pre class="measured">(.*?)</pre>', done.stdout)]
    console = re.findall(r"CONSOLE.*", done.stderr)
    assert len(found) == len(WIDTHS), done.stderr[-2000:]
    return {measured["width"]: {**measured, "console": console} for measured in found}


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with long names of many back-ends, and a table of three systems."""
    folder = tmp_path_factory.mktemp("pages")
    write_lists(folder)
    (folder / "published.yaml").write_text(PUBLISHED)
    backends = (
        "cosine", "cosine+crops", "cosine+mean", "cosine+mean+s_norm", "cosine+mean+as_norm", "cosine+mean+as_norm+llr",
        "hyperbolic", "hyperbolic+s_norm", "hyperbolic+as_norm", "hyperbolic+as_norm+llr",
    )  # fmt: skip
    experiments = [write_system(folder, name, 1, backends) for name in ("a", "b", "some_long_name_of_a_softmax")]
    report.main(["--exp_dir", str(experiments[2])])
    shutil.copy(experiments[2] / "report.html", folder)
    table.main([
        "--data_dir", f"{folder}/data", "--out", str(folder),
        "--systems", *(f"{path.name[:-1]}={path}" for path in experiments),
        "--backends", "published", "cosine", "cosine+mean+as_norm+llr",
        "--published", f"{folder}/published.yaml", "--published_config", "big",
    ])  # fmt: skip
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("report.html", ["cosine+", "actDCF:", "Detection error trade-off", "false alarms %", "EER threshold"]),
        ("table.html", ["1.048", "published protocol", "some_long_name_of_a_softmax", "How to read it", "misses %"]),
    ],
)
def test_page_on_a_telephone_and_on_a_desk(pages: Path, tmp_path: Path, name: str, words: list[str]) -> None:
    found = measure(tmp_path, (pages / name).read_text())
    assert sorted(found) == sorted(WIDTHS)
    for measured in found.values():
        for kind in ("overflow", "wrong", "fetched", "faint", "hidden", "clipped", "tiny", "console"):
            assert measured[kind] == [], f"{kind} at {measured['width']} pixels"
        text = " ".join(measured["texts"])
        assert [word for word in words if word not in text] == []


BAD = """<!DOCTYPE html><html><head><style>p{color:#ddd}i{visibility:hidden}</style></head>
<body><p>faint</p><i>hidden</i><div style="width:2000px">wide</div><small style="font-size:4px">tiny</small>
<img src="http://127.0.0.1:9/x.png"><svg width="20" height="20"><text>clipped by its picture</text></svg>
<script>alert(1)</script></body></html>"""


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    measured = measure(tmp_path, BAD)[390]
    assert measured["overflow"][0].startswith("HTML")
    assert "fetches http://127.0.0.1:9/x.png" in measured["wrong"]
    assert (measured["faint"], measured["hidden"], measured["tiny"]) == (["faint"], ["hidden"], ["tiny"])
    assert measured["clipped"] == ["clipped by its picture"]
    assert "inline script" in " ".join(measured["console"])
