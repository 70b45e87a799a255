"""egs/<corpus>/tables.sh: the door of every corpus, and one table of real trainings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.recipe


TOP = Path(__file__).parents[2]
TINY = (
    "data.valid_speakers=4 data.batch_size=16 train.epochs=2 train.average_last=2 backbone.channels=32 "
    "backbone.mfa_channels=48 backbone.attention_channels=16 backbone.se_channels=8"
)


def call(corpus: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOP / f"egs/{corpus}/tables.sh", *map(str, options)],
        env={**os.environ, "HAM_VENV": sys.prefix, "OMP_NUM_THREADS": "2"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("path", sorted(TOP.glob("egs/*/tables.sh")), ids=lambda path: path.parts[-2])
def test_the_door_of_a_corpus_leads_to_its_tables(path: Path) -> None:
    done = call(path.parts[-2], "--configs", "none")
    assert done.returncode == 2
    tables = {"mini": "mini losses", "folder": "small", "cnceleb": "ecapa_tdnn_cnceleb"}.get(path.parts[-2], "ecapa")
    assert done.stderr.startswith(f"error: --configs: unknown table 'none'; choose from: {tables}")


@pytest.mark.long
def test_a_table_of_real_trainings(tmp_path: Path) -> None:
    data, exp, names = tmp_path / "data", tmp_path / "exp", ["mini_am_softmax_seed2", "mini_ham_softmax_fixed_seed2"]
    done = call(
        "mini",
        *("--configs", "losses", "--losses", "am_softmax ham_softmax_fixed", "--seeds", "2"),
        *("--top_n", "5", "--cohort_utts", "2"),
        *("--backends", "cosine cosine+crops cosine+mean+as_norm fusion hyperbolic"),
        *("--train_roots", data / "mini", "--test_roots", data / "mini"),
        *("--data_dir", data, "--exp_root", exp),
        *("--mini_train_speakers", "16", "--mini_test_speakers", "16", "--mini-utterances=2"),
        *("--set", TINY, "--device", "cpu", "--geometry", "false"),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in names:
        results = json.loads((exp / name / "results.json").read_text())
        backends = {row["backend"] for row in results["results"]}
        distance = {"fusion", "hyperbolic"} if "ham" in name else set()
        assert backends == {"cosine", "cosine+crops", "cosine+mean+as_norm", *distance}
        assert (exp / name / ".row").stat().st_mtime_ns >= (exp / name / "results.json").stat().st_mtime_ns
    assert "fix_radius: true" in (exp / names[1] / "config.yaml").read_text()
    table = (exp / "tables/losses/RESULTS.md").read_text()
    assert all(
        word in table for word in ("mini/all", "mini/hard", "ham_softmax_fixed", "cosine+mean+as_norm", "fusion")
    )
    assert (exp / "tables/losses/table.html").stat().st_size > 0
    assert "| mini_ham_softmax_fixed" in (exp / "tables/losses/hierarchy.md").read_text()
