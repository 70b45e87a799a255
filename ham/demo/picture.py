"""Waveform and spectrogram of a recording, as small numbers that a page can draw.

They are made here and not by the browser, because they then show what the model hears, mono at 16 kHz, whatever the
file is; 60 kB a recording.
"""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLUMNS = 320
"""Of both pictures, spread evenly over the recording."""

WINDOW, ROWS = 512, 128
"""Samples of a spectrum (32 ms at 16 kHz), and the bands of equal width up to half the rate that it is shown in."""

RANGE_DB = 60.0
"""From the lightest to the darkest of a spectrogram."""


def draw(samples: NDArray[np.float32]) -> dict[str, Any]:
    """Draw a recording.

    Args:
        samples: in [-1, 1], at least one, shape ``(N,)``.

    Returns:
        ``low`` and ``high``: the least and the largest sample of each column; ``columns`` and ``rows`` of the
        spectrogram; ``spectrogram``: its bytes in base64, row by row, the lowest band first: 255 is the loudest,
        0 what is ``RANGE_DB`` or more below.
    """
    columns = min(COLUMNS, len(samples))
    parts = np.array_split(samples, columns)
    levels = spectrogram(samples, columns)
    return {
        "low": [round(float(part.min()), 3) for part in parts],
        "high": [round(float(part.max()), 3) for part in parts],
        "columns": columns,
        "rows": ROWS,
        "spectrogram": base64.b64encode(levels.tobytes()).decode(),
    }


def spectrogram(samples: NDArray[np.float32], columns: int) -> NDArray[np.uint8]:
    """Levels of bands at evenly spaced moments.

    Args:
        samples: shape ``(N,)``.
        columns: how many moments.

    Returns:
        From 0 to 255 in steps of ``RANGE_DB / 255``, shape ``(ROWS, columns)``.
    """
    padded = np.pad(samples, WINDOW // 2)
    starts = np.linspace(0, len(samples) - 1, columns).astype(np.int64)
    frames = np.stack([padded[start : start + WINDOW] for start in starts]) * np.hanning(WINDOW)
    power = np.square(np.abs(np.fft.rfft(frames)[:, 1:])).reshape(columns, ROWS, -1).mean(axis=2).T
    levels = 10 * np.log10(np.maximum(power, 1e-10))
    shown: NDArray[np.uint8] = (255 * np.clip(1 + (levels - levels.max()) / RANGE_DB, 0, 1)).astype(np.uint8)
    return shown
