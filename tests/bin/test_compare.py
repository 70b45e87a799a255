"""The table of several experiments from their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from ham.bin import compare
from ham.score.results import ListResult, Results, write_results


def test_it_prints_a_markdown_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = ListResult("mini/all", "cosine", 10, 30, 0.0123, 0.01, 0.0156, 0.2, 0.1)
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        write_results(tmp_path / name / "results.json", Results(name, 1, None, {}, "./run.sh", (row,)))
    compare.main(["--exp_dirs", str(tmp_path / "x"), str(tmp_path / "y")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| experiment | mini/all cosine |"
    assert [line.split()[1] for line in lines[2:]] == ["x", "y"]
