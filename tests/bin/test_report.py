"""Stage 7: both files, the table and the paths on standard output."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ham.bin import report
from ham.cli import run
from ham.files import lock_folder
from ham.score.curves import summarise_scores, write_curves
from ham.score.results import ListResult, Results, write_results


@pytest.fixture
def exp_dir(tmp_path: Path) -> Path:
    entry = ListResult("mini/all", "cosine", 2, 2, 0.0198, 0.015, 0.024, 0.1, 0.2)
    write_results(tmp_path / "results.json", Results("run", 1, None, {"ham": "0"}, "./run.sh", (entry,)))
    write_curves(tmp_path / "curves.json", [summarise_scores("mini/all", "cosine", [1, 2, 3, 4], [0, 0, 1, 1])])
    backbone = {
        "a.weight": torch.zeros(2_000),
        "bn.running_mean": torch.zeros(7),
        "bn.num_batches_tracked": torch.tensor(3),
    }
    torch.save({"backbone": backbone, "loss": {"weight": torch.zeros(10, 4)}}, tmp_path / "average.pt")
    return tmp_path


def test_both_files_and_the_table(exp_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(report.main, ["--exp-dir", str(exp_dir)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "1.98 [1.50, 2.40]" in lines[2]
    assert lines[-2:] == [str(exp_dir / "RESULTS.md"), str(exp_dir / "report.html")]
    for path in lines[-2:]:
        text = Path(path).read_text()
        assert "1.98" in text
        assert "backbone 2,000, loss 40" in text
    assert "<svg" in Path(lines[-1]).read_text()


def test_without_a_model_the_number_of_parameters_is_left_out(exp_dir: Path) -> None:
    (exp_dir / "average.pt").unlink()
    assert run(report.main, ["--exp_dir", str(exp_dir)]) == 0
    assert "Parameters" not in (exp_dir / "RESULTS.md").read_text()


def test_nothing_scored_nothing_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(report.main, ["--exp_dir", str(tmp_path)]) == 1
    assert "stage 6" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert run(report.main, []) == 2
    assert "--exp_dir" in capsys.readouterr().err


def test_nothing_is_reported_while_another_stage_writes(exp_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lock_folder(exp_dir, "stage 6"):
        assert run(report.main, ["--exp_dir", str(exp_dir)]) == 1
    assert "found at work: stage 6, process" in capsys.readouterr().err
    assert not (exp_dir / "RESULTS.md").exists()


@pytest.mark.parametrize("name", ["RESULTS.md", "report.html"])
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_is_one_line_with_the_file(exp_dir: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (exp_dir / f".{name}.part").symlink_to("/dev/full")
    assert run(report.main, ["--exp_dir", str(exp_dir)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert (
        err
        == f"error: {exp_dir / name}: No space left on device; free some space on that disk, or choose another place\n"
    )
