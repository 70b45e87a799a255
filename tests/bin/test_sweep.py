"""Tables by one command: dry runs, wrong requests, and whole sweeps with a program in the place of run.sh."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ham.bin import sweep
from ham.cli import run
from tests.comparisons import write_lists, write_system

SMALL = "data.batch_size=16 data.crop_frames=50 backbone.channels=64 backbone.mfa_channels=96"

STUB = """\
#!/usr/bin/env bash
# notes how it was called, and copies an experiment that is ready
top=$(dirname "$0")
[[ " $* " != *" --bogus "* ]] || { echo "error: run.sh: unknown option --bogus" >&2; exit 2; }
[[ " $* " != *" --help "* ]] || exit 0
seed=1 name=prepared
while [ $# -gt 0 ]; do
  case $1 in
    --loss) loss=$2 name=tiny_$2 ;;
    --seed) seed=$2 ;;
    --exp_root) exp_root=$2 ;;
  esac
  shift 2
done
[ "$seed" = 1 ] || name+=_seed$seed
echo "$name" >>"$top/calls"
[ $name != prepared ] || exit 0
[ ! -e "$top/slow_$name" ] || { mkdir -p "$exp_root/$name"; touch "$exp_root/$name/begun"; "$top/sleep" 1000; }
rm -rf "$exp_root/$name"
mkdir -p "$exp_root"
[ ! -d "$top/ready/$loss$seed" ] || cp -r "$top/ready/$loss$seed" "$exp_root/$name"
[ -d "$exp_root/$name" ]
"""

TABLES = """\
seeds: [1, 2]
tables:
  tiny: {losses: [am_softmax, softmax], backends: cosine, reference: softmax}
  other: {config: tiny, losses: [softmax], backends: cosine, on_request: true}
"""


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe of one corpus, ``x``, whose experiments are made in a moment, where there are two GPUs."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(sweep, "TOP", tmp_path)
    (tmp_path / "egs/x/conf").mkdir(parents=True)
    (tmp_path / "egs/x/conf/tables.yaml").write_text(TABLES)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/tiny.yaml").write_text("loss: {name: softmax}\nbackbone: {channels: 32}\n")
    (tmp_path / "run.sh").write_text(STUB)
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "sleep").symlink_to(shutil.which("sleep") or "")  # so that its command line tells whose it is
    write_lists(tmp_path / "egs/x")
    for seed in (1, 2):
        for loss in ("am_softmax", "softmax"):
            write_system(tmp_path / "ready", loss, seed)
    return tmp_path


def calls(top: Path) -> list[str]:
    return (top / "calls").read_text().split() if (top / "calls").exists() else []


def arguments(top: Path, *more: str) -> list[str]:
    return ["x", "--exp_root", str(top / "exp"), "--device", "cpu", *more]


def test_rows_then_a_table(top: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(sweep.main, arguments(top)) == 0
    rows = ["tiny_am_softmax", "tiny_softmax", "tiny_am_softmax_seed2", "tiny_softmax_seed2"]
    assert calls(top) == ["prepared", *rows]
    text = (top / "exp/tables/tiny/RESULTS.md").read_text()
    assert "# x, tiny" in text
    assert "### EER minus that of softmax, points" in text
    assert all(f"./run.sh --loss {loss} --seed 2" in text for loss in ("softmax", "am_softmax"))
    assert "x/all" in capfd.readouterr().out
    (top / "ready/softmax2").rename(top / "ready/gone")
    (top / "exp/tiny_softmax_seed2/.row").unlink()
    assert run(sweep.main, arguments(top)) == 1
    assert calls(top)[5:] == ["prepared", "tiny_softmax_seed2"]
    printed = capfd.readouterr().err
    assert printed.count(": done") == 3
    assert printed.splitlines()[-1] == (
        "error: rows failed; call again to try those that are not done, the others are kept"
    )


def test_a_failed_preparation_ends_all(top: Path) -> None:
    stub = top / "run.sh"
    stub.write_text(STUB.replace("|| exit 0\n[ ! -e", "|| exit 3\n[ ! -e"))
    with pytest.raises(SystemExit) as ended:
        run(sweep.main, arguments(top))
    assert ended.value.code == 3
    assert calls(top) == ["prepared"]


def test_it_tells_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(sweep.main, ["mini", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for name in ("configs", "losses", "seeds", "backends", "reference", "gpus", "set", "dry_run"):
        assert f"  --{name} " in text


ESTIMATED = """\
seeds: [1, 2]
tables:
  tiny:
    losses: [softmax, am_softmax]
    backends: cosine
    sizes: {num_utts: 1000, num_speakers: 50, num_test_utts: 0, num_trials: 0}
