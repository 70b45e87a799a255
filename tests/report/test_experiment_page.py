"""The HTML page: well formed, self-contained, escaped, with a text for every picture."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from ham.report import experiment_page
from ham.report.experiment import Experiment
from ham.report.history import History
from ham.report.wording import SAME_RANKING
from ham.score.curves import summarise_scores
from ham.score.results import ListResult, Results

EVIL = '<script>alert("1")</script>&'
VOID = {"meta", "wbr", "link", "br", "img", "input", "hr"}


class Checker(HTMLParser):
    """Collects elements and text as a browser joins it, and whether every element is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        self.text = re.sub(r"[ \n]+", " ", self.text)  # not the spaces that do not break

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def experiment() -> Experiment:
    labels = np.arange(400) % 2
    scores = np.random.default_rng(0).normal(size=400) + 3 * labels
    names = [("mini/all", "cosine"), ("mini/all", "hyperbolic"), (f"mini/{EVIL}", "cosine")]
    epochs = [
        {
            "epoch": e,
            "step": 10 * e,
            "loss": 5.0 / e,
            "valid_eer": 0.1 / e,
            "lr": 1e-3 / e,
            "diag/r/a": e,
            "diag/r/b": 2.0,
        }
        for e in (1, 2, 3)
    ]
    steps = [{"epoch": 1 + s // 10, "step": s, "loss": 5.0, "crops_per_s": 100.0} for s in range(1, 30)]
    return Experiment(
        results=Results(
            EVIL,
            1,
            None,
            {"ham": EVIL},
            EVIL,
            tuple(ListResult(*n, 200, 200, 0.07, 0.05, 0.09, 0.5, 0.4) for n in names),
        ),
        curves=tuple(summarise_scores(*name, scores, labels) for name in names),
        history=History(tuple(steps), tuple(epochs)),
        config={"loss": {"name": EVIL}},
        config_text=f"loss: {EVIL}",
        hardware=EVIL,
    )


def test_page_is_well_formed_and_self_contained(experiment: Experiment) -> None:
    text = experiment_page.render(experiment)
    checker = Checker(text)
    assert checker.open == []
    tags = {tag for tag, _ in checker.elements}
    assert not tags & {"script", "link", "img", "iframe", "object", "base"}
    assert "http" not in text
    assert not re.search(r"@import|src=|url\((?!#)", text)
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in checker.elements
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text


def test_whatever_came_from_outside_is_escaped(experiment: Experiment) -> None:
    text = experiment_page.render(experiment)
    assert "<script" not in text
    # name twice (title, heading), loss twice, versions, hardware, command, configuration, list in table and figures
    assert Checker(text).text.count(EVIL) >= 9


def test_every_picture_has_a_text_and_every_id_is_there_once(experiment: Experiment) -> None:
    elements = Checker(experiment_page.render(experiment)).elements
    pictures = [attrs for tag, attrs in elements if tag == "svg"]
    # 2 lists, 2 distributions, loss, validation EER, learning rate, 1 group of diagnostics; the speed never changed
    assert len(pictures) == 8
    assert sum(tag == "figcaption" for tag, _ in elements) == 8
    for attrs in pictures:
        assert attrs["role"] == "img"
        assert len(attrs["aria-label"] or "") > 15
    ids = [attrs["id"] for _, attrs in elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in elements:
        for value in attrs.values():
            for target in re.findall(r"url\(#([^)]+)\)", value or "") + re.findall(r"^#(.+)", value or ""):
                assert target in ids


def test_table_shows_every_number(experiment: Experiment) -> None:
    text = Checker(experiment_page.render(experiment)).text.replace("\N{NO-BREAK SPACE}", " ")
    assert text.count("7.00 [5.00, 9.00]") == 2
    assert text.count("0.500") == 2


def test_back_ends_that_rank_alike_share_a_row_a_line_and_a_reason(experiment: Experiment) -> None:
    text = Checker(experiment_page.render(experiment)).text
    assert SAME_RANKING in text
    assert "EER (circle): cosine, hyperbolic 7.00 %" in text
    assert "not drawn" not in text
    first, second, third = experiment.results.results
    apart = replace(experiment.results, results=(first, replace(second, eer=0.08), third))
    text = Checker(experiment_page.render(replace(experiment, results=apart))).text
    assert SAME_RANKING not in text
    assert "EER (circle): cosine 7.00 %, hyperbolic 8.00 %" in text


def test_every_section_says_what_to_look_for(experiment: Experiment) -> None:
    page = experiment_page.render(experiment)
    assert page.count("<h2>") == page.count('<p class="lead">') == len(re.findall(r'</h2>\n<p class="lead">', page))


def test_sections_without_content_are_left_out(experiment: Experiment) -> None:
    bare = Checker(experiment_page.render(replace(experiment, curves=(), history=History(), config={}, config_text="")))
    assert [tag for tag, _ in bare.elements].count("h2") == 2
    assert "Training" not in bare.text


def test_only_the_first_and_the_calibrated_back_ends_get_a_histogram(experiment: Experiment) -> None:
    curve = experiment.curves[0]
    names = ["cosine", "cosine+mean", "cosine+llr", "hyperbolic", "fusion"]
    text = Checker(
        experiment_page.render(replace(experiment, curves=tuple(replace(curve, backend=n) for n in names)))
    ).text
    assert [f"mini/all, {name}" in text for name in names] == [True, False, True, False, True]
    assert "not drawn: cosine+mean." in text


def test_actual_costs_are_explained_where_they_are_shown(experiment: Experiment) -> None:
    assert "actDCF" not in experiment_page.render(experiment)
    entry = replace(experiment.results.results[0], backend="cosine+llr", act_dcf_p01=0.6, cllr=0.25, min_cllr=0.2)
    shown = Checker(
        experiment_page.render(replace(experiment, results=replace(experiment.results, results=(entry,))))
    ).text
    assert all(word in shown for word in ("actDCF 0.01", "0.600", "0.250", "Cllr:", "+llr: calibrated"))
