"""The batches of a training: which crops each epoch takes, gathered in this process or by others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from multiprocessing.connection import wait
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from ham.config import DataConfig
from ham.data.batches import Batch, CropBatches, TrainingSet
from ham.data.sampler import EpochPlan, num_batches, plan_balanced, plan_epoch
from ham.data.store import ArrayStore
from ham.errors import ConfigError, HamError
from ham.train.crossing import cross, pack
from ham.train.distributed import world_size
from ham.train.draws import Draws, step_generator
from ham.train.parts import Enter, unwatched
from ham.train.signals import kept_from_workers, obey_parent


def steps_per_epoch(sampling: DataConfig, num_utts: int) -> int:
    """Steps of an epoch: full batches, and at least one.

    Args:
        sampling: what a batch and an epoch are.
        num_utts: training utterances.
    """
    return num_batches(num_utts * sampling.crops_per_utterance, sampling.batch_size)


@dataclass
class Gatherer(Dataset[Batch]):
    """Gathers the batches of any epoch; item ``(epoch, k)`` is batch ``k`` of an epoch, whichever process asks.

    Attributes:
        store: as of :class:`TrainingCrops`, and likewise the others.
        data: the training utterances.
        sampling: what a batch and an epoch are.
        num_rows: rows read for each crop.
        seed: of the order and of all draws.
        draws: draws what chance decides in each step; None leaves the batches as they are read.
    """

    store: ArrayStore
    data: TrainingSet
    sampling: DataConfig
    num_rows: int
    seed: int
    draws: Draws | None
    _latest: tuple[int, CropBatches] | None = field(default=None, init=False)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        """Draw for one batch, and gather of it what the draws say that this process needs."""
        epoch, number = place
        batches = self._batches(epoch)
        if self.draws is None:
            return batches[number]
        generator = step_generator(self.seed, (epoch - 1) * len(batches) + number)
        batch = self.draws(batches.planned(number), generator)
        return batches.read(number, batch, batch.drawn.present)

    def _batches(self, epoch: int) -> CropBatches:
        """Those of an epoch; the latest one's order is kept."""
        if self._latest is None or self._latest[0] != epoch:
            crops = CropBatches(
                self.store,
                self.data,
                self._plan(epoch),
                self.sampling.batch_size,
                self.num_rows,
                replace_bad=self.sampling.max_bad_crops > 0,
            )
            self._latest = epoch, crops
        return self._latest[1]

    def _plan(self, epoch: int) -> EpochPlan:
        """The crops of an epoch."""
        shared = {"seed": self.seed, "epoch": epoch, "crops_per_utterance": self.sampling.crops_per_utterance}
        if self.sampling.order == "balanced":
            return plan_balanced(self.data.labels, batch_size=self.sampling.batch_size, **shared)
        return plan_epoch(len(self.data.indices), **shared)


class _Done(threading.Event):
    """Whether the workers are to end, known here without the lock of all, which a killed one may have held."""

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self._theirs = theirs

    def set(self) -> None:
        """Tell the workers, of which none was killed."""
        super().set()
        self._theirs.set()


class _Loader(DataLoader[Any]):
    """The loader; its end does not hang where a worker was killed."""

    def _get_iterator(self) -> Any:
        iterator: Any = super()._get_iterator()
        if self.num_workers:
            iterator._workers_done_event = _Done(iterator._workers_done_event)
        return iterator


