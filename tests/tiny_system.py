"""A small corpus with a known tree and untrained systems on it, for the tests of commands that measure embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ham.config import BackboneConfig, Config, LossConfig, to_dict
from ham.data.kaldi_dir import write_data_dir
from ham.data.store import ArrayStore, write_store
from ham.data.trials import Trials
from ham.embeddings.table import write_embeddings
from ham.losses.base import SpeakerLoss
from ham.model.build import build_backbone, build_loss
from ham.model.encoder import SpeakerEncoder

SPEAKERS = {"p1": ("f", "us"), "p2": ("f", "us"), "p3": ("f", "gb"), "p4": ("m", "us"), "p5": ("m", "us")}
RATE, DIM, NUM_SPEAKERS = 16000, 8, 6


def write_corpus(data_dir: Path) -> None:
    """Five speakers with two sessions of three utterances of coloured noise, the third of which is too short."""
    generator = np.random.default_rng(0)
    audio = {
        f"tiny-{spk}-s{session}-{number}": (1000 * generator.normal(size=size)).astype(np.int16)
        for spk in SPEAKERS
        for session in (1, 2)
        for number, size in enumerate((33000, 34000, 20000))
    }
    (data_dir / "tiny").mkdir(parents=True)
    lines = [f"{spk}\t{sex}\t{accent}\n" for spk, (sex, accent) in SPEAKERS.items()]
    (data_dir / "tiny/speakers.tsv").write_text("speaker\tsex\taccent\n" + "".join(lines))
    lines = [f"{spk}\ts{session}\t30\n" for spk in SPEAKERS for session in (1, 2)]
    (data_dir / "tiny/sessions.tsv").write_text("speaker\tsession\tsnr_db\n" + "".join(lines))
    utts = sorted(audio)
    trials = Trials((utts[0], utts[0]), (utts[3], utts[-1]), np.array([1, 0], np.int8))
    seconds = {utt: len(audio[utt]) / RATE for utt in utts}
    wav, utt2spk = {utt: Path(f"/{utt}.wav") for utt in utts}, {utt: utt[:7] for utt in utts}
    for name in ("all", "hard"):
        write_data_dir(data_dir / "test/tiny" / name, wav, utt2spk, seconds, trials)
    write_store(data_dir / "store/test", audio.items(), {"sample_rate": RATE, "files": "x"})


def write_model(exp_dir: Path, loss_name: str, seed: int = 3) -> SpeakerLoss:
    """``average.pt`` of an untrained system; its loss."""
    torch.manual_seed(1)
    config = Config(backbone=BackboneConfig("resnet18", DIM, {"width": 4}), loss=LossConfig(loss_name))
    backbone, loss = build_backbone(config), build_loss(config, NUM_SPEAKERS)
    state = {
        "config": to_dict(config),
        "num_speakers": NUM_SPEAKERS,
        "seed": seed,
        "command": "./run.sh --stage 4",
        "speakers": [f"s{number}" for number in range(NUM_SPEAKERS)],
        "valid_speakers": [],
    }
    exp_dir.mkdir(parents=True, exist_ok=True)
    torch.save({**state, "backbone": backbone.state_dict(), "loss": loss.state_dict()}, exp_dir / "average.pt")
    return loss


def write_experiment(exp_dir: Path, data_dir: Path, loss_name: str) -> None:
    """An untrained system with the embeddings that it gives."""
    write_model(exp_dir, loss_name)
    store = ArrayStore(data_dir / "store/test")
    write_embeddings(
        exp_dir / "embeddings.npz", store.utts, SpeakerEncoder.load(exp_dir, "cpu").embed_recordings(store)
    )