"""
SYSTEM = """\
loss: {name: softmax}
backbone: {name: resnet18, width: 4, embedding_dim: 8}
data: {batch_size: 100, crop_frames: 200}
augment: {mode: clean_plus_augmented}
train: {epochs: 9}
"""


@pytest.mark.parametrize(("lm_set", "epochs"), [((), 5), (("--lm_set", "train.epochs=2"), 2)])
def test_times_from_a_given_speed(
    top: Path, capsys: pytest.CaptureFixture[str], lm_set: tuple[str, ...], epochs: int
) -> None:
    (top / "egs/x/conf/tables.yaml").write_text(ESTIMATED)
    (top / "conf/tiny.yaml").write_text(SYSTEM)
    options = ["--dry_run", "--finetuned", "--crops_per_s", "0.5", "--seeds", "1", *lm_set]
    assert run(sweep.main, arguments(top, *options)) == 0
    printed = capsys.readouterr().out
    plain = 9 * 10 * 100 * 2 * 2  # epochs, steps, crops, views, at two seconds a crop
    further = plain + epochs * 20 * 50 * 2 * 2 * 3  # half the batch, crops three times as long
    assert "9 epochs x 10 steps x 100 crops x 2 views at 0.5 crops/s (--crops_per_s), loss softmax" in printed
    assert (
        f"{epochs} epochs x 20 steps x 50 crops x 2 views at 0.167 crops/s (--crops_per_s), for crops 3 times"
        in printed
    )
    rows = [line for line in printed.splitlines() if "--loss" in line]
    assert [f"# {plain / 3600:.1f} h, " in row for row in rows] == [True, False]
    assert [f"# {further / 3600:.1f} h, " in row for row in rows] == [False, True]
    assert f"# all rows: {(plain + further) / 3600:.1f} h of training" in printed
    assert all(shlex.join(lm_set) in row for row in rows)


def test_rows_run_on_the_gpus_that_are_visible(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5a")
    (top / "run.sh").write_text(STUB.replace('echo "$name"', 'echo "$name:$CUDA_VISIBLE_DEVICES"'))
    assert run(sweep.main, ["x", "--exp_root", str(top / "exp"), "--gpus", "2", "--seeds", "1"]) == 0
    assert sorted(calls(top)[1:]) == ["tiny_am_softmax:3", "tiny_softmax:GPU-5a"]


def test_a_dry_run_does_nothing(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(sweep.main, arguments(top, "--dry_run", "--seeds", "3", "--top_n", "5", "--data_dir", "a b")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "# table tiny: no estimate: expected prepared data, or sizes in conf/tables.yaml, found no a b/train"
    )
    commands = [shlex.split(line) for line in lines if not line.startswith("#")]
    assert [command[0] for command in commands] == [str(top / "run.sh")] * 3 + ["python"]
    assert all("a b" in command for command in commands)
    assert all(command[command.index("--top_n") + 1] == "5" for command in commands[:-1])
    assert re.fullmatch(
        r"# all rows: 0 min of training, 0.000 GB, the tables without an estimate left out; free: [\d.]+ GB", lines[-1]
    )
    assert calls(top) == []
    assert not (top / "exp").exists()


def test_tables_on_request_are_made_where_they_are_named(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(sweep.main, arguments(top, "--dry_run", "--configs", "other")) == 0
    printed = capsys.readouterr().out
    assert "# table other" in printed
    assert "# table tiny" not in printed


def test_rows_with_a_margin_are_fine_tuned_on_request(top: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(sweep.main, arguments(top, "--dry_run", "--finetuned", "true", "--seeds", "1")) == 0
    lines = capsys.readouterr().out.splitlines()
    _, margin, softmax, comparison = (shlex.split(line) for line in lines if not line.startswith("#"))
    assert margin[margin.index("--stop_stage") + 1] == "8"
    assert "--stop_stage" not in softmax
    assert f"am_softmax_lm={top}/exp/tiny_am_softmax_lm" in comparison


def test_fine_tunings_need_a_model_and_other_tables_none(top: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tables = "  tuned: {config: model, losses: [softmax], backends: cosine, on_request: true, set: train.epochs=2}\n"
    (top / "egs/x/conf/tables.yaml").write_text(TABLES + tables)
    model = top / "big"
    model.mkdir()
    (model / "config.yaml").write_text((top / "conf/tiny.yaml").read_text())
    refused = [
        (["--configs", "tuned"], "table tuned: expected a model directory, which its rows start from, found none")
    ]
    refused += [
        (["--configs", "tuned", "--model", str(model)], f"{model}: expected a model directory, found no model.json")
    ]
    for options, words in refused:
        assert run(sweep.main, arguments(top, *options)) == 2
        assert words in capfd.readouterr().err
    (model / "model.json").touch()
    assert run(sweep.main, arguments(top, "--configs", "tuned", "--model", str(model), "--reference", "softmax")) == 2
    assert "--reference: table tuned: expected none, rows are compared with the model, found" in capfd.readouterr().err
    assert run(sweep.main, arguments(top, "--model", str(model))) == 2
    assert f"--model: table tiny: expected no model to start from, found {model}" in capfd.readouterr().err
    assert (
        run(sweep.main, arguments(top, "--configs", "tuned", "--model", str(model), "--seeds", "1", "--dry_run")) == 0
    )
    lines = [line for line in capfd.readouterr().out.splitlines() if not line.startswith("#")]
    _, baseline, row, comparison = map(shlex.split, lines)
    assert baseline[baseline.index("--stage") + 1] == "5"
    assert row[row.index("--init_from") + 1] == str(model)
    assert f"big={top}/exp/big" in comparison
    assert calls(top) == []


def test_options_of_the_command_line_win(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options = ["voxceleb", "--configs", "ecapa_c512_wespeaker", "--losses", "softmax ham_softmax", "--seeds=1 7"]
    options += ["--set", SMALL, "--data-dir", f"{tmp_path}/a b", "--exp_root", f"{tmp_path}/exp", "--dry-run"]
    assert run(sweep.main, [*options, "--device", "cpu"]) == 0
    lines = capsys.readouterr().out.splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if not line.startswith("#")]
    assert commands[0][commands[0].index("--stop_stage") + 1] == "3"
    rows = [{name: command[at + 1] for at, name in enumerate(command) if name.startswith("--")} for command in commands]
    name = f"{tmp_path}/exp/ecapa_c512_wespeaker_ham_softmax"
    assert f"ham_softmax={name},{name}_seed7" in commands[-1]
    assert [(row["--loss"], row["--seed"]) for row in rows[1:-1]] == [
        ("softmax", "1"), ("ham_softmax", "1"), ("softmax", "7"), ("ham_softmax", "7"),
    ]  # fmt: skip
    assert rows[1]["--set"] == f"margin.name=constant {SMALL}"  # nothing to schedule in softmax
    assert rows[2]["--set"] == SMALL
    assert rows[-1]["--reference"] == "softmax"  # the table's own is not among these losses
    assert all(re.search(r"# [\d.]+ (min|h|days), [\d.]+ GB$", line) for line in lines if "--loss" in line)
    assert re.search(r"# all rows: .* of training, [\d.]+ GB; free: [\d.]+ GB", lines[-1])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--configs", "resnet34"], "--configs: unknown table 'resnet34'; choose from: tiny other"),
        (["--seeds", "1,2"], "--seeds: expected whole numbers, \"1 2 3\", found '1,2'"),
        (["--seeds", "01"], "--seeds: expected whole numbers"),
        (["--seeds", "1 2 1"], "--seeds: expected each once, found '1' twice"),
        (["--losses", "softmax softmax"], "--losses: expected each once, found 'softmax' twice"),
        (["--gpus", "0 1", "--device", "cuda:1"], "--device cuda:1: contradicts --gpus 0 1"),
        (["--gpus", "cuda"], "--gpus: expected how many GPUs, 2, or numbers of some, \"0 2\", found 'cuda'"),
        (["--gpus", "3"], "--gpus 3: expected at least 1 and at most the 2 GPUs of CUDA_VISIBLE_DEVICES=0,1"),
        (["--crops_per_s", "0", "--dry_run"], "--crops_per_s: expected crops a second above 0, found '0'"),
        (["--crops_per_s", "10"], "--crops_per_s: expected --dry_run beside it"),
        (["--loss", "softmax"], "--loss: set by each row; the options are --configs"),
        (["--corpus", "mini"], "--corpus: set by each row"),
        (["--exp-name=x"], "--exp_name: set by each row"),
        (["--dry_run", "--losses", "softmx"], "--losses: table tiny: expected one of softmax, "),
        (["--losses", "ham_softmax am_softmax", "--backends", "hyperbolic"], "am_softmax has no distance; add cosine"),
        (["--backends", "cosin"], "unknown back-end 'cosin'"),
        (["--set", "train.epoch=3"], "unknown key 'train.epoch'; did you mean 'train.epochs'"),
        (["--reference", "hamsoftmax"], "--reference: expected one of am_softmax softmax, found 'hamsoftmax'"),
        (["--exp_root", "--dry_run"], "--exp_root: expected one argument"),
        (["--dry_run", "perhaps"], "--dry_run: expected true or false, found 'perhaps'"),
        (["--device", "tpu9"], "--device tpu9: not usable"),
    ],
)
def test_a_wrong_request_is_one_line(
    top: Path, capfd: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert run(sweep.main, arguments(top, *options)) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert words in line
    assert calls(top) == []


def test_run_sh_refuses_what_it_does_not_know(top: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(sweep.main, arguments(top, "--bogus", "1"))
    assert ended.value.code == 2
    assert capfd.readouterr().err == "error: run.sh: unknown option --bogus\n"


@pytest.fixture
def started(top: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts a sweep in a process of its own."""
    code = f"import sys, pathlib\nfrom ham.bin import sweep\nsweep.TOP = pathlib.Path({str(top)!r})\n"
    code += "from ham.cli import run\nsys.exit(run(sweep.main))"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    def _start(*options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", code, *arguments(top)[:3], *options, "--seeds", "1"]
        return subprocess.Popen(command, start_new_session=True, env=environment)

    return _start


def begin(process: subprocess.Popen[bytes], *marks: Path) -> None:
    while process.poll() is None and not all(path.exists() for path in marks):
        time.sleep(0.02)


def test_what_was_killed_goes_on(top: Path, started: Callable[..., subprocess.Popen[bytes]]) -> None:
    (top / "slow_tiny_softmax").touch()
    process = started("--device", "cpu")
    begin(process, top / "exp/tiny_softmax/begun")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (top / "exp/tables").exists()
    (top / "slow_tiny_softmax").unlink()
    assert run(sweep.main, arguments(top, "--seeds", "1")) == 0
    assert calls(top)[3:] == ["prepared", "tiny_softmax"]


def test_whoever_ends_a_sweep_on_gpus_ends_its_rows(top: Path, started: Callable[..., subprocess.Popen[bytes]]) -> None:
    rows = [f"tiny_{loss}" for loss in ("am_softmax", "softmax")]
    for name in rows:
        (top / f"slow_{name}").touch()
    process = started("--gpus", "0 1")
    begin(process, *(top / f"exp/{name}/begun" for name in rows))
    process.terminate()
    assert process.wait() == 143
    for _ in range(200):
        if not any(str(top) in line for line in command_lines()):
            return
        time.sleep(0.05)
    raise AssertionError([line for line in command_lines() if str(top) in line])


def test_whoever_ends_a_sweep_alone_ends_its_row(top: Path, started: Callable[..., subprocess.Popen[bytes]]) -> None:
    (top / "slow_tiny_softmax").touch()
    process = started("--device", "cpu")
    begin(process, top / "exp/tiny_softmax/begun")
    process.terminate()
    try:
        assert process.wait() == 143
        assert not [line for line in command_lines() if f"{top}/run.sh" in line]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what the row has started


def command_lines() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_text(errors="replace"))
    return found
