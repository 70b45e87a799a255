"""Whether a recording holds several speakers: its windows, embedded, are split in two and the halves are verified.

The split is the one along which the windows differ most, so that the halves of one speaker's recording look more
different than two recordings of that speaker do. They are called two speakers only if that is :data:`LEAST_RATIO` more
likely. ``docs/use.md`` says how often that errs; overlapping speech, and a speaker of less than three seconds, are not
found.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ham.audio.quality import Problem
from ham.embeddings.directions import unit_rows
from ham.score.decisions import Decisions

WINDOW_S, SHIFT_S = 2.0, 1.0
MOST_WINDOWS = 60
"""Windows of a long recording that are looked at, evenly spaced: two passes over a minute of speech."""

LEAST_WINDOWS = 2
"""Of the smaller half: a single odd window is a cough or a laugh."""

LEAST_RATIO = 3000.0
"""How much more likely two speakers must be than one."""


def windows(samples: NDArray[np.float32], sample_rate: int) -> list[NDArray[np.float32]]:
    """Windows of :data:`WINDOW_S` every :data:`SHIFT_S`, thinned out to at most :data:`MOST_WINDOWS`.

    Args:
        samples: shape ``(N,)``.
        sample_rate: in Hz.

    Returns:
        The windows; none where the recording has too few to be split.
    """
    length, shift = int(WINDOW_S * sample_rate), int(SHIFT_S * sample_rate)
    starts = np.arange(0, len(samples) - length + 1, shift)
    if len(starts) < 2 * LEAST_WINDOWS:
        return []
    if len(starts) > MOST_WINDOWS:
        starts = starts[np.linspace(0, len(starts) - 1, MOST_WINDOWS).round().astype(int)]
    return [samples[start : start + length] for start in starts.tolist()]


def halves_cosine(embeddings: NDArray[np.float32]) -> float:
    """Split embeddings along their first principal component, and compare the mean directions of the halves.

    Args:
        embeddings: of windows, shape ``(n, D)``.

    Returns:
        The cosine of the means; 1 where a half is smaller than :data:`LEAST_WINDOWS`.
    """
    rows = unit_rows(embeddings, "windows of a recording")
    left = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[0][:, 0] > 0
    if min(left.sum(), (~left).sum()) < LEAST_WINDOWS:
        return 1.0
    one, other = rows[left].mean(axis=0), rows[~left].mean(axis=0)
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def several_speakers(embeddings: NDArray[np.float32], decisions: Decisions) -> Problem | None:
    """The problem ``several_speakers`` of a recording, or None.

    Args:
        embeddings: of its windows, shape ``(n, D)``.
        decisions: whose calibration says how likely two speakers are.
    """
    if decisions.llr(halves_cosine(embeddings)) > -math.log(LEAST_RATIO):
        return None
    return Problem("several_speakers", "It seems to hold several speakers: parts of it sound unlike each other.")
