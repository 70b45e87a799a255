"""The training loop: epochs of steps, each with its log, its validation and its checkpoint."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ham.config import TrainConfig
from ham.data.batches import Batch
from ham.errors import DataError, HamError, summarise
from ham.model import checkpoint
from ham.model.average import stopped_early
from ham.train import distributed
from ham.train.checkpoints import Checkpoints
from ham.train.crops import TrainingCrops
from ham.train.monitor import Monitor, Silence
from ham.train.nonfinite import Skipping
from ham.train.optimisers import take_step
from ham.train.schedules import Schedules
from ham.train.signals import Stop, StoppedError
from ham.train.step import TrainingStep
from ham.train.tally import LOG_STEPS, Tally
from ham.train.trainable import WeightAverage

logger = logging.getLogger(__name__)


class DivergedError(HamError):
    """The loss is not finite any more."""


@dataclass(kw_only=True, eq=False)
class Loop:
    """Trains one system.

    Attributes:
        step: forward pass; its backbone and loss are trained.
        optimiser: over their parameters.
        schedules: learning rate, margin, curvature.
        crops: the batches of each epoch.
        training: length of the training, clipping, checkpoints.
        seed: of all augmentation.
        device: where to compute.
        folder: the experiment's folder.
        described: what every checkpoint holds beside the weights: configuration, speakers, versions.
        validate: gives the validation EER after an epoch; None for none.
        facts: what the log says first, such as the hardware.
        ema: moving average of the weights, kept by the optimiser's steps; None for none.
        frozen: modules that stay in evaluation mode.
        done: steps of the whole training that are done.
        stop: whether the training was asked to end.
        skipping: of steps whose loss is not finite.
    """

    step: TrainingStep
    optimiser: torch.optim.Optimizer
    schedules: Schedules
    crops: TrainingCrops
    training: TrainConfig
    seed: int
    device: torch.device
    folder: Path
    described: Mapping[str, Any]
    validate: Callable[[], float] | None = None
    facts: Mapping[str, str] = field(default_factory=dict)
    ema: WeightAverage | None = None
    frozen: Sequence[nn.Module] = ()
    done: int = field(default=0, init=False)
    stop: Stop = field(default_factory=Stop, init=False)
    _tally_before: Mapping[str, Any] = field(default_factory=dict, init=False)  # of the epoch that a stopped run began

    def __post_init__(self) -> None:
        self.steps_per_epoch = self.crops.steps_per_epoch
        self.parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        self.skipping = Skipping((self.step.backbone, self.step.loss), self.training.skip_nonfinite)
        self.checkpoints = Checkpoints(
            self.folder / "checkpoints",
            self.training,
            self.steps_per_epoch,
            self.step,
            self.optimiser,
            self.schedules,
            self.device,
            self.described,
            self.skipping,
            self.ema,
        )

    def run(self) -> None:
        """Train to the end.

        Raises:
            DivergedError: if the loss is not finite, naming the step and the utterances of its batch.
            DataError: if more crops of an epoch cannot be read than may be.
            StoppedError: if it was asked to end, once the checkpoint of the moment is written.
        """
        first, epochs = self.done // self.steps_per_epoch + 1, self.training.epochs
        total = epochs * self.steps_per_epoch
        watching = Silence if distributed.rank() else Monitor
        monitors = watching(self.folder, first_epoch=first, first_step=self.done, total_steps=total)
        with closing(self.crops), monitors as monitor:
            monitor.start(self.facts)
            for epoch in range(first, epochs + 1):
                self._epoch(epoch, monitor)
                if stopped_early(self.training, self.checkpoints.eers):
                    logger.info(
                        "no lower validation EER in %d epochs: ended (train.early_stop)", self.training.early_stop
                    )
                    break

    def resume(self, epoch: int, step: int | None = None) -> None:
        """Take up the state after ``epoch``, or within it after ``step``: weights, optimiser, random numbers.

        Args:
            epoch: number of the epoch.
            step: steps of the whole training that are done, for a checkpoint within the epoch.

        Raises:
            CheckpointError: if the checkpoint is missing, damaged, or another experiment's.
        """
        with checkpoint.fitting(checkpoint.path_of(self.checkpoints.folder, epoch, step)):
            self.done, self._tally_before = self.checkpoints.restore(epoch, step)

    def _epoch(self, epoch: int, monitor: Monitor) -> None:
        """Train one epoch, validate, log, save."""
        self.step.rests = epoch <= self.training.freeze_epochs
        self.step.backbone.train(not self.step.rests)
        for module in self.frozen:
            module.eval()
        tally, self._tally_before = Tally(self.device, self._tally_before), {}
        for batch in tally.watch(self.crops.batches(epoch, self.done % self.steps_per_epoch)):
            self._check_bad(epoch, tally)
            self.update(batch, tally)
            monitor.advance()
            number = self.done - (epoch - 1) * self.steps_per_epoch
            if number % tally.interval == 0 or number == self.steps_per_epoch:
                self._check_losses(tally)
            if number % LOG_STEPS == 0 or number == self.steps_per_epoch:
                monitor.step(self.done, {"epoch": epoch, **self._scheduled(self.done - 1), **tally.recent()})
            if self._is_checkpoint_due():
                self._check_losses(tally)
                self.checkpoints.save_within(self.done, tally.saved())
                self._end_if_asked()
        values = self._summary(epoch, tally, tally.elapsed_s())
        monitor.epoch(self.done, values)  # first: a resumed run drops a line without checkpoint
        self.checkpoints.save(self.done)
        logger.info(_sentence(values, self.training.epochs))
        self._is_checkpoint_due()  # of what signals all processes learn
        self._end_if_asked()

    def _is_checkpoint_due(self) -> bool:
        """Whether a checkpoint within the epoch is due, for all processes if it is for one."""
        if asked := distributed.largest_of_all(self.stop.signal or 0):
            self.stop.signal = signal.Signals(asked)
        return bool(distributed.largest_of_all(self.checkpoints.is_due(self.done, asked=bool(self.stop.signal))))

    def _end_if_asked(self) -> None:
        """Right after a checkpoint: end, if that was asked for and there is more to do."""
        total = self.training.epochs * self.steps_per_epoch
        if self.stop.signal and self.done < total:
            after = f"stopped by {self.stop.signal.name} after step {self.done} of {total}"
            raise StoppedError(f"{self.folder}: {after}, with a checkpoint; go on with --resume", self.stop.signal)

    def update(self, batch: Batch, tally: Tally) -> None:
        """Take one step: the values of its moment, gradients, new weights.

        Args:
            batch: on the device, with what was drawn for it.
            tally: remembers loss and accuracy.

        Raises:
            DivergedError: if the loss is not finite, where it is read at every step.
        """
        now = self._scheduled(self.done)
        for group in self.optimiser.param_groups:
            group["lr"] = now["lr"] * group.get("rate_factor", 1.0)
        if "margin" in now:
            self.step.loss.set_margin(now["margin"])
        if "curvature" in now:
            self.step.loss.set_curvature(now["curvature"])
        self.skipping.remember()
        self.optimiser.zero_grad(set_to_none=True)
        out, views = self.step.backward(batch), self.step.views
        loss, accuracy, *distance = distributed.mean_of_all(*out, *self.step.distances)
        if self.skipping.skips(loss):
            said = self._diverged(self.done + 1, batch.entries, loss.item())
            logger.warning("%s; skipped, %s", said, self.skipping)
            self.done += 1
            return
        tally.add(self.done + 1, batch, loss / views, accuracy, len(batch.entries) * views, *distance)
        if tally.interval == 1:
            self._check_losses(tally)  # before the weights take the step
        self.step.enter("optimiser")
        take_step(self.optimiser, self.step.scaler, self.parameters, self.training.clip_grad_norm, self.step.split)
        self.done += 1

    def _scheduled(self, done: int) -> dict[str, float]:
        """Learning rate, margin and curvature of the step after ``done`` steps; those that there are."""
        values = self.schedules.at(done / self.steps_per_epoch)
        now = {name: value for name, value in values.items() if value is not None}
        # The first step of a warm-up would have rate 0: there the step's end counts.
        return {**now, "lr": now["lr"] or self.schedules.lr((done + 1) / self.steps_per_epoch)}

    def _check_bad(self, epoch: int, tally: Tally) -> None:
        """Stop when more crops of the epoch were replaced than may be."""
        most = self.crops.sampling.max_bad_crops
        if len(tally.bad) > most:
            raise DataError(
                f"epoch {epoch}: expected at most {most} crops that cannot be read (data.max_bad_crops), found "
                f"{len(tally.bad)}, the last one: {tally.bad[-1]}"
            )

    def _check_losses(self, tally: Tally) -> None:
        """Bring the losses of the last steps over from the device; stop if one is not finite."""
        for step, entries, loss in tally.read():
            if not np.isfinite(loss):
                raise DivergedError(
                    f"{self._diverged(step, entries, loss)}; lower optimiser.lr or set train.clip_grad_norm, which "
                    "makes another experiment: give it an --exp_name; or go on with --resume and a higher "
                    "train.skip_nonfinite, which skips such steps"
                )

    def _diverged(self, step: int, entries: NDArray[np.int64], loss: float) -> str:
        return f"{self.folder}: the loss is {loss} at step {step}, batch of {self.crops.names(entries)}"

    def _summary(self, epoch: int, tally: Tally, train_s: float) -> dict[str, float | int]:
        """What is logged after an epoch; here the validation runs."""
        values: dict[str, float | int] = {"epoch": epoch, **tally.means(), **self.step.diagnostics()}
        if self.validate is not None:
            values["valid_eer"] = self.checkpoints.eers[epoch] = self.validate()
        if self.crops.sampling.max_bad_crops > 0:
            values["bad_crops"] = len(tally.bad)
        if self.training.skip_nonfinite > 0:
            values["skipped_steps"] = self.skipping.count
        if tally.bad:
            logger.warning(
                "epoch %d: crops that could not be read and were replaced: %s", epoch, summarise(list(tally.bad))
            )
        return {
            **values,
            **self._scheduled(self.done - 1),
            "crops_per_s": self.crops.crops_per_epoch * self.step.views / train_s,
            "data_wait": tally.waited_s / train_s,
            "seconds": train_s,
        }


def _sentence(values: Mapping[str, float | int], num_epochs: int) -> str:
    """What an epoch gave, in one line."""
    valid = f", validation EER {100 * values['valid_eer']:.2f} %" if "valid_eer" in values else ""
    return (
        f"epoch {values['epoch']}/{num_epochs}: loss {values['loss']:.3f}, accuracy {100 * values['accuracy']:.1f} %"
        f"{valid}, {values['crops_per_s']:.0f} crops/s"
    )
