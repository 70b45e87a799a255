"""Trainings killed at random moments, and gone on with, end with the bits of those that were not.

    python -m tests.kill_matrix                              # 50 kills, with 0 and 2 workers, in 1 and 2 processes
    python -m tests.kill_matrix --kills 10 --processes 2     # a part of it

A training is killed in its start, in a step or while it writes a checkpoint, several times on its way to the end, then
compared in weights, optimiser, random state and log. Of several processes all are killed, or one of them or
their launcher, which ends the rest.
``tests/test_killed_training.py`` is the smaller set that the suite runs.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product, starmap
from pathlib import Path

import torch

from ham.bin.train import main as train_main
from ham.model import checkpoint
from tests.killing import TOP
from tests.tiny_training import events, write_data

EPOCHS, STEPS = 3, 36
LAST_KILL = STEPS - 3
"""Later, and the training may be done before it is killed."""

LONGEST_S = 600
"""Of a training of seconds, on a machine that does much else; later it hangs."""


@dataclass(frozen=True)
class Case:
    """A training: its workers, its processes, its precision."""

    num_workers: int = 0
    processes: int = 1
    precision: str = "float32"

    def options(self) -> list[str]:
        """Of the command."""
        changes = [
            f"train.epochs={EPOCHS}",
            f"train.precision={self.precision}",
            f"data.num_workers={self.num_workers}",
        ]
        return ["--resume", "true", "--num_gpus", str(self.processes), "--set", *changes]


def steps_of(folder: Path) -> int:
    """Steps that the newest checkpoint has."""
    found = [step for _, step in checkpoint.saved_steps(folder)]
    return max([0, *found, *(STEPS // EPOCHS * epoch for epoch in checkpoint.saved_epochs(folder))])


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and theirs."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in path.read_text().split()]
    return found + [pid for child in found for pid in descendants(child)]


def runs(pid: int) -> bool:
    """Whether a process is there, and not dead and waiting to be asked for its status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def command_line(pid: int) -> str:
    """How a process was called; nothing of one that has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


def kill(pid: int, whom: str) -> list[int]:
    """Kill a training.

    Args:
        pid: of the process that was started.
        whom: ``all`` of its processes; ``one`` of those that train, or of their workers; or the ``launcher`` of them.

    Returns:
        All of them, killed or not.
    """
    os.kill(pid, signal.SIGSTOP)  # it must not start others meanwhile
    both = [pid, *descendants(pid)]
    training = [one for one in both[1:] if "ham.bin.train" in command_line(one)]
    victims = {"all": both, "one": training[-1:] or both, "launcher": [pid]}[whom]
    for one in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    return both


def start(words: list[str]) -> multiprocessing.process.BaseProcess:
    """Start a training in a fork of this process, which has loaded it; what it says is not shown."""
    process = multiprocessing.get_context("fork").Process(target=_train, args=(words,))
    process.start()
    return process


def _train(words: list[str]) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    train_main(words)


def train(words: list[str]) -> None:
    """Train to the end."""
    process = start(words)
    process.join(LONGEST_S)
    assert process.exitcode == 0, f"{words}: status {process.exitcode}"


def train_and_kill(words: list[str], exp_dir: Path, steps: int, delay_s: float, whom: str) -> None:
    """Train, and kill it some time after there is a checkpoint of so many steps."""
    process = start(words)
    while steps_of(exp_dir / "checkpoints") < steps:
        assert process.is_alive(), f"{words}: status {process.exitcode}"
        time.sleep(0.001)
    time.sleep(delay_s)
    pids = kill(process.pid or 0, whom)
    process.join(LONGEST_S)
    assert process.exitcode, f"{words}: expected it to be killed, found status {process.exitcode}"
    end = time.monotonic() + LONGEST_S
    while any(map(runs, pids)):
        assert time.monotonic() < end, f"{words}: still running"
        time.sleep(0.01)


def compare(whole: Path, killed: Path) -> None:
    """Refuse two trainings that differ in a bit of weights, optimiser or random state, or in their logs."""
    one, other = (checkpoint.load(checkpoint.epoch_path(place / "checkpoints", EPOCHS)) for place in (killed, whole))
    assert other["step"] == STEPS
    for part in ("backbone", "loss", "optimiser", "rng"):
        torch.testing.assert_close(one[part], other[part], rtol=0, atol=0)
    assert events(killed) == events(whole)


def kill_and_compare(system: list[str], case: Case, folder: Path, rng: random.Random, most: int) -> int:
    """Kill a training up to so many times on its way to the end, and compare it with one that was left alone.

    Args:
        system: options of the data and the system.
        case: what is trained.
        folder: of its experiments; the one that is left alone is made at the first call.
        rng: draws the moments.
        most: kills.

    Returns:
        How often it was killed.
    """
    whole, kills = folder / "whole", 0
    if not whole.exists():
        train([*system, "--exp_dir", str(whole), *case.options()])
    killed = Path(tempfile.mkdtemp(dir=folder))
    words = [*system, "--exp_dir", str(killed), *case.options(), "train.checkpoint_steps=1"]
    while kills < most:
        further = rng.randrange(9)
        if (steps := steps_of(killed / "checkpoints") + further) > LAST_KILL:
            break
        whom = rng.choice(["all", "one", "launcher"]) if case.processes > 1 else "all"
        train_and_kill(words, killed, steps, rng.uniform(0, 0.03 if further else 2 * case.processes), whom)
        kills += 1
    train(words)
    compare(whole, killed)
    return kills


def main(argv: Sequence[str]) -> None:
    """Kill until there were enough, the cases in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    prepare()
    cases, rng = [*starmap(Case, product(options.workers, options.processes))], random.Random(options.seed)
    done = rounds = 0
    with tempfile.TemporaryDirectory(prefix="kill_matrix_") as place:
        system = write_data(Path(place))
        while done < options.kills:
            case = cases[rounds % len(cases)]
            folder = Path(place, f"{case.num_workers}_{case.processes}")
            folder.mkdir(exist_ok=True)
            kills = kill_and_compare(system, case, folder, rng, options.kills - done)
            done, rounds = done + kills, rounds + 1
            sys.stdout.write(f"{case}: killed {kills} times, bit-identical; {done} of {options.kills}\n")
            sys.stdout.flush()


def prepare() -> None:
    """Have this process, and those that it starts, find the sources and take one thread each."""
    torch.set_num_threads(1)
    os.environ |= {"PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    main(sys.argv[1:])
