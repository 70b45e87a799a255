"""Stage 4's refusals; the training itself is shown by tests/test_recipe.py."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml

from ham.bin import extract, make_store, score, train
from ham.data.identity import SUMS_FILE
from ham.data.kaldi_dir import read_data_dir, write_data_dir
from ham.data.trials import Trials
from ham.errors import CheckpointError, ConfigError, DataError, HamError
from ham.files import lock_folder
from ham.model import checkpoint
from ham.model.encoder import SpeakerEncoder
from ham.train.step import TrainingStep

CHANGES = [
    "train.epochs=2",
    "train.average_last=1",
    "data.batch_size=4",
    "data.valid_speakers=2",
    "data.crop_frames=20",
]
SYSTEM = "backbone: {name: resnet18, width: 4, embedding_dim: 8}\naugment: {mode: off}\nloss: {name: am_softmax}\n"


class Lab:
    """A small data directory with its options."""

    def __init__(self, folder: Path) -> None:
        self.data_dir, self.exp_dir, self.config = folder / "data", folder / "exp/a", folder / "tiny.yaml"
        self.config.write_text(SYSTEM, encoding="utf-8")
        rng = np.random.default_rng(0)
        wav, utt2spk, utt2dur = {}, {}, {}
        for i in range(24):
            utt, path = f"s{i % 6}-u{i:02d}", folder / f"{i}.flac"
            soundfile.write(path, 0.1 * rng.normal(size=8000), 16000)
            wav[utt], utt2spk[utt], utt2dur[utt] = path, utt[:2], 0.5
        write_data_dir(self.data_dir / "train", wav, utt2spk, utt2dur)
        utts = sorted(wav)
        trials = Trials(tuple(utts[:6]), tuple(utts[1:7]), np.array([1, 1, 1, 0, 1, 1], np.int8))
        test = {u: u for u in utts[:7]}
        write_data_dir(
            self.data_dir / "test/r/l",
            {u: wav[u] for u in test},
            {u: utt2spk[u] for u in test},
            dict.fromkeys(test, 0.5),
            trials,
        )

    def system(self, *changes: str) -> list[str]:
        return ["--config", str(self.config), "--set", *CHANGES, *changes]

    def pack(self, *extra: str) -> None:
        make_store.main(["--data_dir", str(self.data_dir), *self.system(), *extra])

    def train(self, *extra: str, changes: tuple[str, ...] = ()) -> None:
        place = ["--data_dir", str(self.data_dir), "--exp_dir", str(self.exp_dir), "--device", "cpu"]
        train.main([*place, *self.system(*changes), *extra])

    def extract(self, *backends: str) -> None:
        place = ["--data_dir", str(self.data_dir), "--exp_dir", str(self.exp_dir), "--device", "cpu"]
        extract.main([*place, "--backends", *(backends or ("cosine",))])

    def keep_one_recording_each(self) -> None:
        """Of the training speakers."""
        train_dir = read_data_dir(self.data_dir / "train")
        kept = {spk: utt for utt, spk in train_dir.utt2spk.items()}.values()
        tables = (train_dir.wav, train_dir.utt2spk, train_dir.utt2dur)
        wav, utt2spk, utt2dur = ({utt: table[utt] for utt in sorted(kept)} for table in tables)  # type: ignore[attr-defined]
        write_data_dir(self.data_dir / "train", wav, utt2spk, utt2dur)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_without_a_store_the_cure_is_named(lab: Lab) -> None:
    with pytest.raises(DataError, match="run stage 3"):
        lab.train()


def test_a_store_of_other_utterances_is_refused(lab: Lab) -> None:
    lab.pack()
    lines = (lab.data_dir / "train/wav.scp").read_text().splitlines(keepends=True)
    for name in ("wav.scp", "utt2spk", "utt2dur"):
        path = lab.data_dir / "train" / name
        path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    spk2utt = lab.data_dir / "train/spk2utt"
    spk2utt.write_text(spk2utt.read_text().replace(lines[0].split()[0] + " ", "", 1))
    with pytest.raises(DataError, match="made from other recordings"):
        lab.train()


def test_stored_features_of_another_front_end_are_refused(lab: Lab) -> None:
    changes = ("features=stored",)
    make_store.main(["--data_dir", str(lab.data_dir), *lab.system(*changes)])
    with pytest.raises(DataError, match="another front end"):
        lab.train(changes=(*changes, "frontend.name=kaldi_fbank"))
    lab.train(changes=changes)


def test_the_number_of_workers_is_no_part_of_an_experiment(lab: Lab) -> None:
    lab.pack()
    lab.train()
    lab.train(changes=("data.num_workers=1",))


@pytest.mark.recipe
def test_several_processes_train_one_experiment_and_one_of_them_talks(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    lab.pack()
    capfd.readouterr()
    lab.train("--num_gpus", "2")
    told = capfd.readouterr().err
    assert told.count("epoch 1/2: loss") == told.count("kept for validation") == 1
    events = [json.loads(line)["event"] for line in (lab.exp_dir / "train.jsonl").read_text().splitlines()]
    assert events == ["start", "step", "epoch", "step", "epoch"]
    lab.extract()
    lab.train("--num_gpus", "1")  # it is done, whoever asks
    with pytest.raises(ConfigError, match="expected a multiple of 3, the number of processes"):
        lab.train("--num_gpus", "3", changes=("data.batch_size=4",))
    with pytest.raises(HamError, match="another configuration") as caught:  # found by the processes
        lab.train("--num_gpus", "2", changes=("optimiser.lr=0.5",))
    assert caught.value.exit_status == 2
    assert capfd.readouterr().err.count("another configuration") == 0


def test_a_profile_is_a_table_and_no_training(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.pack()
    lab.train("--profile", "true", changes=("train.tf32=true",))
    assert "| backbone | " in capsys.readouterr().out
    assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32
    assert [path.name for path in lab.exp_dir.iterdir()] == ["profile"]
    lab.train()
    assert not torch.backends.cudnn.allow_tf32


def stop_training_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for the end of the process, in the forward pass of the next one."""
    original, done = TrainingStep.backward, []

    def step(self: TrainingStep, *args: object) -> object:
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(1)
        return original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(TrainingStep, "backward", step)


