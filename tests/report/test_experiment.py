"""What a report collects, and RESULTS.md."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ham.errors import DataError
from ham.report.experiment import Experiment, markdown, read_experiment
from ham.report.history import History
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
    text = markdown(experiment)
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
    text = markdown(Experiment(replace(results, commit=None)))
    assert "Commit: unknown" in text
    assert "Parameters" not in text
    assert "Loss" not in text


def test_a_command_cannot_leave_its_code_block(results: Results) -> None:
    text = markdown(Experiment(replace(results, command="echo '```' && echo\n# heading")))
    fence = "````"
    assert text.split(fence)[1] == "sh\necho '```' && echo\n# heading\n"


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
