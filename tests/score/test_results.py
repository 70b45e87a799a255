"""results.json: exactly the agreed fields, the same bytes twice, the commit it came from."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ham.errors import DataError
from ham.score import metrics
from ham.score.decisions import Decisions, OperatingPoint
from ham.score.results import (
    DurationRates,
    ListRates,
    ListResult,
    Results,
    decimals,
    evaluate,
    read_results,
    write_results,
)
from ham.score.retrieval import ListRetrieval

FIELDS = [
    "name", "seed", "commit", "versions", "command", "results", "settings", "notes", "decisions", "at_thresholds",
    "durations", "retrieval", "fingerprint",
]  # fmt: skip
ENTRY = [
    "list", "backend", "num_target", "num_nontarget", "eer", "eer_low", "eer_high", "min_dcf_p01", "min_dcf_p05",
    "eer_published", "act_dcf_p01", "act_dcf_p05", "cllr", "min_cllr",
]  # fmt: skip


@pytest.fixture
def results() -> Results:
    entry = ListResult("mini/all", "cosine", 1200, 34_000, 0.01984, 0.0151, 0.02409, 0.1234, 0.0567)
    point = OperatingPoint("eer", 0.5, 0.4, 0.6, 0.01, 0.02, "few")
    decisions = {"cosine": Decisions("cosine", 20.0, -9.0, (point,), "16 speakers", 16, 500, 12_000)}
    at_thresholds = (ListRates("mini/all", "cosine", "eer", 0.015, 0.016),)
    durations = (
        DurationRates("mini/all", 1.0, 576, 3, 0.05, 0.04, 0.06),
        DurationRates("x", None, 9, 0, 0.1, 0.0, 0.2),
    )
    retrieval = (ListRetrieval("x", "cosine", 9, 8, 50, 40, 0.9, 0.8, 0.95),)
    return Results(
        "run", 7, None, {"ham": "0.1.0"}, "./run.sh --corpus 'mini'", (entry,), decisions=decisions,
        at_thresholds=at_thresholds, durations=durations, retrieval=retrieval, fingerprint="c0ffee",
    )  # fmt: skip


def test_round_trip_with_exactly_the_agreed_fields(tmp_path: Path, results: Results) -> None:
    path = tmp_path / "exp" / "results.json"
    write_results(path, results)
    first = path.read_bytes()
    content = json.loads(first)
    assert list(content) == FIELDS
    assert list(content["results"][0]) == ENTRY
    assert content["results"][0]["list"] == "mini/all"
    assert read_results(path) == results
    write_results(path, read_results(path))
    assert path.read_bytes() == first


def test_a_file_without_thresholds_is_read(tmp_path: Path, results: Results) -> None:
    path = tmp_path / "results.json"
    write_results(path, results)
    content = json.loads(path.read_text())
    for name in ("decisions", "at_thresholds", "durations", "fingerprint"):
        del content[name]
    path.write_text(json.dumps(content))
    assert read_results(path) == replace(results, decisions={}, at_thresholds=(), durations=(), fingerprint="")
    path.write_text(json.dumps({**content, "decisions": {"cosine": {"scale": 1}}}))
    with pytest.raises(DataError, match=r"results\.json: expected thresholds as stage 6 writes them"):
        read_results(path)


def test_evaluate_agrees_with_the_metrics() -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(600) % 2
    scores = generator.normal(size=600) + 2 * labels
    enrol = generator.integers(20, size=600)
    test = np.where(labels == 1, enrol, (enrol + 1) % 20)
    found = evaluate("a/b", "cosine", scores, labels, enrol, test)
    assert found.eer == metrics.eer(scores, labels)
    assert found.min_dcf_p01 == metrics.min_dcf(scores, labels, 0.01)
    assert found.min_dcf_p05 == metrics.min_dcf(scores, labels, 0.05)
    assert (found.num_target, found.num_nontarget) == (300, 300)
    assert 0 < found.eer_low < found.eer < found.eer_high < 0.5
    assert found.eer_published == metrics.eer(scores, labels, "published")
    assert found.min_cllr == metrics.min_cllr(scores, labels)
    assert (found.act_dcf_p01, found.act_dcf_p05, found.cllr) == (None, None, None)
    found = evaluate("a/b", "cosine+llr", scores, labels, enrol, test, calibrated=True)
    assert found.cllr == metrics.cllr(scores, labels)
    assert found.act_dcf_p01 == metrics.act_dcf(scores, labels, 0.01)
    assert found.act_dcf_p05 == metrics.act_dcf(scores, labels, 0.05)


def test_a_file_without_the_newer_fields_is_read(tmp_path: Path, results: Results) -> None:
    path = tmp_path / "results.json"
    write_results(path, results)
    content = json.loads(path.read_text())
    for name in ENTRY[9:]:
        del content["results"][0][name]
    path.write_text(json.dumps(content))
    assert read_results(path) == results


@pytest.mark.parametrize("count", [0, 1, 2, 3])
@pytest.mark.parametrize("sign", ["", "+"])
def test_no_number_is_minus_zero(count: int, sign: str) -> None:
    for value in (-0.0, 0.0, -1e-17, -0.4 * 10.0**-count, 0.4 * 10.0**-count):
        assert decimals(value, count, sign) == f"{0.0:{sign}.{count}f}"
    for value in (-1.6 * 10.0**-count, 2.675, -2.675, 1234.5, 0.125, -12.0):
        assert decimals(value, count, sign) == f"{value:{sign}.{count}f}"


def test_classes_that_do_not_overlap_cost_nothing_and_print_so() -> None:
    scores, labels = np.array([3.0, 2.0, -1.0, -2.0]), np.array([1, 1, 0, 0])
    found = evaluate("x/all", "cosine", scores, labels, ["a", "b"] * 2, ["a", "b", "b", "a"])
    assert math.copysign(1.0, found.min_cllr or 0.0) == 1.0
    assert [decimals(cost, 3) for cost in (found.min_dcf_p01, found.min_dcf_p05, found.min_cllr)] == ["0.000"] * 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "field 'results'"),
        ("", "something else"),
        ("[]", "something else"),
        ('{"results": [{}]}', "field 'list'"),
        ('{"results": []}', "something else"),
        ('{"results": [{"list": "a", "colour": 1}]}', "something else"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_results(path)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="stage 6"):
        read_results(tmp_path / "results.json")
