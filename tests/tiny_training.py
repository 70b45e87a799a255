"""A training of seconds, and processes that run it, for the tests of what ends and resumes a training."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ham.data.kaldi_dir import write_data_dir
from ham.data.store import write_store
from ham.model import checkpoint
from tests.killing import environment

SYSTEM = """
backbone: {name: resnet18, width: 4, embedding_dim: 8}
augment: {mode: clean_plus_augmented}
loss: {name: am_softmax}
data: {batch_size: 4, crop_frames: 20, valid_speakers: 2, crops_per_utterance: 3}
"""
ENDLESS = "train.epochs=100000"
TIMES = {"crops_per_s", "seconds", "data_wait"}


def write_data(folder: Path) -> list[str]:
    """Audio of six speakers in a store, and a system; the options that train it there."""
    rng = np.random.default_rng(0)
    utts = sorted(f"s{i % 6}-u{i:02d}" for i in range(24))
    wav, utt2spk = {utt: Path(f"/{utt}.wav") for utt in utts}, {utt: utt[:2] for utt in utts}
    write_data_dir(folder / "data/train", wav, utt2spk, dict.fromkeys(utts, 0.5))
    audio = ((utt, rng.normal(0, 3000, 8000).astype(np.int16)) for utt in utts)
    write_store(folder / "data/store/train", audio, {"sample_rate": 16000})
    (folder / "tiny.yaml").write_text(SYSTEM, encoding="utf-8")
    return ["--data_dir", str(folder / "data"), "--device", "cpu", "--config", str(folder / "tiny.yaml")]


def events(folder: Path) -> list[Mapping[str, Any]]:
    """The log without what depends on the clock."""
    lines = [json.loads(line) for line in (folder / "train.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines if line["event"] != "start"]


def start_when_at_work(arguments: Sequence[str], exp_dir: Path) -> subprocess.Popen[str]:
    """Start a training, leader of a group of processes, and wait for the checkpoint of two epochs or more."""
    process = subprocess.Popen(
        arguments,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while max(checkpoint.saved_epochs(exp_dir / "checkpoints"), default=0) < 2:  # only the latest ones stay
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    return process


def pid_of_training(exp_dir: Path) -> int:
    """The process that holds the lock of an experiment."""
    return int((exp_dir / ".lock").read_text(encoding="utf-8").rpartition(" ")[2])
