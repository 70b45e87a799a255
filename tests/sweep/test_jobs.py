"""Running rows: with a program in the place of run.sh that notes how it was called and does what it is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ham.errors import ConfigError
from ham.sweep.commands import Row
from ham.sweep.jobs import choose_gpus, is_done, run_rows

STUB = """\
#!/usr/bin/env bash
# FOLDER COMMAND: makes an experiment, and does what else is asked for
echo "$(basename "$1") ${CUDA_VISIBLE_DEVICES:-none} ${PYTHONSAFEPATH:-none}" >>"$(dirname "$0")/calls"
mkdir -p "$1"
eval "$2"
touch "$1/average.pt" "$1/results.json"
"""

Make = Callable[..., Row]


@pytest.fixture
def row(tmp_path: Path) -> Make:
    """Makes a row of a name that does something beside making its experiment."""
    stub = tmp_path / "run.sh"
    stub.write_text(STUB)
    stub.chmod(0o755)
    (tmp_path / "source").write_text("1\n")

    def _row(name: str, does: str = ":") -> Row:
        folder = tmp_path / "exp" / name
        return Row(name, folder, (str(stub), str(folder), does), (tmp_path / "source",))

    return _row


def calls(folder: Path) -> list[str]:
    path = folder / "calls"
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def test_what_is_done_is_not_done_again(row: Make, tmp_path: Path) -> None:
    assert run_rows([row("a"), row("b")]) == 0
    assert run_rows([row("a"), row("b")]) == 0
    assert calls(tmp_path) == ["a", "b"]
    (tmp_path / "exp/a/average.pt").unlink()  # to save room
    assert is_done(row("a"))
    assert not is_done(row("a", "true"))  # another command
    assert is_done(row("b"))
    later = (tmp_path / "exp/b/.row").stat().st_mtime_ns + 10**9
    os.utime(tmp_path / "exp/b/average.pt", ns=(later, later))  # trained again since
    assert not is_done(row("b"))
    (tmp_path / "source").write_text("2\n")
    assert not is_done(row("a"))
    assert run_rows([row("a"), row("b")]) == 0
    assert calls(tmp_path) == ["a", "b"] * 2
    (tmp_path / "exp/a/results.json").unlink()
    assert not is_done(row("a"))


def test_a_failed_row_does_not_stop_the_others(row: Make, tmp_path: Path) -> None:
    assert run_rows([row("a", "exit 1"), row("b")]) == 1
    assert calls(tmp_path) == ["a", "b"]
    assert not is_done(row("a", "exit 1"))
    assert is_done(row("b"))


@pytest.mark.parametrize(("does", "status"), [("exit 2", 2), ("kill -9 $$", 128 + signal.SIGKILL)])
def test_a_wrong_request_or_a_signal_stops(row: Make, tmp_path: Path, does: str, status: int) -> None:
    assert run_rows([row("a", "exit 1"), row("b", does), row("c")]) == status
    assert calls(tmp_path) == ["a", "b"]


def test_each_gpu_takes_a_row_at_once(
    row: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    meet = "touch {0}/{1}; until [ -e {0}/{2} ]; do sleep 0.02; done; echo met"
    rows = [row("a", meet.format(tmp_path, 1, 2)), row("b", meet.format(tmp_path, 2, 1))]
    with caplog.at_level("INFO"):
        assert run_rows([*rows, row("c", "echo why; exit 1"), row("d")], gpus=["3", "5"]) == 1
    seen = dict(line.split(maxsplit=1) for line in (tmp_path / "calls").read_text().splitlines())
    assert {seen["a"], seen["b"]} == {"3 none", "5 none"}
    assert {*seen} == {"a", "b", "c", "d"}
    assert (tmp_path / "exp/b.log").read_text() == "met\n"
    assert f"row c failed: why (log: {tmp_path}/exp/c.log)" in caplog.text


@pytest.mark.parametrize(
    ("visible", "wanted", "names"),
    [
        ("3,5", [2], ("3", "5")),
        ("3,5", [1], ("3",)),
        ("3,5", [1, 0], ("5", "3")),
        ("GPU-8932f937, MIG-4f, GPU-0a", [0, 2], ("GPU-8932f937", "GPU-0a")),
        ("3,-1,5", [1], ("3",)),
        (None, [2], ("0", "1")),
    ],
)
def test_gpus_count_among_those_that_are_visible(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, wanted: list[int], names: tuple[str, ...]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert choose_gpus(wanted) == names


@pytest.mark.parametrize(
    ("visible", "wanted", "words"),
    [
        ("3,5", [3], "--gpus 3: expected at least 1 and at most the 2 GPUs of CUDA_VISIBLE_DEVICES=3,5"),
        ("3,5", [0, 2], "--gpus 0 2: expected numbers below the 2 GPUs of CUDA_VISIBLE_DEVICES=3,5"),
        ("3,-1,5", [2], "at most the 1 GPUs"),
        ("", [1], "at most the 0 GPUs"),
        ("3,5", [0], "expected at least 1"),
    ],
)
def test_gpus_that_are_not_there_are_refused(
    monkeypatch: pytest.MonkeyPatch, visible: str, wanted: list[int], words: str
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(ConfigError, match=words):
        choose_gpus(wanted)
