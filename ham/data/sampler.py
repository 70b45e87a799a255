"""Which crops an epoch takes, in which order: a pure function of seed and epoch, so that it can be repeated.

A plan of an epoch is the same for every process. One that joins in the middle of an epoch draws the whole plan (a
fraction of a second for a million utterances) and takes its part of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ORDERS = ("shuffle", "balanced")
"""``shuffle``: every utterance equally often. ``balanced``: every speaker equally often."""


@dataclass(frozen=True)
class EpochPlan:
    """The crops of one epoch, in order; all arrays have one element a crop.

    Attributes:
        entries: which training utterance, int64.
        places: where the crop begins, as a fraction in [0, 1) of the possible starts.
    """

    entries: NDArray[np.int64]
    places: NDArray[np.float64]

    def __len__(self) -> int:
        """Number of crops."""
        return len(self.entries)


def plan_epoch(num_utts: int, *, seed: int, epoch: int, crops_per_utterance: int = 1) -> EpochPlan:
    """Shuffle an epoch: every utterance ``crops_per_utterance`` times, never the same one twice in a pass.

    Args:
        num_utts: number of training utterances.
        seed: the experiment's seed.
        epoch: number of the epoch; each has its own order.
        crops_per_utterance: passes over the utterances; each is a permutation.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, epoch]))
    passes = [rng.permutation(num_utts) for _ in range(crops_per_utterance)]
    total = num_utts * crops_per_utterance
    return EpochPlan(
        entries=np.concatenate(passes).astype(np.int64, copy=False),
        places=rng.random(total),
    )


def plan_balanced(
    labels: NDArray[np.int64], *, batch_size: int, seed: int, epoch: int, crops_per_utterance: int = 1
) -> EpochPlan:
    """Give every speaker the same number of crops (they differ by one at most), as many in all as ``plan_epoch``.

    The epoch is a sequence of rounds, each a permutation of all speakers, the last one cut off. Where a batch
    reaches over the end of a round and there are at least ``batch_size`` speakers, the next round begins with
    speakers that the batch does not hold yet: all speakers of a batch differ. With fewer speakers than that, a
    batch holds whole rounds, but for its ends. A speaker's utterances come in a random order, which is repeated when
    all have had their turn.

    Args:
        labels: the speaker of each training utterance, 0 <= label < number of speakers.
        batch_size: crops of a batch.
        seed: the experiment's seed.
        epoch: number of the epoch; each has its own order.
        crops_per_utterance: length of the epoch as a multiple of the number of utterances.
    """
    rng = np.random.default_rng(np.random.SeedSequence([seed, epoch, len(ORDERS)]))
    total = len(labels) * crops_per_utterance
    speakers, counts = np.unique(labels, return_counts=True)
    rounds = _rounds(len(speakers), -(-total // len(speakers)), batch_size, rng)
    mixed = rng.permutation(len(labels))
    by_speaker = mixed[np.argsort(labels[mixed], kind="stable")]
    firsts = np.cumsum(counts) - counts
    turns = firsts[rounds] + np.arange(len(rounds))[:, None] % counts[rounds]
    return EpochPlan(entries=by_speaker[turns.reshape(-1)[:total]], places=rng.random(total))


def _rounds(num_speakers: int, num_rounds: int, batch_size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Permutations of the speakers, one a row, that keep the speakers of a batch apart from row to row."""
    rows = rng.permuted(np.tile(np.arange(num_speakers), (num_rounds, 1)), axis=1)
    if batch_size > num_speakers:
        return rows
    for number in range(1, num_rounds):
        held = number * num_speakers % batch_size  # crops of the batch that the rounds before have filled
        if held:
            _keep_apart(rows[number], rows[number - 1, -held:], batch_size - held)
    return rows


def _keep_apart(row: NDArray[np.int64], taken: NDArray[np.int64], num_first: int) -> None:
    """Exchange those of the first speakers of a round that are taken for later ones that are not."""
    is_taken = np.zeros(len(row), bool)
    is_taken[taken] = True
    clash = np.flatnonzero(is_taken[row[:num_first]])
    free = num_first + np.flatnonzero(~is_taken[row[num_first:]])[: len(clash)]
    row[clash], row[free] = row[free], row[clash]


def num_batches(num_crops: int, batch_size: int) -> int:
    """Full batches in an epoch; what is left over waits for the next, but an epoch has at least one batch."""
    return max(1, num_crops // batch_size)
