"""``python -m ham``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from ham.bin.front import COMMANDS

TOP = Path(__file__).parents[1]


def test_it_lists_the_commands_and_hands_on_the_status() -> None:
    words = [sys.executable, "-m", "ham"]
    listed = subprocess.run(words, cwd=TOP, capture_output=True, text=True, check=True).stdout
    assert all(f"  {name} " in listed for name in COMMANDS)
    assert subprocess.run([*words, "nothing"], cwd=TOP, capture_output=True, check=False).returncode == 2
