"""The recipe through its own door: a tiny `mini` from stage 1 to 7, and what goes wrong."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks import newcomer
from tests.killing import TRIES

pytestmark = pytest.mark.recipe


TOP = Path(__file__).parents[1]

SMALL = "data.valid_speakers=4 data.batch_size=16 train.epochs=2 train.average_last=2 backbone.channels=32"
SMALL_BACKBONE = " backbone.mfa_channels=48 backbone.attention_channels=16 backbone.se_channels=8"
CHANGES = SMALL + SMALL_BACKBONE


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


class Tiny:
    """A finished tiny run; ``options`` address it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recipe = Recipe(folder)
        root = folder / "mini"
        self.options = [
            *("--train_roots", root, "--test_roots", root),
            *("--data_dir", folder / "data", "--exp_root", folder / "exp"),
            *("--mini_train_speakers", "16", "--mini_test_speakers", "16", "--mini-utterances=2"),
            *("--set", CHANGES, "--device", "cpu"),
        ]
        self.exp = folder / "exp" / "mini_ham_softmax"
        self.done = self.recipe(*self.options)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return Tiny(tmp_path_factory.mktemp("recipe"))


def test_the_recipe_ends_with_the_table_and_the_paths(tiny: Tiny) -> None:
    assert "mini/all" in tiny.done.stdout
    assert "mini/hard" in tiny.done.stdout
    assert str(tiny.exp / "RESULTS.md") in tiny.done.stdout
    assert str(tiny.exp / "report.html") in tiny.done.stdout


