from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import make_corpus
import pytest
import soundfile
from plan import Request

from ham.files import lock_folder

Command = Callable[..., subprocess.CompletedProcess[str]]


def digests(root: Path) -> dict[str, str]:
    paths = [path for path in root.rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def speakers(root: Path) -> dict[str, dict[str, str]]:
    with (root / "speakers.tsv").open(newline="") as file:
        return {row["speaker"]: row for row in csv.DictReader(file, delimiter="\t")}


def trials(root: Path, name: str) -> list[list[str]]:
    return [line.split() for line in (root / "trials" / f"{name}.txt").read_text().splitlines()]


def cell(row: dict[str, str]) -> tuple[str, str]:
    return row["sex"], row["accent"]


def test_all_that_is_promised_is_there(tiny: Path) -> None:
    assert {path.name for path in tiny.iterdir()} == {
        "README.md", "request.json", "sessions.tsv", "speakers.tsv", "splits", "trials", "wav"
    }  # fmt: skip
    assert not [path for path in tiny.parent.iterdir() if path != tiny]
    assert len(list(tiny.glob("wav/*/*/*.flac"))) == 16 * 2 * 2
    readme = (tiny / "README.md").read_text()
    assert "make_corpus.py --out <folder> --seed 7 --num_train_speakers 8 --num_test_speakers 8" in readme


def test_every_utterance_is_sound_of_three_to_four_seconds(tiny: Path) -> None:
    for path in tiny.glob("wav/*/*/*.flac"):
        info = soundfile.info(path)
        assert (info.samplerate, info.channels, info.format, info.subtype) == (16000, 1, "FLAC", "PCM_16")
        assert 3.0 <= info.duration <= 4.0
        assert soundfile.read(path)[0].std() > 1e-3


def test_any_number_of_workers_gives_the_same_bytes(
    tiny: Path, tmp_path: Path, command: Command, tiny_options: tuple[str, ...]
) -> None:
    done = command("--out", tmp_path / "again", "--seed", 7, "--num_workers", 2, *tiny_options)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "again") == digests(tiny)


def test_another_seed_gives_other_voices_and_sound(tiny: Path, tmp_path: Path, command: Command) -> None:
    few = ("--num_train_speakers", 2, "--num_test_speakers", 2, "--num_sessions", 2, "--num_utterances", 1)
    for seed in (7, 8):
        assert command("--out", tmp_path / str(seed), "--seed", seed, *few).returncode == 0
    first, second = digests(tmp_path / "7"), digests(tmp_path / "8")
    assert first.keys() == second.keys()
    assert not [name for name in first if name.endswith(".flac") and first[name] == second[name]]


def test_cells_are_balanced(tiny: Path) -> None:
    rows = speakers(tiny).values()
    train = Counter(cell(row) for row in rows if row["split"] == "train")
    test = Counter(cell(row) for row in rows if row["split"] == "test")
    assert set(train.values()) == {1}
    assert len(train) == 8
    assert set(test.values()) == {2}
    assert len(test) == 4


@pytest.mark.parametrize("name", ["all", "hard"])
def test_trials_keep_the_rules(tiny: Path, name: str) -> None:
    rows, made = speakers(tiny), trials(tiny, name)
    assert len({frozenset(trial[1:]) for trial in made}) == len(made)
    for label, enrol, test in made:
        assert (tiny / "wav" / enrol).is_file()
        assert (tiny / "wav" / test).is_file()
        (first, one_session, _), (second, other_session, _) = enrol.split("/"), test.split("/")
        assert rows[first]["split"] == rows[second]["split"] == "test"
        assert label == str(int(first == second))
        if label == "1":
            assert one_session != other_session
        elif name == "hard":
            assert cell(rows[first]) == cell(rows[second])
    # 8 speakers x 1 pair of sessions x 2 x 2; 28 or (4 cells x 1 pair of speakers) x 4 x 4
    assert Counter(label for label, _, _ in made) == {"1": 32, "0": 448 if name == "all" else 64}


def test_training_and_test_speakers_are_disjoint(tiny: Path) -> None:
    train = {line.split()[0] for line in (tiny / "splits" / "train_list.txt").read_text().splitlines()}
    test = {path.split("/")[0] for trial in trials(tiny, "all") for path in trial[1:]}
    assert len(train) == len(test) == 8
    assert not train & test


def test_a_complete_corpus_is_left_alone(tiny: Path, command: Command, tiny_options: tuple[str, ...]) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny.rglob("*")}
    done = command("--out", tiny, "--seed", 7, "--num_workers", 2, *tiny_options)
    assert (done.returncode, done.stderr) == (0, "")
    assert "complete already" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in tiny.rglob("*")} == before


