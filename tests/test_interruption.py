"""Signals to a whole ``./run.sh`` that trains: a checkpoint is written, nothing is left behind, the status says why."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from ham.files import lock_folder
from ham.model import checkpoint
from ham.sweep.commands import Row
from tests.killing import TOP
from tests.tiny_training import ENDLESS, pid_of_training, start_when_at_work, write_data

pytestmark = pytest.mark.recipe


def recipe(folder: Path, *changes: str) -> list[str]:
    """The command line of stage 4 alone."""
    options = [*write_data(folder), "--exp_root", str(folder), "--exp_name", "exp", "--stage", "4", "--stop_stage", "4"]
    return [str(TOP / "run.sh"), *options, "--set", " ".join(changes)]


def check_ended(exp_dir: Path, said: str) -> None:
    """There is one line, and no process that works in the experiment."""
    assert "Traceback" not in said
    (line,) = (line for line in said.splitlines() if "--resume" in line)
    with lock_folder(exp_dir, "test"):
        epoch, step = checkpoint.newest(exp_dir / "checkpoints")
    assert f"after step {step or 12 * epoch} of" in line


LONG = pytest.mark.long


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=LONG), pytest.param(signal.SIGUSR1, marks=LONG)]
)
@pytest.mark.parametrize("whom", ["run.sh", "group", "training"])
def test_it_ends_with_a_checkpoint_whoever_gets_the_signal(number: signal.Signals, whom: str, tmp_path: Path) -> None:
    exp_dir = tmp_path / "exp"
    process = start_when_at_work(recipe(tmp_path, ENDLESS, "data.num_workers=2"), exp_dir)
    if whom == "group":
        os.killpg(process.pid, number)
    else:
        os.kill(process.pid if whom == "run.sh" else pid_of_training(exp_dir), number)
    _, said = process.communicate()
    assert process.returncode == 128 + number, said
    check_ended(exp_dir, said)


def test_a_killed_recipe_ends_its_training(tmp_path: Path) -> None:
    exp_dir = tmp_path / "exp"
    process = start_when_at_work(recipe(tmp_path, ENDLESS), exp_dir)
    os.kill(process.pid, signal.SIGKILL)
    _, said = process.communicate()  # till the training too has closed its standard error
    check_ended(exp_dir, said)


SWEEP = """
import signal, sys
from pathlib import PosixPath
from ham.cli import run
from ham.sweep.commands import Row
from ham.sweep.jobs import run_rows
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
sys.exit(run(lambda argv: sys.exit(run_rows([eval(argv[0])])), sys.argv[1:]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=LONG)])
def test_a_sweep_ends_its_row(number: signal.Signals, tmp_path: Path) -> None:
    exp_dir = tmp_path / "exp"
    row = Row("exp", exp_dir, tuple(recipe(tmp_path, ENDLESS)), ())
    process = start_when_at_work([sys.executable, "-c", SWEEP, repr(row)], exp_dir)
    os.killpg(process.pid, number)
    _, said = process.communicate()
    assert process.returncode == 128 + number, said
    check_ended(exp_dir, said)
