"""What several tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TOP = Path(__file__).parents[1]

torch.set_num_threads(1)


class Recipe:
    """Calls ``run.sh`` in the environment that the tests run in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str | Path, door: str = "run.sh", check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run(
            [TOP / door, *map(str, arguments)],
            cwd=self.folder,
            env={**os.environ, "HAM_VENV": sys.prefix, "OMP_NUM_THREADS": "2"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stderr[-3000:]
        return done


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    """``run.sh``, called from a temporary folder."""
    return Recipe(tmp_path)
