"""Stage 5: training speech whole or in pieces, what is up to date, several processes."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from ham.bin import extract
from ham.cli import run
from ham.config import from_dict, to_dict
from ham.data.store import ArrayStore, write_store
from ham.embeddings.recordings import Cuts, RandomChunks
from ham.embeddings.table import read_embeddings, read_table
from ham.files import lock_folder
from ham.model import checkpoint
from ham.model.build import build_backbone, build_loss
from ham.model.directory import pack
from ham.model.encoder import SpeakerEncoder
from ham.score.held_aside import read_held_aside
from tests.kill_matrix import command_line
from tests.killing import command, environment
from tests.processes import together

NUM_SPEAKERS, UTTS = 4, 3
TINY = {
    "backbone": {"name": "ecapa_tdnn", "embedding_dim": 8, "channels": 16, "mfa_channels": 24, "scale": 4},
    "loss": {"name": "am_softmax"},
    "data": {"valid_speakers": 0},
    "train": {"epochs": 1, "average_last": 1},
}


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """Stores of training and test speech of 1 to 2 s, and an untrained network as the only epoch."""
    generator = np.random.default_rng(0)
    samples = {
        f"s{s}-v{u}-0": generator.normal(0, 3000, generator.integers(16000, 32000)).astype(np.int16)
        for s in range(NUM_SPEAKERS)
        for u in range(UTTS)
    }
    for name in ("train", "test/x/all"):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        speakers = {f"s{s}": [utt for utt in samples if utt.startswith(f"s{s}-")] for s in range(NUM_SPEAKERS)}
        (folder / "wav.scp").write_text("".join(f"{utt} /a/{utt.replace('-', '/')}.wav\n" for utt in samples))
        (folder / "utt2spk").write_text("".join(f"{utt} {utt[:2]}\n" for utt in samples))
        (folder / "utt2dur").write_text("".join(f"{utt} {len(x) / 16000:.6f}\n" for utt, x in samples.items()))
        (folder / "spk2utt").write_text("".join(f"{spk} {' '.join(utts)}\n" for spk, utts in speakers.items()))
        write_store(
            tmp_path / "data/store" / name.split("/")[0], [*samples.items()], {"sample_rate": 16000, "files": 1}
        )
    (folder / "trials").write_text("s0-v0-0 s0-v1-0 target\ns0-v0-0 s1-v0-0 nontarget\n")
    torch.manual_seed(0)
    config = from_dict(TINY)
    state = {
        "config": to_dict(config), "seed": 7, "fingerprint": "", "num_speakers": NUM_SPEAKERS, "speakers": [*speakers],
        "valid_speakers": [], "versions": {}, "schedules": {}, "command": "",
        "loss": build_loss(config, NUM_SPEAKERS).state_dict(),
        "backbone": build_backbone(config).eval().state_dict(),
    }  # fmt: skip
    checkpoint.save(checkpoint.epoch_path(tmp_path / "exp/checkpoints", 1), state)
    return tmp_path


def extract_training(folder: Path, *options: str) -> tuple[np.ndarray, dict[str, np.ndarray], float]:
    """Mean, calibration embeddings and the seconds that the file names."""
    where = ["--data_dir", f"{folder}/data", "--exp_dir", f"{folder}/exp", "--device", "cpu"]
    assert run(extract.main, [*where, "--backends", "cosine+mean cosine+llr", *options]) == 0
    with np.load(folder / "exp/training/cohort.npz") as arrays:
        mean, seconds = arrays["mean"], float(arrays["train_chunk_s"])
    table = read_embeddings(folder / "exp/training/calibration.npz")
    return mean, dict(zip(table.utts, table.embeddings, strict=True)), seconds


def test_training_speech_is_embedded_whole_or_from_random_pieces(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = ArrayStore(trained / "data/store/train")
    whole, of_whole, seconds = extract_training(trained)
    assert seconds == 0
    pieces, of_pieces, seconds = extract_training(trained, "--train_chunk_s", "0.5")
    assert seconds == 0.5
    encoder = SpeakerEncoder.load(trained / "exp", "cpu")
    for recordings, mean, of_utts in ((store, whole, of_whole), (RandomChunks(store, 8000, 7), pieces, of_pieces)):
        rows = encoder.embed_recordings(recordings)
        np.testing.assert_allclose(mean, rows.mean(axis=0), atol=1e-5)
        for utt, row in of_utts.items():
            np.testing.assert_allclose(row, rows[list(store.utts).index(utt)], atol=1e-5)
    assert np.abs(whole - pieces).max() > 1e-3
    assert "up to date, 4 training speakers" not in capsys.readouterr().err
    extract_training(trained, "--train_chunk_s", "0.50")
    assert "up to date, 4 training speakers" in capsys.readouterr().err


def test_a_model_directory_is_measured_in_place_of_a_training(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extract.main(["--data_dir", f"{trained}/data", "--exp_dir", f"{trained}/exp", "--device", "cpu"])
    pack(trained / "exp", trained / "model")
    where = ["--data_dir", f"{trained}/data", "--device", "cpu", "--model", f"{trained}/model"]
    assert run(extract.main, [*where, "--exp_dir", f"{trained}/measured"]) == 0
    first, second = (read_embeddings(trained / name / "embeddings.npz") for name in ("exp", "measured"))
    np.testing.assert_array_equal(first.embeddings, second.embeddings)
    assert (trained / "measured/config.yaml").read_text() == (trained / "model/config.yaml").read_text()
    assert run(extract.main, [*where, "--exp_dir", f"{trained}/exp"]) == 2
    assert "is the experiment of a training; choose another --exp_name" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["-1", "0.01", "nan", "inf", "x"])
def test_a_piece_has_a_length(tmp_path: Path, capsys: pytest.CaptureFixture[str], value: str) -> None:
    where = ["--data_dir", f"{tmp_path}", "--exp_dir", f"{tmp_path}"]
    assert run(extract.main, [*where, "--train_chunk_s", value]) == 2
    assert "--train_chunk_s" in capsys.readouterr().err


ALL = ("--device", "cpu", "--batch_size", "2", "--backends", "cosine+crops", "cosine+mean", "cosine+llr")


def arguments(folder: Path, exp: str = "exp") -> list[str]:
    return ["--data_dir", f"{folder}/data", "--exp_dir", f"{folder}/{exp}", *ALL]


def made(folder: Path) -> dict[str, np.ndarray]:
    """All arrays that extraction has left in an experiment."""
    found = {}
    for path in sorted(folder.rglob("*.npz")):
        with np.load(path) as arrays:
            found |= {f"{path.relative_to(folder)} {name}": arrays[name] for name in arrays.files}
    return found


@pytest.fixture
def alone(trained: Path) -> dict[str, np.ndarray]:
    """What one process has made in a copy of the experiment."""
    shutil.copytree(trained / "exp", trained / "alone")
    extract.main(arguments(trained, "alone"))
    return made(trained / "alone")


def test_one_process_makes_the_embeddings_of_the_encoder(trained: Path, alone: dict[str, np.ndarray]) -> None:
    encoder, store = SpeakerEncoder.load(trained / "alone", "cpu"), ArrayStore(trained / "data/store/test")
    np.testing.assert_array_equal(alone["embeddings.npz embeddings"], encoder.embed_recordings(store, batch_size=2))
    assert len(alone["crops.npz utts"]) == 5 * len(store)


@pytest.mark.recipe
@pytest.mark.parametrize("num_processes", [2, 8])
def test_several_processes_make_the_embeddings_of_one(
    trained: Path, alone: dict[str, np.ndarray], num_processes: int
) -> None:
    (trained / "meet").mkdir()
    together(extract.main, num_processes, trained / "meet", arguments(trained))  # 12 utterances are 6 batches
    several = made(trained / "exp")
    assert several.keys() == alone.keys()
    for name, array in alone.items():
        np.testing.assert_array_equal(several[name], array, err_msg=name)


def started(folder: Path, *further: str) -> subprocess.Popen[str]:
    words = command("extract", *arguments(folder), "--num_gpus", "2", *further)
    return subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE, text=True)


@pytest.mark.recipe
def test_the_command_starts_the_processes(trained: Path, alone: dict[str, np.ndarray]) -> None:
    process = started(trained)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert said.count("embeddings.npz: 12 utterances") == 1  # only the first process talks
    for name, array in alone.items():
        np.testing.assert_array_equal(made(trained / "exp")[name], array, err_msg=name)


def children(pid: int) -> Sequence[int]:
    """Processes that a process has started."""
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in path.read_text().split()]
    return found


@pytest.mark.recipe
def test_a_killed_process_ends_the_stage_with_one_line(trained: Path) -> None:
    process = started(trained)
    workers: list[int] = []
    while len(workers) < 2 and process.poll() is None:
        time.sleep(0.02)
        workers = [pid for pid in children(process.pid) if "ham.bin.extract" in command_line(pid)]
    os.kill(workers[1], signal.SIGKILL)
    (line,) = process.communicate()[1].splitlines()
    assert "was ended by SIGKILL" in line
    assert process.returncode == 1
    assert not (trained / "exp/embeddings.npz").exists()


@pytest.mark.recipe
def test_what_one_process_refuses_is_said_once(trained: Path) -> None:
    path = checkpoint.epoch_path(trained / "exp/checkpoints", 1)
    state = checkpoint.load(path)
    for value in state["backbone"].values():
        value.fill_(torch.nan if value.is_floating_point() else 1)
    checkpoint.save(path, state)
    process = started(trained)
    *_, line = process.communicate()[1].splitlines()
    assert "embeddings are not finite" in line
    assert process.returncode == 1


def extract_test(folder: Path, *options: str) -> int:
    where = ["--data_dir", f"{folder}/data", "--exp_dir", f"{folder}/exp", "--device", "cpu"]
    return run(extract.main, [*where, *options])


def test_speech_for_thresholds_is_embedded_by_default(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert extract_test(trained) == 0
    assert "12 utterances of 4 training speakers, whom the network tells apart better" in capsys.readouterr().err
    assert not (trained / "exp/training").exists()
    encoder, store = SpeakerEncoder.load(trained / "exp", "cpu"), ArrayStore(trained / "data/store/train")
    found = read_held_aside(trained / "exp", encoder.fingerprint)
    assert found is not None
    assert found.embedded.embeddings.utts == tuple(store.utts)
    np.testing.assert_allclose(found.embedded.embeddings.embeddings, encoder.embed_recordings(store), atol=1e-5)
    assert (found.embedded.trials.num_target, found.embedded.trials.num_nontarget) == (4 * 3, 6 * 9)
    assert extract_test(trained) == 0
    assert "thresholds.npz: up to date" in capsys.readouterr().err


@pytest.mark.parametrize("missing", ["data/train/utt2dur", "data/store/train/meta.json"])
def test_without_training_speech_there_are_no_thresholds(
    trained: Path, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    (trained / missing).unlink()
    assert extract_test(trained) == 0
    assert f"no thresholds: {(trained / missing).parent}" in capsys.readouterr().err
    assert not (trained / "exp/thresholds.npz").exists()


def test_one_recording_of_each_speaker_makes_no_thresholds(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, utts = trained / "data/train", [f"s{s}-v0-0" for s in range(NUM_SPEAKERS)]
    for name in ("wav.scp", "utt2spk", "utt2dur"):
        lines = (folder / name).read_text().splitlines(keepends=True)
        (folder / name).write_text("".join(line for line in lines if line.split()[0] in utts))
    (folder / "spk2utt").write_text("".join(f"{utt[:2]} {utt}\n" for utt in utts))
    store = ArrayStore(trained / "data/store/train")
    kept = [(utt, store.read(list(store.utts).index(utt))) for utt in utts]
    shutil.rmtree(trained / "data/store/train")
    write_store(trained / "data/store/train", kept, {"sample_rate": 16000, "files": 1})
    assert extract_test(trained) == 0
    assert "expected two speakers of two recordings, found fewer" in capsys.readouterr().err


def test_cuts_and_formats(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (trained / "exp/embeddings.parquet").write_bytes(b"of weights before")
    assert extract_test(trained, "--durations", "1.5 0.5", "--format", "csv") == 0
    assert not (trained / "exp/embeddings.parquet").exists()
    encoder, store = SpeakerEncoder.load(trained / "exp", "cpu"), ArrayStore(trained / "data/store/test")
    whole = read_embeddings(trained / "exp/embeddings.npz")
    np.testing.assert_array_equal(read_table(trained / "exp/embeddings.csv").embeddings, whole.embeddings)
    for name, samples in (("0.5", 8000), ("1.5", 24000)):
        found = read_embeddings(trained / f"exp/durations/{name}s.npz")
        assert found.utts == tuple(store.utts)
        np.testing.assert_allclose(found.embeddings, encoder.embed_recordings(Cuts(store, samples, 7)), atol=1e-5)
    assert 0 < (store.lengths < 24000).sum() < len(store)
    capsys.readouterr()
    assert extract_test(trained, "--durations", "1.5", "--format", "ark") == 0
    said = capsys.readouterr().err
    assert "embeddings.npz: up to date" in said
    assert "1.5s.npz: up to date" in said
    np.testing.assert_array_equal(read_table(trained / "exp/embeddings.ark").embeddings, whole.embeddings)


@pytest.mark.parametrize("options", [["--durations", "0.1"], ["--durations", "1 x"], ["--format", "foo"]])
def test_wrong_requests_end_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    assert extract_test(tmp_path, *options) == 2
    assert options[0] in capsys.readouterr().err


def test_nothing_is_embedded_while_another_stage_writes(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--data_dir", str(trained / "data"), "--exp_dir", str(trained / "exp"), "--device", "cpu"]
    with lock_folder(trained / "exp", "train"):
        assert run(extract.main, place) == 1
    assert "found at work: train, process" in capsys.readouterr().err
    assert not (trained / "exp/average.pt").exists()