def test_the_printed_command_shows_the_curves(tiny: Tiny) -> None:
    (command,) = re.findall(r", curves: (.*)", tiny.done.stderr + tiny.done.stdout)
    done = subprocess.run([*shlex.split(command), "--inspect"], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "valid_eer" in done.stdout or "loss" in done.stdout


def test_the_recipe_leaves_its_files(tiny: Tiny) -> None:
    data = tiny.folder / "data"
    for folder in (data / "train", data / "test/mini/all", data / "test/mini/hard"):
        assert {"wav.scp", "utt2spk", "spk2utt", "utt2dur"} <= {p.name for p in folder.iterdir()}
    for name in ("config.yaml", "train.jsonl", "average.pt", "embeddings.npz", "results.json", "RESULTS.md"):
        assert (tiny.exp / name).stat().st_size > 0
    for name in ("all.cosine", "all.hyperbolic", "hard.cosine", "hard.hyperbolic"):
        assert (tiny.exp / "scores/mini" / name).stat().st_size > 0
    left = [p for p in tiny.folder.rglob("*") if ".part" in p.name or p.name.endswith("~")]
    assert left == []


def test_results_hold_the_contract(tiny: Tiny) -> None:
    results = json.loads((tiny.exp / "results.json").read_text())
    further = {"settings", "notes", "decisions", "at_thresholds", "durations", "retrieval", "fingerprint"}
    assert set(results) == {"name", "seed", "commit", "versions", "command", "results", *further}
    assert results["command"].startswith("./run.sh --train_roots ")
    lists = [(r["list"], r["backend"]) for r in results["results"]]
    assert lists == [(f"mini/{name}", b) for name in ("all", "hard") for b in ("cosine", "hyperbolic")]
    for row in results["results"]:
        assert row["eer_low"] <= row["eer"] <= row["eer_high"]
        assert 0 < row["min_dcf_p01"] <= 1
        trials = (tiny.folder / f"data/test/{row['list']}/trials").read_text().split()[2::3]
        assert (row["num_target"], row["num_nontarget"]) == (trials.count("target"), trials.count("nontarget"))


def test_embeddings_hold_the_contract(tiny: Tiny) -> None:
    with np.load(tiny.exp / "embeddings.npz", allow_pickle=False) as archive:
        assert archive["embeddings"].dtype == np.float32
        assert archive["embeddings"].shape == (len(archive["utts"]), 128)


def test_scoring_again_changes_no_byte(tiny: Tiny) -> None:
    names = ["results.json", "scores/mini/all.cosine", "scores/mini/hard.hyperbolic"]
    before = [(tiny.exp / name).read_bytes() for name in names]
    for _ in range(2):
        tiny.recipe("--stage", "6", "--stop_stage", "6", *tiny.options)
        assert [(tiny.exp / name).read_bytes() for name in names] == before


def test_a_second_run_repeats_nothing(tiny: Tiny) -> None:
    stamp = (tiny.exp / "checkpoints/epoch_0002.pt").stat().st_mtime_ns
    again = tiny.recipe("--stop-stage", "5", *tiny.options)
    assert "trained already" in again.stderr
    assert "up to date" in again.stderr
    assert (tiny.exp / "checkpoints/epoch_0002.pt").stat().st_mtime_ns == stamp


def test_another_configuration_is_refused_with_the_difference(tiny: Tiny) -> None:
    other = [*tiny.options, "--exp_name", "mini_ham_softmax", "--loss", "am_softmax", "--stage", "4"]
    done = tiny.recipe(*other, check=False)
    assert done.returncode == 2
    assert "loss.name: ham_softmax -> am_softmax" in done.stderr


def test_killed_training_resumes_to_the_same_weights(tiny: Tiny) -> None:
    """Killed after its first epoch, resumed: the same bytes of average.pt as never killed."""
    options = [*tiny.options, "--exp_name", "killed", "--stage", "4", "--stop_stage", "5"]
    checkpoints = tiny.folder / "exp/killed/checkpoints"
    command = [TOP / "run.sh", *map(str, options)]
    env = {**os.environ, "HAM_VENV": sys.prefix, "OMP_NUM_THREADS": "2"}
    for _ in range(TRIES):  # a kill may come too late, on a busy machine
        shutil.rmtree(checkpoints.parent, ignore_errors=True)
        process = subprocess.Popen(command, env=env, start_new_session=True, stderr=subprocess.DEVNULL)
        while not (checkpoints / "epoch_0001.pt").exists() and process.poll() is None:
            time.sleep(0.005)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if not (checkpoints / "epoch_0002.pt").exists():
            break
    refused = tiny.recipe(*options, check=False)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr
    tiny.recipe(*options, "--resume")
    with np.load(tiny.folder / "exp/killed/embeddings.npz") as resumed, np.load(tiny.exp / "embeddings.npz") as whole:
        np.testing.assert_array_equal(resumed["embeddings"], whole["embeddings"])
    log = [json.loads(line) for line in (tiny.folder / "exp/killed/train.jsonl").read_text().splitlines()]
    steps = [record["step"] for record in log if record["event"] == "epoch"]
    assert len(steps) == 2
    assert steps == sorted(set(steps))


def test_the_door_of_a_corpus_shares_data_and_exp(tiny: Tiny) -> None:
    done = tiny.recipe("--stage", "7", *tiny.options, door="egs/mini/run.sh")
    assert str(tiny.exp / "report.html") in done.stdout


@pytest.mark.long
def test_stored_features_train_too(tiny: Tiny) -> None:
    changes = f"{CHANGES} features=stored augment.mode=off"
    done = tiny.recipe("--stage", "3", *tiny.options, "--set", changes, "--exp_name", "stored", "--loss", "aam_softmax")
    assert "filterbanks packed" in done.stderr
    results = json.loads((tiny.folder / "exp/stored/results.json").read_text())
    assert [r["backend"] for r in results["results"]] == ["cosine", "cosine"]


def test_noise_and_rooms_from_folders_and_speed_as_new_speakers(tiny: Tiny) -> None:
    rng = np.random.default_rng(0)
    for name in ("musan/noise/a.wav", "musan/music/b.wav", "musan/speech/c.wav", "rirs/room.wav"):
        path = tiny.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.normal(size=32000 if "musan" in name else 4000), 16000)
    changes = f"{CHANGES} data.speed_perturb=[0.9,1.1] augment.mode=clean_plus_augmented"
    changes += " augment.kinds=[reverb,music,speech,noise]"
    musan = ["--musan", tiny.folder / "musan", "--rirs", tiny.folder / "rirs"]
    options = [*tiny.options, *musan, "--set", changes, "--exp_name", "musan", "--format", "ark"]
    done = tiny.recipe("--stage", "3", "--stop_stage", "5", *options)
    assert "(36 classes)" in done.stderr
    assert (tiny.folder / "exp/musan/embeddings.scp").exists()


def test_stage_8_trains_embeds_and_scores_a_fine_tuning(tiny: Tiny) -> None:
    changes = "data.crop_frames=60 train.epochs=1 schedule.warmup_epochs=0"
    call = ["--stage", "8", "--stop_stage", "8", *tiny.options, "--lm_set", changes]
    done = tiny.recipe(*call)
    tuned = tiny.exp.with_name("mini_ham_softmax_lm")
    assert "centres: 12 loaded, by speaker and speed; 0 are new" in done.stderr
    results = json.loads((tuned / "results.json").read_text())
    assert results["command"].startswith("./run.sh --stage 8 --stop_stage 8 ")
    assert [row["backend"] for row in results["results"]] == ["cosine", "hyperbolic"] * 2
    system = (tuned / "config.yaml").read_text()
    assert "margin: 0.5" in system
    assert "crop_frames: 60" in system
    assert "trained already, 1 epoch" in tiny.recipe(*call).stderr


