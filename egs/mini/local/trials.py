"""Trial lists: which pairs of test utterances are to be compared.

A list is a sample from *blocks*. A block is two groups of utterances, and every utterance of the first may be paired
with every one of the second; all blocks of a list have groups of equal sizes and no pair lies in two of them.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import combinations

import numpy as np

Block = tuple[Sequence[str], Sequence[str]]
Trial = tuple[int, str, str]
Recordings = Mapping[str, Sequence[Sequence[str]]]
"""For each test speaker the sessions, each a sequence of paths."""

NUM_TRIALS = 10_000
"""The most that a list holds; half of them are targets where there are enough."""


def target_blocks(recordings: Recordings) -> list[Block]:
    """One block for every two sessions of one speaker: a target never comes from a single session."""
    return [pair for sessions in recordings.values() for pair in combinations(sessions, 2)]


def nontarget_blocks(recordings: Recordings, cells: Mapping[str, Hashable] | None = None) -> list[Block]:
    """One block for every two speakers.

    Args:
        recordings: all speakers of the list.
        cells: each speaker's cell; where given, only speakers of one cell are paired.

    Returns:
        The blocks, in the order of ``recordings``.
    """
    utterances = {
        speaker: [path for session in sessions for path in session] for speaker, sessions in recordings.items()
    }
    pairs = combinations(utterances, 2)
    return [(utterances[a], utterances[b]) for a, b in pairs if cells is None or cells[a] == cells[b]]


def sample(blocks: Sequence[Block], most: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Draw pairs from ``blocks`` without replacement.

    Args:
        blocks: at least one.
        most: how many pairs to draw; all pairs are taken if there are fewer.
        rng: the source of randomness.

    Returns:
        The pairs, in the order of the blocks.
    """
    rows, columns = len(blocks[0][0]), len(blocks[0][1])
    total = len(blocks) * rows * columns
    chosen = np.sort(rng.choice(total, size=min(most, total), replace=False))
    block, row, column = np.unravel_index(chosen, (len(blocks), rows, columns))
    return [(blocks[b][0][i], blocks[b][1][j]) for b, i, j in zip(block, row, column, strict=True)]


def make_trials(targets: Sequence[Block], nontargets: Sequence[Block], rng: np.random.Generator) -> list[Trial]:
    """Draw a list of at most :data:`NUM_TRIALS` trials.

    Args:
        targets: blocks of pairs of one speaker.
        nontargets: blocks of pairs of two speakers.
        rng: the source of randomness.

    Returns:
        ``(1 or 0, enrolment path, test path)``, targets first, each pair once. Up to half are targets; non-targets
        fill the rest as far as they go.
    """
    same = sample(targets, NUM_TRIALS // 2, rng)
    different = sample(nontargets, NUM_TRIALS - len(same), rng)
    return [(1, *pair) for pair in same] + [(0, *pair) for pair in different]
