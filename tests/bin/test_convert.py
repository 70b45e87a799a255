"""The command: what it says, how it ends, and that kill -9 at any moment costs nothing but time."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ham.bin.convert import main
from ham.cli import run
from tests.kill_matrix import runs
from tests.killing import TRIES
from tests.packed import m4a, speech, tree

TOP = Path(__file__).parents[2]


def make(folder: Path, num_files: int = 8) -> list[str]:
    encoded = [m4a(speech(16000, seed)) for seed in range(8)]
    for number in range(num_files):
        path = folder / f"m4a/id{number // 40:05d}/-video/{number % 40:05d}.m4a"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded[number % 8])
    return ["--source", str(folder / "m4a")]


def test_files_are_converted_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*make(tmp_path), "--target", str(tmp_path / "flac"), "--format", "flac"]
    assert run(main, argv) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"{tmp_path}/flac: 8 files, 0.00 h, 8 converted now\n")
    assert run(main, argv) == 0
    assert capsys.readouterr().err == f"{tmp_path}/flac: 8 files, 0.00 h, was already converted\n"


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (["--source", "nowhere"], 2, "nowhere: no such folder"),
        (["--format", "mp3"], 2, "invalid choice"),
        (["--num_workers", "0"], 2, "at least 1"),
        (["--max-missing-files", "x"], 2, "at least 0"),
    ],
)
def test_wrong_requests_end_in_one_line(
    change: list[str], status: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(main, [*make(tmp_path, 1), "--target", str(tmp_path / "wav"), *change]) == status
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1


def test_a_bad_file_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*make(tmp_path), "--target", str(tmp_path / "wav")]
    (tmp_path / "m4a/id00000/-video/00002.m4a").write_bytes(b"")
    assert run(main, argv) == 1
    err = capsys.readouterr().err
    assert "cannot convert 1 file, and --max_missing_files allows 0" in err
    assert "00002.m4a: is empty" in err
    assert err.count("\n") == 1
    assert run(main, [*argv, "--max_missing_files", "1"]) == 0
    assert "1 of 8 files are left out" in capsys.readouterr().err


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def num_made(target: Path) -> int:
    """Files that are converted; they are not read, since others get their names meanwhile."""
    return len([*target.rglob("*.wav")])


@pytest.mark.recipe
def test_kill_9_at_any_moment_and_no_worker_stays(tmp_path: Path) -> None:
    argv = make(tmp_path, 300)
    assert run(main, [*argv, "--target", str(tmp_path / "fresh"), "--num_workers", "1"]) == 0
    target, draws = tmp_path / "wav", random.Random(1)
    command = [sys.executable, "-m", "ham.bin.convert", *argv, "--target", str(target), "--num_workers", "2"]
    environment, num_kills, workers = {**os.environ, "PYTHONPATH": str(TOP)}, 0, list[int]()
    for _ in range(TRIES):
        before = num_made(target)
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
        while num_made(target) <= before and process.poll() is None:
            time.sleep(0.005)
        time.sleep(draws.uniform(0, 0.1))
        if process.poll() is None:
            workers += children(process.pid)
        process.send_signal(signal.SIGKILL)
        if process.wait() == 0:  # too late, on a busy machine: from the beginning
            shutil.rmtree(target)
            continue
        num_kills += 1
        if num_kills == 2:
            break
    assert num_kills == 2
    assert workers
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert tree(target) == tree(tmp_path / "fresh")
    for suffix in ("converted.json", "durations"):
        assert (tmp_path / f"wav.{suffix}").read_bytes() == (tmp_path / f"fresh.{suffix}").read_bytes()
    deadline = time.monotonic() + 60
    while any(map(runs, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