@pytest.mark.long
def test_every_way_to_use_the_model_errs_as_stage_6_says(tiny: Tiny, tmp_path: Path) -> None:
    found = newcomer.measure(tiny.exp, tiny.folder / "data/test/mini/all", tmp_path, num_speakers=2, num_files=12)
    rates = found["eer"].values()
    assert len(rates) == (4 if importlib.util.find_spec("onnxruntime") else 3)
    assert max(rates) - min(rates) < newcomer.TOLERANCE
    assert sum(found["identified"][name] for name in ("right", "wrong")) > 0


def test_another_test_list_needs_stage_3_again(tiny: Tiny) -> None:
    data = tiny.folder / "data3"
    shutil.copytree(tiny.folder / "data", data)
    options = [*tiny.options, "--data_dir", data]
    shutil.rmtree(data / "test/mini/hard")
    lines = (data / "test/mini/all/utt2dur").read_text().splitlines()
    changed = [f"{line.split()[0]} 9.5" for line in lines]
    (data / "test/mini/all/utt2dur").write_text("\n".join(changed) + "\n", encoding="utf-8")
    done = tiny.recipe("--stage", "5", *options, check=False)
    assert done.returncode == 1
    assert "run stages 2 and 3" in done.stderr


def test_augmentation_material_is_part_of_the_experiment(tiny: Tiny) -> None:
    room = tiny.folder / "one_room/room.wav"
    room.parent.mkdir()
    soundfile.write(room, np.linspace(1, 0, 800), 16000)
    options = [*tiny.options, "--rirs", room.parent]
    tiny.recipe("--stage", "3", "--stop_stage", "3", *options)
    done = tiny.recipe("--stage", "4", *options, check=False)
    assert done.returncode == 2
    assert "room responses (--rirs): not used before, but now" in done.stderr


def test_a_folder_named_ham_where_the_user_stands_is_not_run(tiny: Tiny) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("Python 3.10 always puts the current folder first")
    (tiny.folder / "ham/bin").mkdir(parents=True)
    (tiny.folder / "ham/__init__.py").write_text("raise SystemExit('the wrong ham')", encoding="utf-8")
    tiny.recipe("--stage", "7", *tiny.options)


