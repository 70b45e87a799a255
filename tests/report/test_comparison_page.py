"""The page of a comparison: well formed, self-contained, escaped, a text for every picture."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ham.bin import compare
from tests.comparisons import PUBLISHED, write_lists, write_system
from tests.report.test_experiment_page import Checker

EVIL = "<script>&"


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("systems")
    write_lists(folder)
    (folder / "published.yaml").write_text(PUBLISHED.replace("system: b", "system: am_softmax"))
    experiments = [write_system(folder, "a", seed, ("cosine", "hyperbolic")) for seed in (1, 2)]
    systems = [f"a={experiments[0]},{experiments[1]}", f"{EVIL}={write_system(folder, 'b', 1)}"]
    compare.main([
        "--data_dir", f"{folder}/data", "--out", f"{folder}/out", "--systems", *systems,
        "--backends", "cosine", "hyperbolic", "--title", EVIL,
        "--published", f"{folder}/published.yaml", "--published_config", "big",
    ])  # fmt: skip
    return Path(folder / "out/table.html").read_text()


def test_page_is_well_formed_self_contained_and_escaped(text: str) -> None:
    checker = Checker(text)
    assert checker.open == []
    assert not {tag for tag, _ in checker.elements} & {"script", "link", "img", "iframe", "object", "base"}
    assert "http" not in text
    assert not re.search(r"@import|src=|url\((?!#)", text)
    # title, heading, row heads of three tables, legends of 2 DET, 2 lines; 2 forests; 2 histograms; experiments
    assert checker.text.count(EVIL) >= 12


def test_every_section_is_there(text: str) -> None:
    assert re.findall(r"<h2>(.*?)</h2>", text) == [
        "Results: cosine", "Results: hyperbolic", "How to read it", "Equal error rates", "Detection error trade-off",
        "Score distributions", "Training", "Experiments", "Commands",
    ]  # fmt: skip


def test_every_picture_has_a_text_and_every_id_is_there_once(text: str) -> None:
    elements = Checker(text).elements
    pictures = [attrs["aria-label"] or "" for tag, attrs in elements if tag == "svg"]
    # 2 lists by 2 back-ends twice, 2 lists of 2 systems, loss and validation EER
    assert len(pictures) == 4 + 4 + 4 + 2
    assert all(len(label) > 15 for label in pictures)
    assert "published 1.048" in pictures[0]
    ids = [attrs["id"] for _, attrs in elements if "id" in attrs]
    assert len(ids) == len(set(ids))


def test_what_is_not_drawn_is_said(text: str) -> None:
    assert "Not drawn: hyperbolic." in text
    assert "First training of each system" in text
