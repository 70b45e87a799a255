"""Speakers of made-up embeddings for databases, and a process that enrols them and starts soon, without torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ham.enrolment.database import ModelKey, Recording, SpeakerDatabase

DIM = 5
MODEL = ModelKey("f" * 64, DIM)


def vector(seed: object) -> NDArray[np.float32]:
    """The embedding of a recording of this name."""
    digest = int(hashlib.sha256(str(seed).encode()).hexdigest()[:12], 16)
    return np.random.default_rng(digest).normal(size=DIM).astype(np.float32)


def recording(source: object) -> Recording:
    """A recording of this name."""
    return Recording(str(source), hashlib.sha256(str(source).encode()).digest(), 3.0, vector(source))


def enrol(path: Path, **speakers: list[str]) -> int:
    """Enrol recordings of these names, in one change."""
    with SpeakerDatabase(path, MODEL, write=True, create=True) as known:
        return known.add({name: [recording(source) for source in sources] for name, sources in speakers.items()})


def write_on(path: Path, prefix: str, num: int) -> None:
    """Enrol speakers one by one, each in a change of its own, and note each in a log once it is there."""
    with (path.parent / f"{prefix}.log").open("w", encoding="utf-8") as log:
        for number in range(num):
            enrol(path, **{f"{prefix}{number:04d}": [f"{prefix}{number}", f"{prefix}{number}b"]})
            log.write(f"{prefix}{number:04d}\n")
            log.flush()
