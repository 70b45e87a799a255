"""What the tests of audio files share: speech, and the two inspections of one file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ham.audio.decoding import AudioInfo, inspect_audio, inspect_header, read_audio
from ham.errors import DataError

RATE = 16000


def noise(num_samples: int = RATE, seed: int = 0, level: float = 0.1) -> NDArray[np.float32]:
    """Something to encode."""
    return (level * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


def refused(path: Path, content: bytes | None = None) -> str:
    """What is said of a file that decoding, the header and reading must refuse alike."""
    if content is not None:
        path.write_bytes(content)
    said = []
    for look in (inspect_audio, inspect_header, read_audio):
        with pytest.raises(DataError) as caught:
            look(path)
        said.append(str(caught.value))
    assert said[0] == said[1] == said[2]
    assert said[0].startswith(f"{path}: ")
    assert "\n" not in said[0]
    return said[0]


def accepted(path: Path, content: bytes | None = None) -> AudioInfo:
    """What both inspections say of a good file, as long as what is read."""
    if content is not None:
        path.write_bytes(content)
    info = inspect_audio(path)
    assert inspect_header(path) == info
    assert len(read_audio(path, info.sample_rate)) == info.num_samples
    return info