@pytest.mark.parametrize("damage", ["other request", "missing file"])
def test_another_or_incomplete_corpus_is_made_anew(tmp_path: Path, command: Command, damage: str) -> None:
    few = ("--num_train_speakers", 2, "--num_test_speakers", 2, "--num_sessions", 2, "--num_utterances", 1)
    out = tmp_path / "mini"
    assert command("--out", out, *few).returncode == 0
    wanted = digests(out)
    if damage == "missing file":
        next(out.glob("wav/*/*/*.flac")).unlink()
    else:
        (out / "request.json").write_text(Request(seed=99).to_json())
        (out / "wav" / "old.txt").touch()
    done = command("--out", out, *few)
    assert done.returncode == 0
    assert "made anew" in done.stderr
    assert digests(out) == wanted
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path, command: Command) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    done = command("--out", tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "precious.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--num_test_speakers", "1"], "two test speakers of one sex and accent"),
        (["--num_sessions", "1"], "--num_sessions"),
        (["--num-utterances", "0"], "--num_utterances"),
        (["--num_workers", "0"], "--num_workers"),
        (["--seed", "x"], "--seed"),
        (["--num_speakers", "4"], "--num_speakers"),
    ],
)
def test_a_wrong_request_is_one_line_and_status_2(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], named: str
) -> None:
    out = tmp_path / "mini"
    try:
        status = make_corpus.main(["--out", str(out), *options])
    except SystemExit as stop:
        status = stop.code
    message = capfd.readouterr().err
    assert status == 2
    assert named in message
    assert message.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_missing_out_is_status_2(command: Command) -> None:
    done = command("--seed", 1)
    assert done.returncode == 2
    assert "--out" in done.stderr
    assert done.stderr.count("\n") == 1


def test_espeak_that_cannot_be_loaded_is_one_line_and_status_1(tmp_path: Path, command: Command) -> None:
    (tmp_path / "espeakng_loader.py").write_text("def get_library_path(): return '/nowhere/libespeak-ng.so'\n")
    path = f"{tmp_path}{os.pathsep}{Path(__file__).parents[3]}"
    done = command("--out", tmp_path / "mini", PYTHONPATH=path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "pip install" in done.stderr
    assert not (tmp_path / "mini").exists()
    assert not list(tmp_path.glob(".mini*"))


def test_a_place_that_cannot_be_written_is_one_line_and_status_1(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert make_corpus.main(["--out", str(tmp_path / "file" / "mini")]) == 1
    assert capfd.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    script = Path(make_corpus.__file__)
    environment = {**os.environ, "PYTHONPATH": str(script.parents[3]), "TMPDIR": str(tmp_path / "tmp")}
    (tmp_path / "tmp").mkdir()
    command = [sys.executable, str(script), "--out", str(tmp_path / "mini"), "--num_workers", "1"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".mini*/wav/*/*/*.flac")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(number)
    _, message = process.communicate()
    assert process.returncode == 128 + number
    assert "Traceback" not in message
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]
    assert not list((tmp_path / "tmp").iterdir())


def test_the_request_is_kept(tiny: Path) -> None:
    stored = json.loads((tiny / "request.json").read_text())
    assert stored["seed"] == 7
    assert stored["num_sessions"] == stored["num_utterances"] == 2


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    assert make_corpus.stands(tmp_path, Request()) == "nothing"
    assert make_corpus.stands(tmp_path / "none", Request()) == "nothing"


def test_a_copy_elsewhere_is_as_complete(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "copy")
    wanted = Request(7, 8, 8, 2, 2)
    assert make_corpus.stands(tmp_path / "copy", wanted) == "complete"
    assert make_corpus.stands(tmp_path / "copy", Request()) == "other"


def test_leftovers_of_killed_runs_are_removed_and_the_work_of_living_ones_is_not(
    tiny: Path, tmp_path: Path, tiny_options: tuple[str, ...]
) -> None:
    out = tmp_path / "mini"
    shutil.copytree(tiny, out)
    dead = [tmp_path / ".mini.1.new", tmp_path / f".mini.{os.getpid()}.new", tmp_path / ".mini.99999.old"]
    for folder in dead:
        (folder / "wav").mkdir(parents=True)
    living, other = tmp_path / ".mini.2.new", tmp_path / ".mini2.1.new"
    living.mkdir()
    other.mkdir()
    with lock_folder(living, "making the corpus"):
        assert make_corpus.main(["--out", str(out), "--seed", "7", *tiny_options]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"mini", living.name, other.name}
    make_corpus.remove_leftovers(out)
    assert not living.exists()


def test_the_large_preset_and_unequal_lists(tmp_path: Path, command: Command) -> None:
    few = ("--num_train_speakers", 3, "--num_test_speakers", 2, "--num_sessions", 2, "--num_utterances", 2)
    done = command("--out", tmp_path / "large", "--preset", "large", "--unequal", "true", *few)
    assert done.returncode == 0, done.stderr
    readme = (tmp_path / "large/README.md").read_text()
    assert readme.rstrip().endswith("--num_utterances 2 --preset large --unequal true")
    assert "en-us-nyc" in readme
    assert "the age in `speakers.tsv`" in readme
    assert "names the first utterances of each speaker" in readme
    assert all(20 <= int(row["age"]) <= 80 for row in speakers(tmp_path / "large").values())
    again = command("--out", tmp_path / "large", "--preset", "large", "--unequal", "true", *few)
    assert "complete already" in again.stdout


def test_counts_of_the_large_preset_can_be_changed(tmp_path: Path, command: Command) -> None:
    done = command("--out", tmp_path, "--preset", "large", "--num_sessions", 1)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--num_sessions: expected at least 2" in done.stderr
    assert "1000" in command("--help").stdout
