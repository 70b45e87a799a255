"""What is printed of thresholds and durations."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ham.report.decision_tables import POINTS, decision_tables
from ham.report.experiment import Experiment, markdown
from ham.report.experiment_page import render
from ham.score import thresholds
from ham.score.decisions import Decisions, OperatingPoint
from ham.score.results import DurationRates, ListRates, ListResult, Results
from ham.score.retrieval import ListRetrieval


@pytest.fixture
def results() -> Results:
    points = (
        OperatingPoint("eer", 0.5508, 0.4962, 0.6054, 0.0038, 0.0034, "a rough guide: 2 misses and 41 false alarms"),
        OperatingPoint("far_1", None, None, None, None, None, "needs 25 speakers, who make 300 pairs"),
    )
    cosine = Decisions("cosine", 43.0, -24.21, points, "16 speakers kept aside", 16, 523, 12_000)
    return Results(
        "run", 1, None, {}, "./run.sh", (ListResult("mini/all", "cosine", 9, 9, 0.0152, 0.008, 0.0383, 0.1, 0.1),),
        decisions={"cosine": cosine},
        at_thresholds=(ListRates("mini/all", "cosine", "eer", 0.0152, 0.0582),),
        durations=(
            DurationRates("mini/all", 1.5, 576, 7, 0.047, 0.038, 0.0594, 0.2161, 0.006),
            DurationRates("mini/all", None, 576, 0, 0.0152, 0.008, 0.0383),
        ),
        retrieval=(
            ListRetrieval("mini/all", "cosine", 1234, 9, 1000, 990, 0.9, 0.85, 0.95, None, None, None, 0.2, 0.1, 0.3),
        ),
    )  # fmt: skip


def test_tables(results: Results) -> None:
    chosen, on_lists, by_duration, searched = decision_tables(results)
    assert "chosen on 523 target and 12,000 non-target trials of 16 speakers kept aside." in chosen.lead
    assert chosen.cells[1] == [["cosine", "equal error rates", "0.551 [0.496, 0.605]", "0.38", "0.34"]]
    assert "false alarms 1 %: needs 25 speakers, who make 300 pairs." in chosen.remarks
    assert "equal error rates: a rough guide: 2 misses and 41 false alarms." in chosen.remarks
    assert "16 speakers: intervals are a rough guide below 20." in chosen.remarks
    assert "Log-likelihood ratio of cosine: 43.00 x score -24.21 (natural logarithm)." in chosen.remarks
    assert on_lists.cells == (["list", "back-end", "equal error rates"], [["mini/all", "cosine", "1.52 / 5.82"]])
    assert by_duration.cells[1] == [
        ["mini/all", "1.5 s", "4.70 [3.80, 5.94]", "21.61", "0.60", "7 of 576"],
        ["mini/all", "whole", "1.52 [0.80, 3.83]", "-", "-", "-"],
    ]
    assert searched.cells[1] == [
        ["mini/all", "9 by 1,234 models", "990 of 1,000", "90.00 [85.00, 95.00]", "-", "20.00 [10.00, 30.00]"]
    ]
    assert all(len(row) == len(head) for _, _, (head, rows), *_ in decision_tables(results) for row in rows)
    assert tuple(POINTS) == thresholds.POINTS


def test_what_is_not_there_is_not_shown(results: Results) -> None:
    assert decision_tables(replace(results, decisions={}, at_thresholds=(), durations=(), retrieval=())) == []


def test_they_are_in_both_reports(results: Results) -> None:
    text, page = markdown(Experiment(results)), render(Experiment(results))
    for title in ("Thresholds", "Thresholds on the test lists", "Durations", "Retrieval"):
        assert f"## {title}\n" in text
        assert f"<h2>{title}</h2>" in page
    assert "| mini/all | 1.5 s | 4.70 \\[3.80, 5.94\\] |" in text
