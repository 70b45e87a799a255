"""The log of a training, whole or as a kill left it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from ham.errors import DataError
from ham.report.history import History, read_history, read_if_there


def test_history_tolerates_what_runs_leave_behind(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "train.jsonl"
    events: list[dict[str, Any]] = [
        {"event": "start", "hardware": "a GPU"},
        {"event": "step", "epoch": 1, "step": 50, "loss": 5.0},
        {"event": "step", "epoch": 1, "step": 100, "loss": None},
        {"event": "epoch", "epoch": 1, "step": 100, "loss": 4.0, "diag/radius/q05": 0.1, "diag/radius/q95": 0.2},
        {"event": "epoch", "epoch": 2, "step": 200, "loss": 9.0, "diag/clipped": 1},
        {"event": "epoch", "epoch": 2, "step": 200, "loss": 3.0, "diag/clipped": 1, "diag/word": "x"},
    ]
    path.write_text("".join(json.dumps(event) + "\n" for event in events) + '{"event": "epo')
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
def test_what_is_no_number_is_not_drawn(value: object) -> None:
    history = History(epochs=({"epoch": 1, "loss": value, "diag/x": value}, {"epoch": 2, "loss": 3}))
    assert history.values("loss") == ([2.0], [3.0])
    assert history.diagnostics() == {}


def test_a_text_that_may_be_missing(tmp_path: Path) -> None:
    assert read_if_there(tmp_path / "config.yaml") == ""
    (tmp_path / "config.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="expected text in UTF-8"):
        read_if_there(tmp_path / "config.yaml")
