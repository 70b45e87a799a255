"""The training loop: epochs of steps, checkpoints after each or more often, and going on from the last one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ham.data.batches import Batch, CropBatches, TrainingSet
from ham.data.sampler import EpochPlan, num_batches, plan_balanced, plan_epoch
from ham.data.store import ArrayStore
from ham.errors import DataError, HamError, summarise
from ham.model import checkpoint
from ham.train.monitor import Monitor
from ham.train.step import TrainingStep

logger = logging.getLogger(__name__)

LOG_STEPS = 10
"""A step event is written this often; on an accelerator the loss is also only read then, to keep it busy."""


class DivergedError(HamError):
    """The loss is not finite any more."""


@dataclass(frozen=True)
class LoopSettings:
    """The values that a run is made of.

    Attributes:
        epochs: length of training.
        batch_size: crops drawn from the data a step.
        crops_per_utterance: passes over the utterances an epoch.
        crop_rows: rows (samples, frames) read for each crop.
        num_workers: processes that gather crops.
        seed: of the order of the crops and of all augmentation.
        clip_grad_norm: largest norm of the gradient, 0 for any.
        keep_checkpoints: how many of the last checkpoints stay.
        lr_at: learning rate at a moment, counted in epochs.
        margin_at: margin at a moment; None if the loss has none.
        curvature_at: curvature at a moment; None where it stays as it is.
        order: ``shuffle`` or ``balanced``, see :mod:`ham.data.sampler`.
        max_bad_crops: crops of an epoch that may be unreadable and are replaced; one more stops the run.
        checkpoint_steps: a checkpoint within an epoch every this many steps of the training; 0 for none.
    """

    epochs: int
    batch_size: int
    crops_per_utterance: int
    crop_rows: int
    num_workers: int
    seed: int
    clip_grad_norm: float
    keep_checkpoints: int
    lr_at: Callable[[float], float]
    margin_at: Callable[[float], float] | None
    curvature_at: Callable[[float], float] | None = None
    order: str = "shuffle"
    max_bad_crops: int = 0
    checkpoint_steps: int = 0


class Loop:
    """Trains one system.

    Args:
        step: forward pass; its backbone and loss are trained.
        optimiser: over their parameters.
        store: where the crops are read.
        data: the training utterances.
        settings: see there.
        device: where to compute.
        folder: the experiment's folder.
        described: what every checkpoint holds beside the weights: configuration, speakers, versions.
        validate: gives the validation EER after an epoch; None for none.
        facts: what the log says first, such as the hardware.
    """

    def __init__(
        self,
        *,
        step: TrainingStep,
        optimiser: torch.optim.Optimizer,
        store: ArrayStore,
        data: TrainingSet,
        settings: LoopSettings,
        device: torch.device,
        folder: Path,
        described: Mapping[str, Any],
        validate: Callable[[], float] | None,
        facts: Mapping[str, str],
    ) -> None:
        self.step = step
        self.optimiser = optimiser
        self.store = store
        self.data = data
        self.settings = settings
        self.device = device
        self.folder = folder
        self.described = described
        self.validate = validate
        self.facts = facts
        crops = len(data.indices) * settings.crops_per_utterance
        self.steps_per_epoch = num_batches(crops, settings.batch_size)
        self.parameters = [p for group in optimiser.param_groups for p in group["params"]]
        self.first_epoch = 1
        self._steps_done = 0  # of the first epoch
        self._told: Mapping[str, Any] = {}  # what those steps gave

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / "checkpoints"

    def run(self) -> None:
        """Train from ``first_epoch`` to the end.

        Raises:
            DivergedError: if the loss is not finite, naming the step and the utterances of its batch.
        """
        done = (self.first_epoch - 1) * self.steps_per_epoch + self._steps_done
        total = self.settings.epochs * self.steps_per_epoch
        with Monitor(self.folder, first_epoch=self.first_epoch, first_step=done, total_steps=total) as monitor:
            monitor.start(self.facts)
            for epoch in range(self.first_epoch, self.settings.epochs + 1):
                self._epoch(epoch, monitor)

    def resume(self, epoch: int, step: int | None = None) -> None:
        """Take up the state after ``epoch``, or within it after ``step``: weights, optimiser, random numbers.

        Args:
            epoch: number of the epoch.
            step: steps of the whole training that are done, for a checkpoint within the epoch.
        """
        folder = self.checkpoints
        path = checkpoint.epoch_path(folder, epoch) if step is None else checkpoint.step_path(folder, epoch, step)
        state = checkpoint.load(path)
        self.step.backbone.load_state_dict(state["backbone"])
        self.step.loss.load_state_dict(state["loss"])
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["rng"]["cpu"])
        if self.device.type == "cuda" and "cuda" in state["rng"]:
            torch.cuda.set_rng_state(state["rng"]["cuda"], self.device)
        self.first_epoch = int(state["epoch"]) + 1
        self._steps_done = int(state["step"]) - int(state["epoch"]) * self.steps_per_epoch
        self._told = state.get("told", {})

    def state(self, epoch: int, num_steps: int = 0) -> dict[str, Any]:
        """All that is needed to go on after ``epoch`` and ``num_steps`` more, or to use the model."""
        rng = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            rng["cuda"] = torch.cuda.get_rng_state(self.device)
        moment = epoch + num_steps / self.steps_per_epoch
        margin = self.settings.margin_at(moment) if self.settings.margin_at else None
        curvature = self.settings.curvature_at(moment) if self.settings.curvature_at else None
        return {
            **self.described,
            "epoch": epoch,
            "step": epoch * self.steps_per_epoch + num_steps,
            "schedules": {"lr": self.settings.lr_at(moment), "margin": margin, "curvature": curvature},
            "backbone": self.step.backbone.state_dict(),
            "loss": self.step.loss.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rng": rng,
        }

    def _epoch(self, epoch: int, monitor: Monitor) -> None:
        """Train one epoch, validate, save."""
        self.step.backbone.train()
        is_resumed = epoch == self.first_epoch
        tally = _Tally(self.device, self._told if is_resumed else {})
        first = self._steps_done if is_resumed else 0
        for number, batch in enumerate(self._batches(epoch, first, tally), first):
            self._count_bad(epoch, batch, tally)
            done = (epoch - 1) * self.steps_per_epoch + number
            self._train(batch, done, tally)
            monitor.advance()
            if (number + 1) % tally.interval == 0 or number + 1 == self.steps_per_epoch:
                self._read(tally, batch_names=self._names)
            if (number + 1) % LOG_STEPS == 0 or number + 1 == self.steps_per_epoch:
                monitor.step(done + 1, {"epoch": epoch, **self._moment(done), **tally.recent()})
            if self._is_checkpoint(done + 1):
                self._save_within(epoch, number + 1, tally)
        values = self._summary(epoch, tally, tally.elapsed_s())
        monitor.epoch(epoch * self.steps_per_epoch, values)  # first: a resumed run drops a line without checkpoint
        self._save(epoch)
        self._tell(epoch, values)

    def _plan(self, epoch: int) -> EpochPlan:
        """The crops of an epoch."""
        now = self.settings
        if now.order == "balanced":
            return plan_balanced(
                self.data.labels,
                batch_size=now.batch_size,
                seed=now.seed,
                epoch=epoch,
                crops_per_utterance=now.crops_per_utterance,
            )
        num_utts, passes = len(self.data.indices), now.crops_per_utterance
        return plan_epoch(num_utts, seed=now.seed, epoch=epoch, crops_per_utterance=passes)

    def _batches(self, epoch: int, first: int, tally: _Tally) -> Iterator[Batch]:
        """The batches of an epoch from ``first`` on, in its order; the time spent waiting for them is counted."""
        crops = CropBatches(
            self.store,
            self.data,
            self._plan(epoch),
            self.settings.batch_size,
            self.settings.crop_rows,
            replace_bad=self.settings.max_bad_crops > 0,
        )
        loader = iter(
            DataLoader(
                crops,
                batch_size=None,
                sampler=range(first, len(crops)),
                num_workers=self.settings.num_workers,
                pin_memory=self.device.type == "cuda",
                generator=torch.Generator(),  # the loader's base seed must not come from the global generator
            )
        )
        while True:
            started = time.perf_counter()
            batch = self._next(loader)
            tally.waited_s += time.perf_counter() - started
            if batch is None:
                return
            yield batch

    def _next(self, loader: Iterator[Batch]) -> Batch | None:
        """The next batch; an error of ours in a worker brings its traceback, whose last line counts."""
        try:
            return next(loader, None)
        except HamError as error:
            *trace, last = str(error).strip().splitlines()
            raise type(error)(last.partition(": ")[2] if trace else last) from None

    def _count_bad(self, epoch: int, batch: Batch, tally: _Tally) -> None:
        """Remember the crops that were replaced; stop when the epoch has more of them than it may."""
        tally.bad += batch.bad
        if len(tally.bad) > self.settings.max_bad_crops:
            raise DataError(
                f"epoch {epoch}: expected at most {self.settings.max_bad_crops} crops that cannot be read "
                f"(data.max_bad_crops), found {len(tally.bad)}, the last one: {tally.bad[-1]}"
            )

    def _train(self, batch: Batch, done: int, tally: _Tally) -> None:
        """One update of the weights; ``done`` steps came before it."""
        now = self._moment(done)
        for group in self.optimiser.param_groups:
            group["lr"] = now["lr"]
        if "margin" in now:
            self.step.loss.set_margin(now["margin"])
        if "curvature" in now:
            self.step.loss.set_curvature(now["curvature"])
        out = self.step(batch, self._generator(done))
        self.optimiser.zero_grad(set_to_none=True)
        out.loss.backward()  # type: ignore[no-untyped-call]
        if self.settings.clip_grad_norm > 0:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_grad_norm)
        views = self.step.views
        tally.add(done + 1, batch, out.loss.detach() / views, out.accuracy.detach(), len(batch.labels) * views)
        if tally.interval == 1:
            self._read(tally, batch_names=self._names)  # before the weights take the step
        self.optimiser.step()

    def _moment(self, done: int) -> dict[str, float]:
        """Learning rate, margin and curvature of the step after ``done`` steps."""
        epoch = done / self.steps_per_epoch
        # The first step of a warm-up would have rate 0: there the step's end counts.
        now = {"lr": self.settings.lr_at(epoch) or self.settings.lr_at((done + 1) / self.steps_per_epoch)}
        if self.settings.margin_at is not None:
            now["margin"] = self.settings.margin_at(epoch)
        if self.settings.curvature_at is not None:
            now["curvature"] = self.settings.curvature_at(epoch)
        return now

    def _generator(self, done: int) -> torch.Generator:
        """The random numbers of one step, a function of seed and step, so that a resumed run draws the same."""
        seed = np.random.SeedSequence([self.settings.seed, done, 1]).generate_state(1, np.uint64)[0]
        return torch.Generator(self.device).manual_seed(int(seed >> np.uint64(1)))

    def _read(self, tally: _Tally, batch_names: Callable[[Batch], str]) -> None:
        """Bring the losses of the last steps over from the device; stop if one is not finite."""
        for step, batch, loss in tally.collect():
            if not np.isfinite(loss):
                raise DivergedError(
                    f"{self.folder}: the loss is {loss} at step {step}, batch of {batch_names(batch)}; lower "
                    "optimiser.lr or set train.clip_grad_norm, which makes another experiment: give it an --exp_name"
                )

    def _names(self, batch: Batch) -> str:
        """The first utterances of a batch."""
        utts = [self.store.utts[self.data.indices[i]] for i in batch.entries.tolist()]
        return ", ".join(utts[:3]) + (f" and {len(utts) - 3} more" if len(utts) > 3 else "")

    def _summary(self, epoch: int, tally: _Tally, train_s: float) -> dict[str, float | int]:
        """What is logged after an epoch; here the validation runs."""
        values: dict[str, float | int] = {"epoch": epoch, **tally.means(), **self.step.diagnostics()}
        if self.validate is not None:
            values["valid_eer"] = self.validate()
        crops = self.steps_per_epoch * self.settings.batch_size * self.step.views
        if self.settings.max_bad_crops > 0:
            values["bad_crops"] = len(tally.bad)
        if tally.bad:
            logger.warning(
                "epoch %d: crops that could not be read and were replaced: %s", epoch, summarise(list(tally.bad))
            )
        return {
            **values,
            **self._moment(epoch * self.steps_per_epoch - 1),
            "crops_per_s": crops / train_s,
            "data_wait": tally.waited_s / train_s,
            "seconds": train_s,
        }

    def _save(self, epoch: int) -> None:
        """Write the epoch's checkpoint and delete the oldest ones."""
        checkpoint.save(checkpoint.epoch_path(self.checkpoints, epoch), self.state(epoch))
        checkpoint.prune(self.checkpoints, self.settings.keep_checkpoints)

    def _is_checkpoint(self, done: int) -> bool:
        """Whether a checkpoint within the epoch is due after ``done`` steps of the training."""
        every = self.settings.checkpoint_steps
        return every > 0 and done % every == 0 and done % self.steps_per_epoch != 0

    def _save_within(self, epoch: int, num_steps: int, tally: _Tally) -> None:
        """Write a checkpoint within an epoch, with what its log will need, and delete the one before."""
        self._read(tally, batch_names=self._names)
        state = {**self.state(epoch - 1, num_steps), "told": tally.told()}
        checkpoint.save(checkpoint.step_path(self.checkpoints, epoch, state["step"]), state)
        checkpoint.prune(self.checkpoints, self.settings.keep_checkpoints)

    def _tell(self, epoch: int, values: Mapping[str, float | int]) -> None:
        """One line an epoch."""
        valid = f", validation EER {100 * values['valid_eer']:.2f} %" if "valid_eer" in values else ""
        logger.info(
            "epoch %d/%d: loss %.3f, accuracy %.1f %%%s, %.0f crops/s",
            epoch,
            self.settings.epochs,
            values["loss"],
            100 * values["accuracy"],
            valid,
            values["crops_per_s"],
        )