@pytest.mark.parametrize("order", ["shuffle", "balanced"])
def test_a_training_goes_on_within_an_epoch(lab: Lab, monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    changes = (f"data.order={order}", "train.checkpoint_steps=3")
    lab.pack()
    lab.train(changes=changes[:1])
    whole = checkpoint.load(lab.exp_dir / "checkpoints/epoch_0002.pt")
    lab.exp_dir = lab.exp_dir.with_name("stopped")
    with monkeypatch.context() as patch:
        stop_training_after(7, patch)
        with pytest.raises(KeyboardInterrupt):
            lab.train(changes=changes)
    assert sorted(path.name for path in (lab.exp_dir / "checkpoints").iterdir()) == [
        "epoch_0001.pt",
        "epoch_0002_step_00000006.pt",
    ]
    (lab.exp_dir / "checkpoints/epoch_0001.pt").unlink()  # the one within the epoch is enough
    with pytest.raises(ConfigError, match=r"stopped after step 6, in epoch 2 of 2; go on with --resume"):
        lab.train(changes=changes)
    lab.train("--resume", "true", changes=(*changes[:1], "train.checkpoint_steps=0", "data.max_bad_crops=3"))
    resumed = checkpoint.load(lab.exp_dir / "checkpoints/epoch_0002.pt")
    assert all(torch.equal(value, resumed["backbone"][key]) for key, value in whole["backbone"].items())
    assert not list(lab.exp_dir.glob("checkpoints/*step*"))


def test_music_that_is_not_there_is_told(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.pack()
    with caplog.at_level("INFO"):
        lab.train(changes=("train.epochs=1", "augment.mode=replace"))
        assert caplog.text.count("no MUSAN (--musan)") == 1
        caplog.clear()
        lab.exp_dir /= "../b"
        lab.train(changes=("train.epochs=1", "augment.mode=replace", "augment.kinds=[noise]"))
        assert "MUSAN" not in caplog.text


def test_a_cut_shard_is_found_before_the_training(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.pack()
    shard = lab.data_dir / "store/train/shard-00000.npy"
    content = shard.read_bytes()
    os.truncate(shard, 3000)
    with pytest.raises(DataError, match=r"shard-00000\.npy: expected \d+ bytes, found 3000; delete .* and run stage 3"):
        lab.train()
    with pytest.raises(DataError, match=r"shard-00000\.npy: cannot be read or damaged"):
        lab.train(changes=("data.max_bad_crops=3",))
    assert "up to 3 crops of an epoch may be unreadable" in caplog.text
    lab.pack()
    assert shard.read_bytes() == content
    shard.write_bytes(content[:-2] + b"xy")
    with pytest.raises(DataError, match=r"shard-00000\.npy: damaged: expected CRC-32"):
        lab.pack("--verify", "true")
    shard.unlink()
    lab.pack("--verify", "true")
    assert shard.read_bytes() == content


def test_what_a_killed_training_left_is_gone_after_the_next(lab: Lab) -> None:
    lab.pack()
    left = [lab.exp_dir / "checkpoints/.epoch_0001_step_00000003.pt.part", lab.exp_dir / ".config.yaml.part"]
    left[0].parent.mkdir(parents=True)
    for path in left:
        path.write_bytes(b"half")
    lab.train()
    assert not any(path.exists() for path in left)
    assert not list(lab.exp_dir.rglob("*.part"))


def test_the_configuration_is_written_with_every_default(lab: Lab) -> None:
    lab.pack()
    lab.train()
    tree = yaml.safe_load((lab.exp_dir / "config.yaml").read_text())
    assert tree["loss"] == {"name": "am_softmax", "scale": 30.0, "margin": 0.2, "chunk": "auto"}
    assert tree["data"]["batch_size"] == 4
    assert tree["schedule"] == {"name": "step", "warmup_epochs": 0.0, "gamma": 0.97, "step_epochs": 1}
    lab.train(changes=("loss.margin=0.2",))


def test_the_saved_configuration_makes_the_same_experiment(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.pack()
    lab.train("--seed", "2", changes=("train.average_last=9",))
    saved = lab.exp_dir / "config.yaml"
    assert yaml.safe_load(saved.read_text())["train"]["average_last"] == 2
    place = ["--data_dir", str(lab.data_dir), "--exp_dir", str(lab.exp_dir), "--device", "cpu"]
    with caplog.at_level("INFO"):
        train.main([*place, "--config", str(saved), "--seed", "2"])
    assert "trained already, 2 epochs" in caplog.text
    with pytest.raises(ConfigError, match="seed: 2 -> 1"):
        train.main([*place, "--config", str(saved)])


def test_what_a_request_does_not_take_is_said(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.pack()
    with caplog.at_level("INFO"):
        lab.train(changes=("train.average_last=5", "schedule.final_lr=1e-4"))
    assert "train.average_last: 5 cut to train.epochs, 2" in caplog.text
    assert "schedule.final_lr: left out, step does not take it" in caplog.text


def test_an_experiment_of_before_an_option_existed_is_still_the_same(lab: Lab) -> None:
    lab.pack()
    lab.train()
    path = lab.exp_dir / "config.yaml"
    tree = yaml.safe_load(path.read_text())
    del tree["loss"]["chunk"], tree["curvature"]
    tree["schedule"]["final_lr"] = tree["optimiser"]["momentum"] = 0.9  # once written whatever the name
    path.write_text(yaml.safe_dump(tree))
    lab.train()
    tree["loss"]["old_option"] = 1
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=r"loss\.old_option: 1 -> \(absent\)"):
        lab.train()


def test_a_curvature_is_scheduled_or_learnt_and_found_again(lab: Lab) -> None:
    lab.pack()
    learnt = ("loss.name=ham_softmax", "loss.geometry=lorentz", "loss.learn_curvature=true", "loss.curvature=1.0")
    lab.train(changes=learnt)
    lab.extract()
    score.main(["--data_dir", str(lab.data_dir), "--exp_dir", str(lab.exp_dir)])
    assert (lab.exp_dir / "scores/r/l.hyperbolic").exists()
    loss = SpeakerEncoder.load(lab.exp_dir).loss
    events = [json.loads(line) for line in (lab.exp_dir / "train.jsonl").read_text().splitlines()]
    assert loss.curvature == pytest.approx(events[-1]["diag/curvature"])
    assert loss.curvature != 1.0
    lab.exp_dir = lab.exp_dir.with_name("scheduled")
    schedule = ("curvature.name=linear", "curvature.start=1.0", "curvature.end_epoch=2")
    lab.train(changes=("loss.name=ham_softmax", *schedule))
    events = [json.loads(line) for line in (lab.exp_dir / "train.jsonl").read_text().splitlines()]
    curvatures = [e["curvature"] for e in events if e["event"] == "epoch"]
    assert 1.0 < curvatures[0] < 2.0 < curvatures[1] < 3.0


def test_short_utterances_are_left_out_on_request_and_told(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    path = lab.data_dir / "train/utt2dur"
    lines = path.read_text().splitlines(keepends=True)
    for utt in ("s0-u00", "s3-u03", "s3-u09"):
        soundfile.write(lab.data_dir.parent / f"{int(utt[-2:])}.flac", np.full(3200, 0.1), 16000)
        lines = [line.replace("0.5", "0.2") if line.startswith(utt) else line for line in lines]
    path.write_text("".join(lines))
    lab.pack()
    with caplog.at_level("INFO"):
        lab.train(changes=("data.min_utterance_s=0.3", "data.valid_speakers=0"))
    assert "3 utterances below 0.3 s are left out (data.min_utterance_s)" in caplog.text
    assert "21 utterances of 6 speakers" in caplog.text
    with pytest.raises(ConfigError, match=r"data\.min_utterance_s: 0\.3 -> 0\.0"):
        lab.train(changes=("data.valid_speakers=0",))
    with pytest.raises(DataError, match=r"found 0; 24 utterances are below 9 s \(data\.min_utterance_s\)"):
        lab.train(changes=("data.min_utterance_s=9", "data.valid_speakers=0"))


def test_too_few_speakers_are_refused(lab: Lab) -> None:
    lab.pack()
    with pytest.raises(DataError, match=r"data\.valid_speakers"):
        lab.train(changes=("data.valid_speakers=5",))


def test_train_refuse_extract(lab: Lab) -> None:
    lab.pack()
    with pytest.raises(CheckpointError, match="train first"):
        lab.extract()
    lab.train()
    with pytest.raises(ConfigError, match=r"optimiser\.lr: 0\.001 -> 0\.01"):
        lab.train(changes=("optimiser.lr=1e-2",))
    with pytest.raises(ConfigError, match=r"seed: 1 -> 2"):
        lab.train("--seed", "2")
    lab.extract()
    with np.load(lab.exp_dir / "embeddings.npz", allow_pickle=False) as archive:
        assert archive["embeddings"].shape == (7, 8)
    newest = lab.exp_dir / "checkpoints/epoch_0002.pt"
    newest.write_bytes(newest.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="damaged"):
        lab.extract()


def test_an_unfinished_training_is_not_averaged(lab: Lab) -> None:
    lab.pack()
    lab.train(changes=("train.average_last=2",))
    (lab.exp_dir / "checkpoints/epoch_0002.pt").unlink()
    with pytest.raises(CheckpointError, match="stopped after epoch 1 of 2"):
        lab.extract()
    with pytest.raises(ConfigError, match="--resume"):
        lab.train(changes=("train.average_last=2",))
    lab.train("--resume", "true", changes=("train.average_last=2",))
    lab.extract()


def test_a_device_that_is_not_there_is_refused(lab: Lab) -> None:
    with pytest.raises(ConfigError, match="--device cuda:77"):
        lab.train("--device", "cuda:77")
    with pytest.raises(ConfigError, match="--device gpu"):
        lab.train("--device", "gpu")


@pytest.mark.parametrize("backends", ["cosine+llr", "fusion", "cosine cosine+as_norm+qmf", "all"])
def test_a_calibration_that_cannot_be_is_refused_before_the_training(lab: Lab, backends: str) -> None:
    lab.keep_one_recording_each()
    lab.pack()
    with pytest.raises(ConfigError, match="expected a training speaker with two recordings to calibrate on, found one"):
        lab.train("--backends", backends, "--top_n", "4", changes=("data.valid_speakers=0",))
    assert not lab.exp_dir.exists()


def test_norms_work_with_one_recording_a_speaker(lab: Lab) -> None:
    lab.keep_one_recording_each()
    lab.pack()
    names = ["cosine", "cosine+mean", "cosine+s_norm", "cosine+mean+as_norm"]
    lab.train("--backends", *names, "--top_n", "6", changes=("data.valid_speakers=0",))
    lab.extract(*names)
    assert [path.name for path in (lab.exp_dir / "training").iterdir()] == ["cohort.npz"]
    score.main(
        ["--data_dir", str(lab.data_dir), "--exp_dir", str(lab.exp_dir), "--backends", *names, "--top_n", "6"]
    )  # fmt: skip
    entries = json.loads((lab.exp_dir / "results.json").read_text())["results"]
    assert [entry["backend"] for entry in entries] == names


def test_a_cohort_that_is_too_small_is_refused_before_the_training(lab: Lab) -> None:
    lab.pack()
    with pytest.raises(
        ConfigError, match=r"--top_n: expected at most 4, the speakers of .*\(data\.valid_speakers\), found 5"
    ):
        lab.train("--backends", "cosine+as_norm", "--top_n", "5")
    assert not lab.exp_dir.exists()


def test_crops_of_models_are_refused_before_the_training(lab: Lab) -> None:
    lab.pack()
    (lab.data_dir / "test/r/l/enrol").write_text("m s0-u00 s0-u06\n", encoding="utf-8")
    with pytest.raises(
        ConfigError, match=r"--backends cosine\+crops: .*r/l has models of several recordings; add cosine"
    ):
        lab.train("--backends", "cosine+crops")
    assert not lab.exp_dir.exists()


def test_calibration_trials_are_made_when_they_are_asked_for(lab: Lab) -> None:
    lab.pack()
    lab.train()
    folder = lab.exp_dir / "training"
    lab.extract("cosine")
    assert not folder.exists()
    lab.extract("cosine+as_norm")
    assert {path.name for path in folder.iterdir()} == {"cohort.npz"}
    lab.extract("cosine+as_norm", "cosine+llr")
    assert {path.name for path in folder.iterdir()} == {"cohort.npz", "calibration.npz", "trials"}
    (folder / "trials").unlink()
    lab.extract("cosine+llr")
    assert (folder / "trials").exists()


def replace_audio(lab: Lab, number: int, seed: int = 5) -> None:
    """Other speech of the same length, with the times of the old file."""
    path = lab.config.with_name(f"{number}.flac")
    status = path.stat()
    soundfile.write(path, 0.1 * np.random.default_rng(seed).normal(size=8000), 16000)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_audio_replaced_by_other_audio_of_the_same_length_is_refused(lab: Lab) -> None:
    lab.pack()
    two = ("train.average_last=2",)
    lab.train(changes=two)
    lab.extract()
    before = (lab.exp_dir / "embeddings.npz").read_bytes()
    replace_audio(lab, 20)
    replace_audio(lab, 13)
    lab.pack()
    said = r"\(the training audio changed: 2 of 24 recordings, first s1-u13\); choose another --exp_name"
    for options in ([], ["--resume", "true"]):
        with pytest.raises(ConfigError, match=said):
            lab.train(*options, changes=two)
    newest = lab.exp_dir / "checkpoints/epoch_0002.pt"
    content = newest.read_bytes()
    newest.unlink()  # stopped half way: going on would be on other speech
    with pytest.raises(ConfigError, match=said):
        lab.train("--resume", "true", changes=two)
    newest.write_bytes(content)
    (lab.exp_dir / SUMS_FILE).write_bytes(b"junk")
    with pytest.raises(ConfigError, match=r"\(the training audio changed\)"):
        lab.train(changes=two)
    # s1-u13 is a test recording too.
    with pytest.raises(DataError, match=r"embeddings\.npz: made from other audio than .*store/test holds"):
        score.main(["--data_dir", str(lab.data_dir), "--exp_dir", str(lab.exp_dir)])
    lab.extract()
    assert (lab.exp_dir / "embeddings.npz").read_bytes() != before


def test_touched_and_packed_again_is_the_same_experiment(lab: Lab) -> None:
    lab.pack()
    lab.train()
    for number in range(24):
        lab.config.with_name(f"{number}.flac").touch()
    lab.pack()
    lab.train()


@pytest.mark.parametrize("name", ["musan", "rirs"])
def test_noise_and_rooms_are_part_of_an_experiment(lab: Lab, name: str) -> None:
    folders = {"musan": lab.data_dir / "noises", "rirs": lab.data_dir / "rooms"}
    rng = np.random.default_rng(1)
    for place in ("noises/noise", "noises/music", "noises/speech", "rooms/a"):
        (lab.data_dir / place).mkdir(parents=True)
        soundfile.write(lab.data_dir / place / "x.wav", 0.1 * rng.normal(size=20000), 16000)
    lab.pack(f"--{name}", str(folders[name]))
    lab.train(f"--{name}", "used")
    lab.train(f"--{name}", "used")
    what = {"musan": r"noise \(--musan\)", "rirs": r"room responses \(--rirs\)"}[name]
    with pytest.raises(ConfigError, match=rf"{what}: used before, not now"):
        lab.train()
    path = next(folders[name].rglob("x.wav"))
    soundfile.write(path, 0.1 * rng.normal(size=20000), 16000)
    lab.pack(f"--{name}", str(folders[name]))
    with pytest.raises(ConfigError, match=rf"the {what} audio changed: 1 of \d recordings, first"):
        lab.train(f"--{name}", "used")
    path.unlink()
    if name == "musan":
        lab.pack(f"--{name}", str(folders[name]))
        with pytest.raises(ConfigError, match=rf"the {what} recordings changed: 3 -> 2"):
            lab.train(f"--{name}", "used")


def test_an_experiment_whose_audio_is_not_described_is_refused(lab: Lab) -> None:
    lab.pack()
    lab.train()
    path = lab.exp_dir / "config.yaml"
    tree = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**tree, "fingerprint": "0123abcd"}))
    with pytest.raises(ConfigError, match="does not describe its audio"):
        lab.train()


def flip_byte(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("where", [0.01, 0.5, 0.999])
def test_a_flipped_byte_is_found_before_the_training(lab: Lab, where: float) -> None:
    lab.pack()
    shard = lab.data_dir / "store/train/shard-00000.npy"
    flip_byte(shard, int(where * shard.stat().st_size))
    with pytest.raises(DataError, match=r"shard-00000\.npy: .*damaged"):
        lab.train()


def test_a_flipped_byte_of_test_speech_is_found_when_it_is_embedded(lab: Lab) -> None:
    lab.pack()
    lab.train()
    shard = lab.data_dir / "store/test/shard-00000.npy"
    flip_byte(shard, shard.stat().st_size // 2)
    with pytest.raises(DataError, match=r"store/test/shard-00000\.npy: damaged: expected CRC-32 .*run stage 3"):
        lab.extract()


def test_a_damaged_configuration_is_a_sentence(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.pack()
    lab.train()
    path = lab.exp_dir / "config.yaml"
    content, rng = path.read_bytes(), np.random.default_rng(1)
    for junk in (b"", b"5", b"\xff\xfe\0", b"data: 5\ntrain: {}", b"a: [", content[: len(content) // 2]):
        path.write_bytes(junk)
        with pytest.raises(CheckpointError, match=r"config\.yaml: cannot be read .*; put back a copy of it, or choose"):
            lab.train()
    refused = 0
    for place, bit in zip(rng.integers(0, len(content), 60), rng.integers(0, 8, 60), strict=True):
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            lab.train()
        except (CheckpointError, ConfigError) as error:
            refused += "\n" not in str(error)
    assert refused > 40


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.pack()
    two = ("train.average_last=2",)
    lab.train(changes=two)
    newest = lab.exp_dir / "checkpoints/epoch_0002.pt"
    whole = checkpoint.load(newest)
    flip_byte(newest, newest.stat().st_size // 2)
    with pytest.raises(CheckpointError, match=r"epoch_0002\.pt: damaged .*--resume goes on after epoch 1"):
        lab.extract()
    with pytest.raises(ConfigError, match=r"stopped after epoch 1 of 2; go on with --resume"):
        lab.train(changes=two)
    lab.train("--resume", "true", changes=two)
    assert "epoch_0002.pt: damaged (the CRC-32 of " in caplog.text
    assert "the checkpoint before it counts" in caplog.text
    torch.testing.assert_close(checkpoint.load(newest)["backbone"], whole["backbone"], rtol=0, atol=0)
    lab.extract()


def test_checkpoints_of_two_networks_are_not_averaged(lab: Lab) -> None:
    lab.pack()
    lab.train(changes=("train.average_last=2",))
    path = lab.exp_dir / "checkpoints/epoch_0001.pt"
    checkpoint.save(path, {**checkpoint.load(path), "backbone": {}})
    with pytest.raises(CheckpointError, match="checkpoints: can be read, but is not of this experiment"):
        lab.extract()


def test_what_another_run_did_before_the_lock_was_free_is_seen(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.pack()
    lab.train()
    ended = lab.exp_dir.rename(lab.exp_dir.with_name("ended"))

    @contextmanager
    def lock_late(folder: Path, work: str) -> Iterator[None]:
        shutil.copytree(ended, folder, dirs_exist_ok=True)  # the other run ends now
        with lock_folder(folder, work):
            yield

    monkeypatch.setattr(train, "lock_folder", lock_late)
    lab.train()
    assert (lab.exp_dir / "train.jsonl").read_bytes() == (ended / "train.jsonl").read_bytes()
