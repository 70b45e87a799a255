"""Which crops an epoch takes, in which order: a pure function of seed and epoch, so that it can be repeated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
        entries=np.concatenate(passes).astype(np.int64),
        places=rng.random(total),
    )


def num_batches(num_crops: int, batch_size: int) -> int:
    """Full batches in an epoch; what is left over waits for the next, but an epoch has at least one batch."""
    return max(1, num_crops // batch_size)
