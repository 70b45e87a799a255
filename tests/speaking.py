"""A tiny system in use: its recordings as files, thresholds for it, and a voice that no measure of quality minds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from ham.data.store import ArrayStore
from ham.model import checkpoint
from ham.score.decisions import Decisions, OperatingPoint
from tests.tiny_system import RATE, write_corpus, write_experiment

WHOSE = "12 speakers kept aside from the training"


def thresholds(eer: float = 0.5, far_1: float = 0.9) -> Decisions:
    """Two points, and one that was not measured."""
    points = (
        OperatingPoint("eer", eer, eer - 0.1, eer + 0.1, 0.02, 0.02),
        OperatingPoint("far_1", far_1, far_1 - 0.1, far_1 + 0.1, 0.03, 0.01),
        OperatingPoint("far_0_01", None, None, None, None, None, "too few trials"),
    )
    return Decisions("cosine", 10.0, -4.0, points, WHOSE, 12, 100, 1000)


def write_decisions(exp_dir: Path, decisions: Decisions) -> None:
    """``results.json`` with what :func:`ham.load` reads of it."""
    digest = checkpoint.weights_digest(checkpoint.load(exp_dir / "average.pt"))
    content = {"fingerprint": digest, "decisions": {"cosine": decisions.to_dict()}}
    (exp_dir / "results.json").write_text(json.dumps(content))


def voice(seconds: float = 3.0, pitch_hz: float = 120, rate: int = RATE, level: float = 0.05) -> NDArray[np.float32]:
    """Bursts of 0.4 s that fade, with pauses of 0.1 s between them, and a little noise."""
    times = np.arange(int(seconds * rate)) / rate
    buzz = sum(np.sin(2 * np.pi * pitch_hz * k * times + k * k) / k for k in range(1, 20)) * (1 - times % 0.5)
    hiss = np.random.default_rng(0).normal(0, level / 100, len(times))
    return (level * buzz * ((times % 0.5) < 0.4) + hiss).astype(np.float32)


def write_voice(path: Path, seconds: float = 3.0, pitch_hz: float = 120, rate: int = RATE) -> Path:
    """The voice as a 16-bit file; its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, voice(seconds, pitch_hz, rate), rate)
    return path


def write_system(folder: Path, loss: str = "ham_softmax") -> Path:
    """An experiment ``exp`` with embeddings, its data in ``data``, and its recordings ``wav/<utt>.wav``; its folder."""
    write_corpus(folder / "data")
    write_experiment(folder / "exp", folder / "data", loss)
    store = ArrayStore(folder / "data/store/test")
    (folder / "wav").mkdir()
    for index, utt in enumerate(store.utts):
        soundfile.write(folder / f"wav/{utt}.wav", store.read(index), RATE, subtype="PCM_16")
    return folder / "exp"
