"""What a report collects, and RESULTS.md."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ham.errors import DataError
from ham.report import experiment as report
from ham.report.experiment import Experiment, History, read_experiment, read_history
from ham.score.results import ListResult, Results, write_results


@pytest.fixture
def results() -> Results:
    entry = ListResult("mini/a_|_b", "cosine", 1200, 34_000, 0.01984, 0.0151, 0.02409, 0.1234, 0.0567)
    return Results("run_1", 7, "abc123-dirty", {"ham": "0.1.0"}, "./run.sh --corpus 'mini'", (entry,))


def write_log(path: Path, *events: dict[str, Any]) -> None:
    path.write_text("".join(json.dumps(event) + "\n" for event in events))


def test_markdown_says_everything_that_travels_with_a_number(results: Results) -> None:
    experiment = Experiment(
        results,
        config={"loss": {"name": "ham_softmax", "curvature": 3.0}, "backbone": {"name": "ecapa_tdnn"}},
        history=History(epochs=({"epoch": 30},)),
        parameters={"backbone": 6_980_000, "loss": 512},
        hardware="A Processor, 2 cores, no GPU",
    )
    text = report.markdown(experiment)
    for part in [
        "1.98 \\[1.51, 2.41\\]",
        "| 0.123 | 0.057 | 1,200 | 34,000 |",
        "./run.sh --corpus 'mini'",
        "abc123-dirty",
        "Seed: 7",
        "A Processor, 2 cores, no GPU",
        "ham 0.1.0",
        "ham_softmax (curvature 3.0)",
        "backbone 6.98 M, loss 512",
        "Epochs: 30",
    ]:
        assert part in text
    (row,) = [line for line in text.splitlines() if "| cosine |" in line]
    assert row.replace("\\|", "").count("|") == 8


def test_what_is_unknown_is_left_out(results: Results) -> None:
    text = report.markdown(Experiment(replace(results, commit=None)))
    assert "Commit: unknown" in text
    assert "Parameters" not in text
    assert "Loss" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dev_test_hard", "dev_test_hard"),
        ("_x_", "\\_x\\_"),
        ("<script>&`*|[a](b)", "\\<script\\>\\&\\`\\*\\|\\[a\\](b)"),
        ("two\nlines  here", "two lines here"),
    ],
)
def test_escape_markdown(text: str, expected: str) -> None:
    assert report.escape_markdown(text) == expected


def test_a_command_cannot_leave_its_code_block(results: Results) -> None:
    text = report.markdown(Experiment(replace(results, command="echo '```' && echo\n# heading")))
    fence = "````"
    assert text.split(fence)[1] == "sh\necho '```' && echo\n# heading\n"


def test_back_ends_that_rank_alike_are_explained(results: Results) -> None:
    first = results.results[0]
    same = replace(results, results=(first, replace(first, backend="hyperbolic")))
    other = replace(results, results=(first, replace(first, backend="hyperbolic", eer=0.03)))
    assert report.SAME_RANKING in report.notes(same)
    assert report.SAME_RANKING not in report.notes(other)
    assert report.SAME_RANKING not in report.notes(results)


def test_the_two_rules_of_the_eer_are_compared(results: Results) -> None:
    first = results.results[0]
    for published, found in ((None, []), (0.01983, [report.RULES_AGREE]), (0.0199, [report.RULES_DIFFER])):
        assert report.eer_notes([replace(first, eer_published=published)]) == [report.EER_RULE, *found]
    assert report.RULES_AGREE not in report.eer_notes([replace(first, eer_published=0.01983), first])


def test_back_ends_are_explained_once_each() -> None:
    found = report.backend_notes(["cosine", "cosine+as_norm", "hyperbolic+as_norm+llr", "cosine+crops"])
    assert [note.split(":")[0] for note in found] == ["cosine", "hyperbolic", "+crops", "+as_norm", "+llr"]
    calibrated = ["cosine+llr", "fusion", "fusion+qmf", "cosine+as_norm+qmf", "cosine+qmf_wespeaker"]
    assert all(map(report.is_calibrated, calibrated))
    assert not any(map(report.is_calibrated, ["cosine", "cosine+mean", "hyperbolic+s_norm"]))


def test_history_tolerates_what_runs_leave_behind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "train.jsonl"
    write_log(
        path,
        {"event": "start", "hardware": "a GPU"},
        {"event": "step", "epoch": 1, "step": 50, "loss": 5.0},
        {"event": "step", "epoch": 1, "step": 100, "loss": None},
        {"event": "epoch", "epoch": 1, "step": 100, "loss": 4.0, "diag/radius/q05": 0.1, "diag/radius/q95": 0.2},
        {"event": "epoch", "epoch": 2, "step": 200, "loss": 9.0, "diag/clipped": 1},
        {"event": "epoch", "epoch": 2, "step": 200, "loss": 3.0, "diag/clipped": 1, "diag/word": "x"},
    )
    with path.open("a") as file:
        file.write('{"event": "epo')
    history = read_history(path)
    assert history.values("loss") == ([1.0, 2.0], [4.0, 3.0])
    assert history.values("loss", of_steps=True, scale=2.0) == ([0.5], [10.0])
    assert history.values("valid_eer") == ([], [])
    assert history.diagnostics() == {"radius": ["diag/radius/q05", "diag/radius/q95"], "clipped": ["diag/clipped"]}
    assert history.facts["hardware"] == "a GPU"
    assert "left out, since no JSON object: 1 line" in caplog.text


def test_history_of_no_training(tmp_path: Path) -> None:
    assert read_history(tmp_path / "train.jsonl") == History()


@pytest.mark.parametrize("value", [True, None, "1", math.nan, math.inf])
def test_what_is_no_number(value: object) -> None:
    assert not report.is_number(value)


def test_read_experiment_needs_the_results_only(tmp_path: Path, results: Results) -> None:
    with pytest.raises(DataError, match="stage 6"):
        read_experiment(tmp_path)
    write_results(tmp_path / "results.json", results)
    found = read_experiment(tmp_path)
    assert (found.results, found.curves, found.history, found.config) == (results, (), History(), {})
    assert "core" in found.hardware
    (tmp_path / "config.yaml").write_text("loss: {name: softmax}\n")
    write_log(tmp_path / "train.jsonl", {"event": "start", "hardware": "another machine"})
    found = read_experiment(tmp_path, {"loss": 3})
    assert found.config == {"loss": {"name": "softmax"}}
    assert (found.parameters, found.hardware) == ({"loss": 3}, "another machine")


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe"])
def test_a_damaged_configuration_is_refused(tmp_path: Path, results: Results, content: bytes) -> None:
    write_results(tmp_path / "results.json", results)
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(DataError, match=r"config\.yaml: expected"):
        read_experiment(tmp_path)