class _Tally:
    """Losses and accuracies of an epoch's steps; they are read from the device a few steps at a time.

    ``told`` is what another tally of the same epoch had to tell when a checkpoint was written.
    """

    def __init__(self, device: torch.device, told: Mapping[str, Any]) -> None:
        self.interval = 1 if device.type == "cpu" else LOG_STEPS
        self.waited_s = float(told.get("waited_s", 0.0))
        self.bad: tuple[str, ...] = tuple(told.get("bad", ()))
        self._pending: list[tuple[int, Batch, Tensor, Tensor]] = []
        self._losses: list[float] = list(told.get("losses", ()))
        self._accuracies: list[float] = list(told.get("accuracies", ()))
        self._crops = 0
        self._started = time.perf_counter() - float(told.get("elapsed_s", 0.0))
        self._since = time.perf_counter()

    def told(self) -> dict[str, Any]:
        """All of it as plain values, once nothing is pending."""
        return {
            "losses": list(self._losses),
            "accuracies": list(self._accuracies),
            "bad": list(self.bad),
            "waited_s": self.waited_s,
            "elapsed_s": self.elapsed_s(),
        }

    def elapsed_s(self) -> float:
        """Seconds since the epoch began, those of stopped runs up to their checkpoint included."""
        return time.perf_counter() - self._started

    def add(self, step: int, batch: Batch, loss: Tensor, accuracy: Tensor, num_crops: int) -> None:
        """Remember a step without waiting for the device."""
        self._pending.append((step, batch, loss, accuracy))
        self._crops += num_crops

    def collect(self) -> list[tuple[int, Batch, float]]:
        """Wait for the steps remembered and give their losses."""
        read = [(step, batch, float(loss)) for step, batch, loss, _ in self._pending]
        self._losses += [loss for _, _, loss in read]
        self._accuracies += [float(accuracy) for *_, accuracy in self._pending]
        self._pending = []
        return read

    def recent(self) -> dict[str, float]:
        """Means over the last steps, and the speed since this was last asked."""
        now = time.perf_counter()
        values = {
            "loss": float(np.mean(self._losses[-LOG_STEPS:])),
            "accuracy": float(np.mean(self._accuracies[-LOG_STEPS:])),
            "crops_per_s": self._crops / max(1e-9, now - self._since),
        }
        self._crops, self._since = 0, now
        return values

    def means(self) -> dict[str, float]:
        """Means over the epoch."""
        return {"loss": float(np.mean(self._losses)), "accuracy": float(np.mean(self._accuracies))}
