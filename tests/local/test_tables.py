"""egs/<corpus>/tables.sh: the door of every corpus, and one table of real trainings."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

from ham.model.directory import pack
from tests.speaking import write_system, write_voice

pytestmark = pytest.mark.recipe


TOP = Path(__file__).parents[2]
TINY = (
    "data.valid_speakers=4 data.batch_size=16 train.epochs=2 train.average_last=2 backbone.channels=32 "
    "backbone.mfa_channels=48 backbone.attention_channels=16 backbone.se_channels=8"
)


def call(corpus: str, *options: str | Path, door: str = "tables.sh") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [TOP / "egs" / corpus / door, *map(str, options)],
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


def test_fine_tunings_need_a_model() -> None:
    done = call("folder", "--dry_run", door="finetuned.sh")
    assert done.returncode == 2
    assert done.stderr.startswith("error: --model: table finetuned: expected a model directory, which its rows start")


@pytest.mark.long
def test_a_model_and_its_fine_tunings(tmp_path: Path) -> None:
    pack(write_system(tmp_path / "own"), tmp_path / "voices")
    for part, num_speakers in (("train", 10), ("test", 4)):
        for spk, session, number in product(range(num_speakers), (1, 2), (1, 2)):
            path = tmp_path / part / f"wav/{part}{spk}/{session}/{number}.wav"
            write_voice(path, 2 + 0.1 * session + 0.01 * number, 90 + 13 * spk)
    where = ("--data_dir", tmp_path / "data", "--exp_root", tmp_path / "exp")
    words = [
        *("--model", tmp_path / "voices", "--losses", "ham_softmax", "--seeds", "2", "--top_n", "3", *where),
        *("--train_roots", tmp_path / "train", "--test_roots", tmp_path / "test", "--device", "cpu"),
        *("--set", "train.freeze=[] train.epochs=2 data.valid_speakers=2 data.batch_size=8", "--geometry", "false"),
    ]
    done = call("folder", *words, door="finetuned.sh")
    assert done.returncode == 0, done.stderr[-3000:]
    names = ["voices", "voices_ham_softmax_seed2"]
    assert all((tmp_path / "exp" / name / ".row").exists() for name in names)
    config = (tmp_path / "exp/voices_ham_softmax_seed2/config.yaml").read_text()
    assert all(key in config for key in ("init_centres: class_means", "interpolate: 0.5", "name: resnet18"))
    assert (tmp_path / "exp/voices_ham_softmax_seed2/start.pt").exists()
    table = (tmp_path / "exp/tables/voices_finetuned/RESULTS.md").read_text()
    for title in (
        "that of voices, points",
        "that of voices by cosine+as_norm, points",
        "that of voices by cosine, points",
    ):
        assert f"### EER minus {title}" in table
    again = call("folder", *words, door="finetuned.sh")
    assert [f"row {name}: done" in again.stderr for name in names] == [True] * 2


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
