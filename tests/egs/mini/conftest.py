from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
LOCAL = REPOSITORY / "egs" / "mini" / "local"
sys.path.insert(0, str(LOCAL))

TINY = ("--num_train_speakers", "8", "--num_test_speakers", "8", "--num_sessions", "2", "--num_utterances", "2")

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def run_command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(LOCAL / "make_corpus.py"), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)


@pytest.fixture(scope="session")
def command() -> Command:
    """The command, run as a user runs it."""
    return run_command


@pytest.fixture(scope="session")
def tiny_options() -> tuple[str, ...]:
    """The counts of the tiny corpus."""
    return TINY


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of 8 and 8 speakers with 2 sessions of 2 utterances, made by one worker; not to be changed."""
    root = tmp_path_factory.mktemp("mini") / "mini"
    done = run_command("--out", root, "--seed", 7, "--num_workers", 1, *TINY)
    assert done.returncode == 0, done.stderr
    return root
