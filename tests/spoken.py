"""Recordings that pass for speech, of voices that differ in pitch and timbre, and what else a microphone gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

RATE = 16000


def voice(pitch: float, seconds: float = 4.0, seed: int = 0) -> NDArray[np.float32]:
    """Bursts of 0.4 s of a buzz with pauses of 0.1 s; the seed draws the strength of each overtone in each burst."""
    times = np.arange(int(seconds * RATE)) / RATE
    generator = np.random.default_rng(seed)
    strengths = generator.uniform(0.2, 1.0, (int(2 * seconds) + 1, 20))[(2 * times).astype(int)]
    overtones = np.sin(2 * np.pi * pitch * np.outer(times, np.arange(1, 21)) + np.arange(20) ** 2) / np.arange(1, 21)
    burst = (times % 0.5 < 0.4) * (1 - times % 0.5)
    return (0.1 * burst * (strengths * overtones).sum(axis=1)).astype(np.float32)


def noise(seconds: float = 4.0) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


def write(path: Path, samples: NDArray[np.float32]) -> Path:
    """Write a file of 16 bits, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.rint(32767 * samples).astype(np.int16), RATE)
    return path


def write_speakers(folder: Path, num_speakers: int = 3, num_recordings: int = 2) -> dict[str, list[Path]]:
    """Recordings ``<speaker>/<session>/<number>.wav``, by the names of their speakers."""
    return {
        f"spk{speaker}": [
            write(folder / f"spk{speaker}/s{number}/{number}.wav", voice(90 + 40 * speaker, seed=10 * speaker + number))
            for number in range(num_recordings)
        ]
        for speaker in range(num_speakers)
    }