REQUESTS = [
    (["--stage", "9", "--exp_name", "none"], 2, "average.pt"),
    (["--stage", "10"], 2, "--stage: expected 1 to 9"),
    (["--stage", "5", "--stop_stage", "9"], 2, "stage 9 stands alone"),
    (["--set", "augment.kinds=[noize]"], 2, "unknown kind 'noize'"),
    (["--set", "data.valid_speakers=1"], 2, "at least 2"),
    (["--seed", "99999999999999999999"], 2, "whole number"),
    (["--musan", "/none"], 2, "--musan '/none': no such folder"),
    (["--set", "data.speed_perturb=[0.9, 1.1] data.batch_size=1"], 2, "data.batch_size: expected at least 2"),
    (["--format", "foo"], 2, "npz, ark, csv or parquet"),
    (["--durations", "1 x"], 2, "expected seconds such as"),
    (["--score_labels", "maybe"], 2, "expected true or false"),
    (["--batch_size", "0"], 2, "at least 1"),
    (["--train_chunk_s", "-2"], 2, "--train_chunk_s: expected seconds such as 2.015"),
    (["--device", "gpu"], 2, "--device gpu"),
    (["--train_roots", "/own/speech"], 2, "--corpus folder"),
    (["--exp_name", "x", "--set", "schedule.name=foo"], 2, "schedule.name"),
    (["--satge", "1"], 2, "unknown option --satge"),
    (["--stage"], 2, "--stage needs a value"),
    (["--stage", "x"], 2, "whole number"),
    (["--stage", "8", "--stop_stage", "8"], 2, "expected average.pt, found none; run stages 4 and 5 before stage 8"),
    (["--stage", "5", "--stop_stage", "4"], 2, "comes after"),
    (["--corpus", "voxcelb"], 2, "choose one of: cnceleb folder mini voxceleb"),
    (["--check", "no"], 2, "--check: expected decode or header"),
    (["--enrol", "sum"], 2, "--enrol: expected average or concatenate"),
    (["--corpus", "voxceleb", "--train_set", "vox2"], 2, "expected one or more of vox1_dev vox2_dev, found 'vox2'"),
    (["--corpus", "voxceleb", "--train_set", "vox1_dev", "--trial_lists", "vox1_e"], 2, "which are trained on"),
    (["--corpus", "voxceleb", "--train_roots", "/own/speech"], 2, "--corpus folder"),
    (["--corpus", "voxceleb", "--wav_root", "/none"], 2, "--wav_root '/none': no such folder"),
    (["--corpus", "voxceleb", "--vox2_audio", "mp3"], 2, "expected flac, wav or m4a"),
    (["--corpus", "voxceleb", "--official_url", "https://a/b?key=c"], 2, "the key has its own places"),
    (["--corpus", "cnceleb", "--train_set", ""], 2, "expected one or more of cn1_dev cn2, found nothing"),
    (["--corpus", "cnceleb", "--max_missing_files", "-1"], 2, "--max_missing_files: expected a whole number"),
    (["--loss", "ham_sofmax"], 2, "ham_softmax"),
    (
        ["--set", "loss.name=hamsoftmax"],
        2,
        "mini.yaml with --set loss.name=hamsoftmax: loss.name: expected one",
    ),
    (["--set", "loss={embedding_dim: 7}"], 2, "'embedding_dim'"),
    (["--exp_name", "../x"], 2, "--exp_name: expected the name of a folder"),
    (["--exp_name", "-x"], 2, "--exp_name: expected the name of a folder"),
    (["--exp_name="], 2, "--exp_name: expected the name of a folder"),
    (["--exp_name", "a\nb"], 2, "'a\\nb'"),
    (["--backends", "hyperbolic", "--loss", "softmax"], 2, "softmax has no distance; add cosine"),
    (["--config", "conf/none.yaml"], 2, "conf/mini.yaml"),
    (["--set", "train.epoch=1"], 2, "did you mean 'train.epochs'"),
    (["--set", "loss.curvature=0"], 2, "curvature"),
    (["--set", "backbone.chanels=8"], 2, "channels"),
    (["--corpus", "folder"], 2, "--train_roots"),
    (["--corpus", "folder", "--train_roots", "/none", "--test_roots", "/none"], 2, "/none"),
    (["stage", "1"], 2, "expected --option"),
    (["--resume=perhaps"], 2, "true or false"),
]


@pytest.mark.parametrize(
    ("arguments", "status", "words"), REQUESTS, ids=lambda v: " ".join(v) if type(v) is list else ""
)
def test_a_wrong_request_is_one_line(recipe: Recipe, arguments: list[str], status: int, words: str) -> None:
    where = ["--data_dir", recipe.folder / "data", "--exp_root", recipe.folder / "exp"]
    done = recipe(*where, *arguments, check=False)
    assert done.returncode == status
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert words in errors[0]
    assert "Traceback" not in done.stderr
    assert not any(p.name not in ("data", "exp") for p in recipe.folder.iterdir())


def test_help_lists_every_option(recipe: Recipe) -> None:
    shown = recipe("--help").stdout
    for name in ("--stage", "--corpus", "--loss", "--mini_train_speakers"):
        assert re.search(rf"^  {name} ", shown, re.MULTILINE)


def test_an_unwritable_place_is_one_line(tiny: Tiny) -> None:
    taken = tiny.folder / "taken"
    taken.write_text("a file where a folder should be", encoding="utf-8")
    done = tiny.recipe("--stage", "4", *tiny.options, "--exp_root", taken, check=False)
    assert done.returncode == 1
    assert len([line for line in done.stderr.splitlines() if line.startswith("error:")]) == 1
    assert "Traceback" not in done.stderr


def test_a_folder_of_speech_without_lists(tiny: Tiny) -> None:
    """Anybody's speech: a root with nothing but wav/ is split, and gets trials."""
    root = tiny.folder / "mine"
    shutil.copytree(tiny.folder / "mini" / "wav", root / "wav", dirs_exist_ok=True)
    options = ["--corpus", "folder", "--train_roots", root, "--test_roots", root]
    where = ["--data_dir", tiny.folder / "data2", "--exp_root", tiny.folder / "exp2"]
    changes = [*("--config", "mini", "--set", CHANGES)]
    done = tiny.recipe(*options, *where, *changes)
    assert "mine/all" in done.stdout
    assert " cosine+as_norm " in done.stdout  # by default, however few speakers there are
