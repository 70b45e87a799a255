"""Pictures of recordings, against signals of which every level is known."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ham.demo.picture import COLUMNS, RANGE_DB, ROWS, draw, spectrogram


def tone(hertz: float, seconds: float = 1.0, level: float = 0.5) -> NDArray[np.float32]:
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(16000 * seconds)) / 16000)).astype(np.float32)


@pytest.mark.parametrize("hertz", [500, 2000, 6500])
def test_a_tone_is_one_band(hertz: float) -> None:
    levels = spectrogram(tone(hertz), COLUMNS)
    assert levels.shape == (ROWS, COLUMNS)
    loudest = levels[:, 10:-10].argmax(axis=0)
    assert set(loudest.tolist()) <= {round(hertz / (8000 / ROWS)) - 1, round(hertz / (8000 / ROWS))}


def test_levels_are_decibels_below_the_loudest() -> None:
    quiet, loud = tone(1000, level=0.005), tone(1000, level=0.5)
    levels = spectrogram(np.concatenate([loud, quiet]), 100).max(axis=0)
    assert levels.max() == 255
    assert levels[25] == pytest.approx(255, abs=2)
    assert levels[75] == pytest.approx(255 * (1 - 40 / RANGE_DB), abs=2)


def test_a_waveform_keeps_every_peak() -> None:
    samples = np.zeros(100_000, np.float32)
    samples[[1234, 99_999]] = 0.7, -0.9
    found = draw(samples)
    assert max(found["high"]) == pytest.approx(0.7, abs=1e-3)
    assert found["high"].index(max(found["high"])) == 1234 * COLUMNS // 100_000
    assert (min(found["low"]), found["low"].index(min(found["low"]))) == (pytest.approx(-0.9, abs=1e-3), COLUMNS - 1)


@pytest.mark.parametrize("size", [1, 100, 1600, 100_000])
def test_any_length_is_drawn_small(size: int) -> None:
    found: dict[str, Any] = json.loads(json.dumps(draw(np.zeros(size, np.float32)), allow_nan=False))
    columns = min(size, COLUMNS)
    assert len(found["low"]) == len(found["high"]) == found["columns"] == columns
    assert len(base64.b64decode(found["spectrogram"])) == found["rows"] * columns
    assert len(json.dumps(found)) < 70_000
