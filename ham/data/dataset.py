"""Batches of training crops, gathered from a store by bounded reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ham.data.sampler import EpochPlan, num_batches
from ham.data.store import ArrayStore


@dataclass(frozen=True)
class Batch:
    """Crops of one step.

    Attributes:
        rows: ``(B, N)`` int16 samples, or ``(B, T, F)`` stored features.
        labels: ``(B,)`` int64, 0 <= label < number of speakers before speed perturbation.
        entries: ``(B,)`` int64, the utterances, to name a batch that went wrong.
    """

    rows: Tensor
    labels: Tensor
    entries: Tensor

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory, from which a copy to a GPU does not wait; the loader calls this."""
        return Batch(self.rows.pin_memory(), self.labels.pin_memory(), self.entries.pin_memory())


@dataclass(frozen=True)
class TrainingSet:
    """The utterances that are trained on.

    Attributes:
        indices: their positions in the store, int64.
        labels: their speakers' numbers, int64.
        speakers: the speakers in the order of their numbers.
    """

    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    speakers: tuple[str, ...]


def training_set(store: ArrayStore, utt2spk: Mapping[str, str], leave_out: Sequence[str] = ()) -> TrainingSet:
    """Number the speakers in the order of their names and label every utterance of the store.

    Args:
        store: the store of the training data directory.
        utt2spk: the speaker of each of its utterances.
        leave_out: speakers that are kept aside.
    """
    aside = frozenset(leave_out)
    kept = [(i, utt2spk[utt]) for i, utt in enumerate(store.utts) if utt2spk[utt] not in aside]
    speakers = tuple(sorted({spk for _, spk in kept}))
    number = {spk: k for k, spk in enumerate(speakers)}
    return TrainingSet(
        indices=np.array([i for i, _ in kept], np.int64),
        labels=np.array([number[spk] for _, spk in kept], np.int64),
        speakers=speakers,
    )


class CropBatches(Dataset[Batch]):
    """The batches of one epoch; item ``b`` is the ``b``-th batch, whoever asks and in whatever order.

    Args:
        store: where the rows are read.
        data: utterances and labels.
        plan: the crops of the epoch.
        batch_size: crops a batch.
        num_rows: rows (samples, frames) of a crop.
    """

    def __init__(self, store: ArrayStore, data: TrainingSet, plan: EpochPlan, batch_size: int, num_rows: int) -> None:
        self.store = store
        self.data = data
        self.plan = plan
        self.batch_size = batch_size
        self.num_rows = num_rows

    def __len__(self) -> int:
        """Number of batches."""
        return num_batches(len(self.plan), self.batch_size)

    def __getitem__(self, number: int) -> Batch:
        """Gather one batch."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        part = slice(number * self.batch_size, (number + 1) * self.batch_size)
        entries = self.plan.entries[part]
        crops = [self._crop(*row) for row in zip(self.data.indices[entries], self.plan.places[part], strict=True)]
        return Batch(
            rows=torch.from_numpy(np.stack(crops)),
            labels=torch.from_numpy(self.data.labels[entries]),
            entries=torch.from_numpy(entries),
        )

    def _crop(self, index: int, place: float) -> NDArray[Any]:
        """One crop; speech that is shorter is taken from its begin and wrapped around."""
        spare = max(0, int(self.store.lengths[index]) - self.num_rows)
        return self.store.read_wrapped(index, int(place * (spare + 1)), self.num_rows)
