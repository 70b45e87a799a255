"""The pages in a real browser: nothing overflows, nothing is fetched, every word can be read."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ham.bin import compare, report
from ham.report import geometry_page
from tests.analysis.test_picture import LABELS, whole
from tests.browser import WIDTHS, measure
from tests.comparisons import PUBLISHED, write_lists, write_system


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An experiment with long names of many back-ends, a table of three systems, and the geometry of one."""
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
    compare.main([
        "--data_dir", f"{folder}/data", "--out", str(folder),
        "--systems", *(f"{path.name[:-1]}={path}" for path in experiments),
        "--backends", "published", "cosine", "cosine+mean+as_norm+llr",
        "--published", f"{folder}/published.yaml", "--published_config", "big",
    ])  # fmt: skip
    (folder / "geometry.html").write_text(geometry_page.render(whole(LABELS)))
    return folder


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("report.html", ["cosine+", "actDCF:", "Detection error trade-off", "false alarms %", "EER threshold"]),
        ("table.html", ["1.048", "published protocol", "some_long_name_of_a_softmax", "How to read it", "misses %"]),
        ("geometry.html", ["whole disk", "Gaussian points", "origin of the ball", "none added"]),
    ],
)
@pytest.mark.parametrize("dark", [False, True])
def test_page_on_a_telephone_and_on_a_desk(
    pages: Path, tmp_path: Path, name: str, words: list[str], dark: bool
) -> None:
    found = measure(tmp_path, (pages / name).read_text(), dark=dark)
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
