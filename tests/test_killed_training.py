"""A training killed at random moments, again and again within an epoch, ends with the bits of one that was not."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch

from ham.bin.train import main
from ham.model import checkpoint
from tests.tiny_training import events, write_data

pytestmark = pytest.mark.recipe

STEPS = 36  # of 3 epochs


def steps_of(folder: Path) -> int:
    """Steps that the newest checkpoint has."""
    found = [step for _, step in checkpoint.saved_steps(folder)]
    return max([0, *found, *(12 * epoch for epoch in checkpoint.saved_epochs(folder))])


def leader(words: list[str]) -> None:
    """Train as leader of a group of processes."""
    os.setsid()
    main(words)


def train(arguments: list[str], exp_dir: Path, kill_at: int | None = None) -> None:
    """Train to the end, or until there is a checkpoint of a step; then all of it is killed, wherever it is."""
    words = [*arguments, "--exp_dir", str(exp_dir), "--resume", "true"]
    process = multiprocessing.get_context("fork").Process(target=leader, args=(words,))
    process.start()
    while kill_at is not None and steps_of(exp_dir / "checkpoints") < kill_at:
        assert process.is_alive()
        time.sleep(0.001)
    if kill_at is not None:
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
    assert process.exitcode == (0 if kill_at is None else -signal.SIGKILL)


@pytest.mark.parametrize(
    ("num_workers", "precision", "seed"), [(0, "float32", 1), (2, "float32", 2), (2, "bfloat16", 3)]
)
def test_it_ends_with_the_same_bits(num_workers: int, precision: str, seed: int, tmp_path: Path) -> None:
    system = write_data(tmp_path)
    changes = ["train.epochs=3", f"train.precision={precision}", f"data.num_workers={num_workers}"]
    train([*system, "--set", *changes], tmp_path / "whole")
    rng = random.Random(seed)
    first = rng.randrange(1, 9)
    for kill_at in (first, first + rng.randrange(1, 4), rng.randrange(13, 24), rng.randrange(25, 34)):
        train([*system, "--set", *changes, "train.checkpoint_steps=1"], tmp_path / "killed", kill_at)
    train([*system, "--set", *changes], tmp_path / "killed")
    whole, killed = (checkpoint.load(tmp_path / name / "checkpoints/epoch_0003.pt") for name in ("whole", "killed"))
    assert whole["step"] == STEPS
    for part in ("backbone", "loss", "optimiser", "rng"):
        torch.testing.assert_close(killed[part], whole[part], rtol=0, atol=0)
    assert events(tmp_path / "killed") == events(tmp_path / "whole")
