"""A training killed at random moments, again and again within an epoch, ends with the bits of one that was not.

``python -m tests.kill_matrix`` does the same 50 times.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.kill_matrix import Case, kill_and_compare
from tests.killing import TOP
from tests.tiny_training import write_data

pytestmark = pytest.mark.recipe


@pytest.mark.parametrize(
    ("case", "seed", "kills"),
    [
        (Case(num_workers=0), 1, 4),
        (Case(num_workers=2), 2, 4),
        pytest.param(Case(num_workers=2, precision="bfloat16"), 3, 4, marks=pytest.mark.long),
        pytest.param(Case(num_workers=2, processes=2), 4, 2, marks=pytest.mark.long),
    ],
)
def test_it_ends_with_the_same_bits(
    case: Case, seed: int, kills: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(TOP))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert kill_and_compare(write_data(tmp_path), case, tmp_path, random.Random(seed), kills) == kills
