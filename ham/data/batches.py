"""Batches of training crops: which recordings are trained on, and how their samples are read from the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ham.data.sampler import EpochPlan, num_batches
from ham.data.store import ArrayStore
from ham.errors import DataError

MAX_REDRAWS = 1000
"""Utterances that are tried in the place of an unreadable one before the crop is given up."""


@dataclass(frozen=True)
class Batch:
    """Crops of one step.

    Attributes:
        rows: ``(B, N)`` int16 samples, or ``(B, T, F)`` stored features; of one of several processes those that it
            needs, and none where they have not been read.
        labels: ``(B,)`` int64, 0 <= label < number of speakers; once ``drawn`` is there, of speakers at each speed, and
            of the process's own rows.
        entries: ``(B,)`` int64, the utterances, to name a batch that went wrong.
        bad: what was wrong with the crops that could not be read and were replaced, a line for each.
        places: ``(B,)`` float, where each row begins, as a fraction of its utterance's possible starts.
        lengths: ``(B,)`` int64, samples of each row before its utterance repeats. Only a change of speed needs
            these two; see ``SpeedPerturbation`` for what it does without.
        drawn: all that chance decides in the step, see :mod:`ham.train.draws`; None before it is drawn.
    """

    rows: Tensor
    labels: Tensor
    entries: NDArray[np.int64]
    bad: tuple[str, ...] = ()
    places: Tensor | None = None
    lengths: Tensor | None = None
    drawn: Any = None


@dataclass(frozen=True)
class TrainingSet:
    """The utterances that are trained on.

    Attributes:
        indices: their positions in the store, int64.
        labels: their speakers' numbers, int64.
        speakers: the speakers in the order of their numbers.
        num_short: utterances of theirs that were left out for being too short.
    """

    indices: NDArray[np.int64]
    labels: NDArray[np.int64]
    speakers: tuple[str, ...]
    num_short: int = 0


def training_set(
    store: ArrayStore, utt2spk: Mapping[str, str], leave_out: Sequence[str] = (), *, min_utterance_s: float = 0.0
) -> TrainingSet:
    """Number the speakers in the order of their names and label every utterance of the store.

    Args:
        store: the store of the training data directory.
        utt2spk: the speaker of each of its utterances.
        leave_out: speakers that are kept aside.
        min_utterance_s: shorter utterances are left out, and with them speakers who then have none.
    """
    number = {spk: k for k, spk in enumerate(sorted(set(utt2spk.values())))}
    every = np.fromiter((number[utt2spk[utt]] for utt in store.utts), np.int64, len(store))
    aside = np.isin(every, [number[spk] for spk in leave_out if spk in number])
    short = ~aside & (store.lengths < min_utterance_s * store.sample_rate)
    taken = ~aside & ~short
    kept, labels = np.unique(every[taken], return_inverse=True)
    names = list(number)
    return TrainingSet(
        indices=np.flatnonzero(taken).astype(np.int64, copy=False),
        labels=labels.astype(np.int64, copy=False),
        speakers=tuple(names[k] for k in kept.tolist()),
        num_short=int(short.sum()),
    )


class CropBatches(Dataset[Batch]):
    """The batches of one epoch; item ``k`` is the batch of step ``k``, whoever asks and in whatever order.

    Where that is allowed, a crop that cannot be read is replaced: by the next readable utterance of its speaker or, if
    there is none, by one drawn from all utterances. Which one depends on the crop alone. The batch lists such crops in
    ``bad``; whoever takes the batches counts them.

    Args:
        store: where the rows are read.
        data: utterances and labels.
        plan: the crops of the epoch.
        batch_size: crops a batch.
        num_rows: rows (samples, frames) of a crop.
        replace_bad: replace what cannot be read; otherwise the error is raised.
    """

    def __init__(
        self,
        store: ArrayStore,
        data: TrainingSet,
        plan: EpochPlan,
        batch_size: int,
        num_rows: int,
        *,
        replace_bad: bool = False,
    ) -> None:
        self.store = store
        self.data = data
        self.plan = plan
        self.batch_size = batch_size
        self.num_rows = num_rows
        self.replace_bad = replace_bad

    def __len__(self) -> int:
        """Number of batches."""
        return num_batches(len(self.plan), self.batch_size)

    def __getitem__(self, step: int) -> Batch:
        """Gather one batch."""
        batch = self.planned(step)
        return self.read(step, batch, torch.arange(len(batch.entries)))

    def planned(self, step: int) -> Batch:
        """One batch before its crops are read; where they may be replaced, which reading decides, all are there."""
        if not 0 <= step < len(self):
            raise IndexError(step)
        part = slice(step * self.batch_size, (step + 1) * self.batch_size)
        entries, places = self.plan.entries[part].copy(), self.plan.places[part].tolist()
        crops, bad = [], []
        for row, place in enumerate(places if self.replace_bad else ()):
            try:
                crops.append(self._crop(int(entries[row]), place))
            except DataError as error:
                entries[row], crop = self._replacement(int(entries[row]), place, error)
                crops.append(crop)
                bad.append(str(error))
        return Batch(
            rows=self._stacked(crops),
            labels=torch.from_numpy(self.data.labels[entries]),
            entries=entries,
            bad=tuple(bad),
            places=torch.tensor(places),
            lengths=torch.from_numpy(self.store.lengths[self.data.indices[entries]]).clamp(max=self.num_rows),
        )

    def read(self, step: int, batch: Batch, wanted: Tensor) -> Batch:
        """Read crops of a planned batch.

        Args:
            step: its number.
            batch: what :meth:`planned` gave, perhaps with more in it by now.
            wanted: numbers of the crops, ascending.
        """
        if self.replace_bad:
            return replace(batch, rows=batch.rows[wanted])
        first = step * self.batch_size
        crops = [self._crop(int(batch.entries[i]), float(self.plan.places[first + i])) for i in wanted.tolist()]
        return replace(batch, rows=self._stacked(crops))

    def _stacked(self, crops: Sequence[NDArray[Any]]) -> Tensor:
        """Crops as one tensor; of none too, it has their type and shape."""
        if crops:
            return torch.from_numpy(np.stack(crops))
        frame = torch.from_numpy(self.store.read(int(self.data.indices[0]), 0, 0))
        return frame.new_empty(0, self.num_rows, *frame.shape[1:])

    def _crop(self, entry: int, place: float) -> NDArray[Any]:
        """One crop; speech that is shorter is taken from its beginning and wrapped around."""
        index = int(self.data.indices[entry])
        spare = max(0, int(self.store.lengths[index]) - self.num_rows)
        return self.store.read_wrapped(index, int(place * (spare + 1)), self.num_rows)

    def _replacement(self, entry: int, place: float, error: DataError) -> tuple[int, NDArray[Any]]:
        """Another entry and its crop."""
        for other in islice(self._others(entry), MAX_REDRAWS):
            try:
                return other, self._crop(other, place)
            except DataError:
                continue
        raise DataError(f"{error}; and none of {MAX_REDRAWS} other utterances could be read in its place")

    def _others(self, entry: int) -> Iterator[int]:
        """The speaker's other utterances, from the next one on, then draws from all utterances."""
        own = np.flatnonzero(self.data.labels == self.data.labels[entry])
        place = int(np.searchsorted(own, entry))
        yield from np.concatenate([own[place + 1 :], own[:place]]).tolist()
        rng = np.random.default_rng(entry)
        while True:
            yield int(rng.integers(len(self.data.labels)))
