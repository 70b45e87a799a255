"""egs/<corpus>/tables.sh: what a dry run says, wrong requests, and a table that is killed and called again."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.recipe


TOP = Path(__file__).parents[2]
TINY = (
    "data.valid_speakers=4 data.batch_size=16 train.epochs=2 train.average_last=2 backbone.channels=32 "
    "backbone.mfa_channels=48 backbone.attention_channels=16 backbone.se_channels=8"
)
SMALL = "data.batch_size=16 data.crop_frames=50"
ENVIRONMENT = {**os.environ, "HAM_VENV": sys.prefix, "OMP_NUM_THREADS": "2"}


def call(corpus: str, *options: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [TOP / f"egs/{corpus}/tables.sh", *map(str, options)],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def test_a_dry_run_prints_commands_that_a_shell_reads_and_does_nothing(tmp_path: Path) -> None:
    options = ["--configs", "resnet34", "--losses", "softmax ham_softmax", "--seeds=1 7", "--set", SMALL]
    options += ["--data-dir", str(tmp_path / "a b"), "--exp_root", str(tmp_path / "exp"), "--dry-run"]
    lines = call("voxceleb", *options, "--device", "cpu").stdout.splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if not line.startswith("#")]
    assert commands[0][0] == str(TOP / "run.sh")
    assert commands[0][commands[0].index("--stop_stage") + 1] == "3"
    rows = [{name: command[at + 1] for at, name in enumerate(command) if name.startswith("--")} for command in commands]
    assert commands[-1][:3] == ["python", "-m", "ham.bin.table"]  # after . ./path.sh
    assert f"ham_softmax={tmp_path}/exp/resnet34_ham_softmax,{tmp_path}/exp/resnet34_ham_softmax_seed7" in commands[-1]
    assert [(row["--loss"], row["--seed"]) for row in rows[1:-1]] == [
        ("softmax", "1"), ("ham_softmax", "1"), ("softmax", "7"), ("ham_softmax", "7"),
    ]  # fmt: skip
    assert all(row["--data_dir"] == str(tmp_path / "a b") for row in rows)
    assert rows[1]["--set"] == f"margin.name=constant {SMALL}"  # nothing to schedule in softmax
    assert rows[2]["--set"] == SMALL
    assert all(re.search(r"# [\d.]+ (min|h|days), [\d.]+ GB$", line) for line in lines if "--loss" in line)
    assert re.search(r"# all rows: .* of training, [\d.]+ GB; free: [\d.]+ GB", lines[-1])
    assert not list(tmp_path.iterdir())


def test_other_training_data_have_a_folder_of_their_own(tmp_path: Path) -> None:
    options = ["--configs", "ecapa_tdnn_vox1", "--losses", "am_softmax", "--set", f"{SMALL} backbone.channels=64"]
    lines = call("voxceleb", *options, "--data_dir", tmp_path / "d", "--dry_run", "--device", "cpu").stdout
    assert f"--data_dir {tmp_path}/d_vox1" in lines
    assert f"--train_set vox1_dev --trial_lists vox1_o_clean --archives {tmp_path}/d/archives" in lines
    assert f"--corpora_dir {tmp_path}/d/corpora" in lines


def test_a_dry_run_without_known_sizes_still_prints_the_commands(tmp_path: Path) -> None:
    done = call("cnceleb", "--dry_run", "--losses", "am_softmax", "--data_dir", tmp_path)
    assert f"no estimate: expected a prepared --data_dir, or --num_utts and --num_speakers; found no {tmp_path}" in (
        done.stdout
    )
    assert "--loss am_softmax --seed 1" in done.stdout
    assert "the tables without an estimate left out" in done.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["mini"], "expected --option, found 'mini'"),
        (["--configs", "resnet34"], "--configs: unknown table 'resnet34'; choose from: mini"),
        (["--seeds", "1,2"], "--seeds: expected whole numbers, \"1 2 3\", found '1,2'"),
        (["--seeds", "01"], "--seeds: expected whole numbers"),
        (["--seeds", "1 2 1"], "--seeds: expected each once, found '1' twice"),
        (["--gpus", "0 1", "--device", "cuda:1"], "--device cuda:1: contradicts --gpus 0 1"),
        (["--gpus", "cuda"], "--gpus: expected numbers of GPUs"),
        (["--loss", "softmax"], "--loss: set by each row"),
        (["--dry_run", "--losses", "softmx"], "--loss softmx: no such loss; choose one of softmax, "),
        (
            ["--losses", "ham_softmax am_softmax", "--backends", "hyperbolic"],
            "am_softmax has no distance; add cosine",
        ),
        (["--reference", "hamsoftmax"], "--reference: expected one of softmax scaled_softmax"),
        (["--exp_root", "--dry_run"], "--exp_root needs a value"),
        (["--dry_run", "--bogus", "1"], "unknown option --bogus"),
        (["--dry_run", "perhaps"], "--dry_run: expected true or false, found 'perhaps'"),
        (["--losses", "softmx", "--stop_stages", "3"], "unknown option --stop_stages"),
    ],
)
def test_a_wrong_request_is_one_line(options: list[str], words: str) -> None:
    done = call("mini", *options, check=False)
    assert done.returncode == 2
    assert words in done.stderr.splitlines()[-1]


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str | Path]:
    """Options of a table of two losses on a tiny corpus."""
    folder = tmp_path_factory.mktemp("tables")
    return [
        *("--losses", "am_softmax ham_softmax", "--seeds", "2", "--top_n", "5", "--cohort_utts", "2"),
        *("--backends", "cosine cosine+crops cosine+mean+as_norm fusion hyperbolic"),
        *("--train_roots", folder / "mini", "--test_roots", folder / "mini"),
        *("--data_dir", folder / "data", "--exp_root", folder / "exp"),
        *("--mini_train_speakers", "16", "--mini_test_speakers", "16", "--mini-utterances=2"),
        *("--set", TINY, "--device", "cpu", "--geometry", "false"),
    ]


def test_a_table_that_is_killed_goes_on_with_the_rows_that_lack(options: list[str | Path]) -> None:
    exp = Path(options[options.index("--exp_root") + 1])
    with subprocess.Popen(
        [TOP / "egs/mini/tables.sh", *map(str, options)],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        second = exp / "mini_ham_softmax_seed2/checkpoints/epoch_0001.pt"
        while process.poll() is None and not second.exists():
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    assert second.exists()
    assert not (exp / "tables").exists()
    first = (exp / "mini_am_softmax_seed2/average.pt").stat().st_mtime_ns
    done = call("mini", *options)
    assert (exp / "mini_am_softmax_seed2/average.pt").stat().st_mtime_ns == first
    assert "row mini_am_softmax_seed2: done" in done.stderr
    assert "going on" in done.stderr  # within the second row
    for name in ("mini_am_softmax_seed2", "mini_ham_softmax_seed2"):
        results = json.loads((exp / name / "results.json").read_text())
        backends = {row["backend"] for row in results["results"]}
        distance = {"fusion", "hyperbolic"} if "ham" in name else set()
        assert backends == {"cosine", "cosine+crops", "cosine+mean+as_norm", *distance}
    table = (exp / "tables/mini/RESULTS.md").read_text()
    assert all(word in table for word in ("mini/all", "mini/hard", "ham_softmax", "cosine+mean+as_norm", "fusion"))
    assert (exp / "tables/mini/table.html").stat().st_size > 0


def test_a_finished_table_is_cheap_and_other_back_ends_are_scored(options: list[str | Path]) -> None:
    exp = Path(options[options.index("--exp_root") + 1])
    before = (exp / "tables/mini/RESULTS.md").read_bytes()
    done = call("mini", *options)
    assert done.stderr.count(": done") == 2
    assert (exp / "tables/mini/RESULTS.md").read_bytes() == before
    call("mini", *on_gpus(options))
    for name in ("mini_am_softmax_seed2", "mini_ham_softmax_seed2"):  # a row on each, its words in a log of its own
        assert "trained already" in (exp / f"{name}.log").read_text()
    assert "hyperbolic+llr" in (exp / "tables/mini/RESULTS.md").read_text()


def on_gpus(options: Sequence[str | Path]) -> list[str | Path]:
    """A row on each of two GPUs; where there are none, each is a process on the CPU. Other back-ends too."""
    other = [word for word in options if word not in ("--device", "cpu")]
    other[other.index("--backends") + 1] = "cosine hyperbolic+llr"
    return [*other, "--gpus", "0 1"]


def test_whoever_ends_a_table_on_gpus_ends_its_rows(options: list[str | Path], tmp_path: Path) -> None:
    other = on_gpus(options)
    other[other.index("--exp_root") + 1] = tmp_path / "exp"
    with subprocess.Popen(
        [TOP / "egs/mini/tables.sh", *map(str, other)], env=ENVIRONMENT, stderr=subprocess.DEVNULL
    ) as process:
        begun = [tmp_path / f"exp/mini_{loss}_seed2/.lock" for loss in ("am_softmax", "ham_softmax")]
        while process.poll() is None and not all(path.exists() for path in begun):
            time.sleep(0.02)
        process.terminate()
    assert process.returncode == 143
    for _ in range(200):
        if not any(str(tmp_path) in line for line in command_lines()):
            return
        time.sleep(0.05)
    raise AssertionError([line for line in command_lines() if str(tmp_path) in line])


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_text(errors="replace"))
    return found
