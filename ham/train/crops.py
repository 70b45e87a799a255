"""The batches of a training: which crops each epoch takes, gathered in this process or by others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader

from ham.config import DataConfig
from ham.data.batches import Batch, CropBatches, TrainingSet
from ham.data.sampler import EpochPlan, num_batches, plan_balanced, plan_epoch
from ham.data.store import ArrayStore
from ham.errors import ConfigError, HamError
from ham.train.distributed import bad_of_all, rank, world_size
from ham.train.signals import kept_from_workers, obey_parent


def steps_per_epoch(sampling: DataConfig, num_utts: int) -> int:
    """Steps of an epoch: full batches, and at least one.

    Args:
        sampling: what a batch and an epoch are.
        num_utts: training utterances.
    """
    return num_batches(num_utts * sampling.crops_per_utterance, sampling.batch_size)


@dataclass(frozen=True)
class TrainingCrops:
    """The batches of each epoch, in an order that the seed and the epoch determine.

    Attributes:
        store: where the crops are read.
        data: the training utterances.
        sampling: what a batch and an epoch are.
        num_rows: rows (samples, frames) read for each crop.
        seed: of the order.
        pinned: gather into memory that an accelerator reads fast.
    """

    store: ArrayStore
    data: TrainingSet
    sampling: DataConfig
    num_rows: int
    seed: int
    pinned: bool = False

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return steps_per_epoch(self.sampling, len(self.data.indices))

    def batches(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch; of several processes, this one's share of each.

        Args:
            epoch: number of the epoch, from 1.
            first: batches to leave out, which a stopped run has had.

        Raises:
            ConfigError: if an epoch is less than a batch of several processes.
            DataError: if a crop cannot be read, and none may be replaced.
        """
        plan = self._plan(epoch)
        if len(plan) < self.sampling.batch_size and world_size() > 1:
            raise ConfigError(
                f"data.batch_size: expected at most {len(plan)}, the crops of an epoch, where several processes share "
                f"a batch, found {self.sampling.batch_size}"
            )
        crops = CropBatches(
            self.store,
            self.data,
            plan,
            self.sampling.batch_size // world_size(),
            self.num_rows,
            replace_bad=self.sampling.max_bad_crops > 0,
            rank=rank(),
            world_size=world_size(),
        )
        loader = DataLoader(
            crops,
            batch_size=None,
            sampler=range(first, len(crops)),
            num_workers=self.sampling.num_workers,
            pin_memory=self.pinned,
            generator=torch.Generator(),  # the loader's base seed must not come from the global generator
            worker_init_fn=obey_parent,
        )
        with kept_from_workers():
            batches = iter(loader)
        try:
            yield from map(bad_of_all, batches) if crops.replace_bad else batches
        except HamError as error:  # from a worker it brings a traceback, whose last line counts
            *trace, last = str(error).strip().splitlines()
            raise type(error)(last.partition(": ")[2] if trace else last) from None

    def names(self, batch: Batch) -> str:
        """The first utterances of a batch, for a message."""
        utts = [self.store.utts[self.data.indices[i]] for i in batch.entries.tolist()]
        return ", ".join(utts[:3]) + (f" and {len(utts) - 3} more" if len(utts) > 3 else "")

    def _plan(self, epoch: int) -> EpochPlan:
        """The crops of an epoch."""
        shared = {"seed": self.seed, "epoch": epoch, "crops_per_utterance": self.sampling.crops_per_utterance}
        if self.sampling.order == "balanced":
            return plan_balanced(self.data.labels, batch_size=self.sampling.batch_size, **shared)
        return plan_epoch(len(self.data.indices), **shared)