@dataclass(frozen=True)
class TrainingCrops:
    """The batches of each epoch, in an order that the seed and the epoch determine.

    Attributes:
        store: where the crops are read.
        data: the training utterances.
        sampling: what a batch and an epoch are.
        num_rows: rows (samples, frames) read for each crop.
        seed: of the order and of all draws.
        draws: draws what chance decides in each step; None leaves the batches as they are read.
        device: where the batches are brought.
    """

    store: ArrayStore
    data: TrainingSet
    sampling: DataConfig
    num_rows: int
    seed: int
    draws: Draws | None = None
    device: torch.device = field(default_factory=partial(torch.device, "cpu"))

    @property
    def steps_per_epoch(self) -> int:
        """Steps of an epoch."""
        return steps_per_epoch(self.sampling, len(self.data.indices))

    @property
    def crops_per_epoch(self) -> int:
        """Crops of an epoch: those of its full batches, or all where they do not fill one."""
        every = len(self.data.indices) * self.sampling.crops_per_utterance
        return min(every, self.steps_per_epoch * self.sampling.batch_size)

    def batches(self, epoch: int, first: int = 0, enter: Enter = unwatched) -> Iterator[Batch]:
        """The batches of an epoch, on the device.

        Each of several processes draws for whole batches, since what is drawn for a row depends on how many there are,
        and gathers its own rows and those that are heard behind them. So they need not meet before the gradients.

        Args:
            epoch: number of the epoch, from 1.
            first: batches to leave out, which a stopped run has had.
            enter: called when the copy of a batch to the device begins.

        Raises:
            ConfigError: if an epoch is less than a batch of several processes.
            DataError: if a crop cannot be read, and none may be replaced.
        """
        if self.crops_per_epoch < self.sampling.batch_size and world_size() > 1:
            raise ConfigError(
                f"data.batch_size: expected at most {self.crops_per_epoch}, the crops of an epoch, where several "
                f"processes share a batch, found {self.sampling.batch_size}"
            )
        self._order[:] = [(epoch, number) for number in range(first, self.steps_per_epoch)]
        with kept_from_workers():
            loaded = iter(self._loader)
        try:
            yield from cross(loaded, self.device, enter)
        except HamError as error:  # from a worker it brings a traceback, whose last line counts
            *trace, last = str(error).strip().splitlines()
            raise type(error)(last.partition(": ")[2] if trace else last) from None
        except (OSError, EOFError) as error:
            dead = self._dead_worker()
            if dead is None:
                raise
            raise RuntimeError(f"{dead} was killed") from error

    def _dead_worker(self, seconds: float = 5.0) -> str | None:
        """The worker that has ended, in torch's words; None if all still live after a while.

        One that is killed while it hands a batch over is a broken connection before the system tells that it is dead.
        """
        workers = getattr(self._loader._iterator, "_workers", [])  # none where this process gathers
        ended = wait([worker.sentinel for worker in workers], seconds if workers else 0)
        dead = [worker for worker in workers if worker.sentinel in ended]
        return f"DataLoader worker (pid {dead[0].pid})" if dead else None

    def close(self) -> None:
        """End the processes that gather; until then they stay, also when a training has failed."""
        loader = self.__dict__.pop("_loader", None)
        if loader is None or loader._iterator is None:
            return
        iterator, workers = loader._iterator, loader._iterator._workers
        if all(worker.is_alive() for worker in workers):
            iterator._shutdown_workers()  # torch waits till nothing refers to it, and a traceback does
            return
        # One that was killed may have held a lock or left half a message, for which torch's own end waits for ever.
        iterator._shutdown, iterator._worker_pids_set = True, False
        torch._C._remove_worker_pids(id(iterator))  # nobody is to report their end
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.join()

    def names(self, entries: NDArray[np.int64]) -> str:
        """The first utterances of a batch, for a message."""
        utts = [self.store.utts[self.data.indices[i]] for i in entries.tolist()]
        return ", ".join(utts[:3]) + (f" and {len(utts) - 3} more" if len(utts) > 3 else "")

    @cached_property
    def _order(self) -> list[tuple[int, int]]:
        """What the loader is to gather."""
        return []

    @cached_property
    def gatherer(self) -> Gatherer:
        """Gathers any batch, in whichever process."""
        return Gatherer(self.store, self.data, self.sampling, self.num_rows, self.seed, self.draws)

    @cached_property
    def _loader(self) -> DataLoader[Any]:
        """One for all epochs, whose processes stay."""
        num_workers, on_gpu = self.sampling.num_workers, self.device.type == "cuda"
        return _Loader(
            self.gatherer,
            batch_size=None,
            sampler=self._order,
            num_workers=num_workers,
            persistent_workers=num_workers > 0,
            collate_fn=pack if num_workers or on_gpu else None,  # type: ignore[arg-type]  # it is given one batch
            pin_memory=on_gpu,
            generator=torch.Generator(),  # the loader's base seed must not come from the global generator
            worker_init_fn=obey_parent,
        )
