"""The state of a training on disk: written after each epoch or more often, and taken up again from there."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ham.config import TrainConfig
from ham.model import checkpoint
from ham.model.average import averaged_epochs
from ham.train.distributed import rank
from ham.train.nonfinite import Skipping
from ham.train.schedules import Schedules
from ham.train.step import TrainingStep
from ham.train.trainable import WeightAverage


@dataclass
class Checkpoints:
    """Everything that a training needs to go on: weights, optimiser, random numbers.

    Attributes:
        folder: where the files lie.
        training: how many of them stay, and how often one is written within an epoch.
        steps_per_epoch: steps of an epoch.
        step: whose weights are trained.
        optimiser: over them.
        schedules: whose values at the moment are kept beside the weights.
        device: where is computed.
        described: what every checkpoint says of itself: configuration, speakers, versions.
        ema: moving average of the weights; None for none.
        eers: validation EER of each epoch so far.
        skipping: of steps whose loss is not finite; their number so far is kept.
    """

    folder: Path
    training: TrainConfig
    steps_per_epoch: int
    step: TrainingStep
    optimiser: torch.optim.Optimizer
    schedules: Schedules
    device: torch.device
    described: Mapping[str, Any]
    skipping: Skipping
    ema: WeightAverage | None = None
    eers: dict[int, float] = field(default_factory=dict)
    _written: float = field(default_factory=time.monotonic, init=False)  # when the last one was

    def state(self, done: int) -> dict[str, Any]:
        """All that is needed to go on after ``done`` steps of the training, or to use the model."""
        rng = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            rng["cuda"] = torch.cuda.get_rng_state(self.device)
        epoch, num_steps = divmod(done, self.steps_per_epoch)
        return {
            **self.described,
            "epoch": epoch,
            "step": done,
            "schedules": self.schedules.at(epoch + num_steps / self.steps_per_epoch),
            "backbone": self.step.backbone.state_dict(),
            "loss": self.step.loss.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.step.scaler.state_dict(),
            "rng": rng,
            "valid_eers": dict(self.eers),
            **({"ema": self.ema.state_dict()} if self.ema else {}),
            **({"distillation": self.step.distillation.state_dict()} if self.step.distillation else {}),
            "skipped": self.skipping.count,
        }

    def restore(self, epoch: int, done: int | None = None) -> tuple[int, Mapping[str, Any]]:
        """Take up the state after an epoch, or within it; newer files, which are damaged, are set aside.

        Args:
            epoch: number of the epoch.
            done: steps of the whole training that are done, for a checkpoint within the epoch.

        Returns:
            The steps that are done, and the tally of those of an unfinished epoch.
        """
        state = checkpoint.load(checkpoint.path_of(self.folder, epoch, done))
        self._check_same(state)
        self.step.backbone.load_state_dict(state["backbone"])
        self.step.loss.load_state_dict(state["loss"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.eers.update(state.get("valid_eers", {}))
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        if self.step.distillation:
            self.step.distillation.load_state_dict(state["distillation"])
        self.step.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["rng"]["cpu"])
        if self.device.type == "cuda" and "cuda" in state["rng"]:
            torch.cuda.set_rng_state(state["rng"]["cuda"], self.device)
        self.skipping.count = int(state["skipped"])
        if not rank():  # one process renames
            checkpoint.set_aside(self.folder, epoch, done)
        return int(state["step"]), {} if done is None else state["told"]

    def _check_same(self, state: Mapping[str, Any]) -> None:
        for key in ("seed", "speakers"):
            if state.get(key) != self.described.get(key):
                raise ValueError(f"its {key} differ")

    def is_due(self, done: int, *, asked: bool = False) -> bool:
        """Whether a checkpoint within the epoch is to be written after ``done`` steps of the training.

        Args:
            done: the steps.
            asked: whether one is asked for, whatever steps and minutes say.
        """
        every, minutes = self.training.checkpoint_steps, self.training.checkpoint_minutes
        asked |= every > 0 and done % every == 0
        asked |= minutes > 0 and time.monotonic() - self._written >= 60 * minutes
        return asked and done % self.steps_per_epoch != 0

    def save(self, done: int) -> None:
        """Write the checkpoint of a finished epoch and delete the oldest ones."""
        self._write(checkpoint.epoch_path(self.folder, done // self.steps_per_epoch), self.state(done))

    def save_within(self, done: int, tally: Mapping[str, Any]) -> None:
        """Write a checkpoint within an epoch, with what its log will need, and delete the one before."""
        epoch = done // self.steps_per_epoch + 1
        self._write(checkpoint.step_path(self.folder, epoch, done), {**self.state(done), "told": tally})

    def _write(self, path: Path, state: Mapping[str, Any]) -> None:
        if rank():  # the first process's is that of all
            return
        checkpoint.save(path, state)
        self._written = time.monotonic()
        checkpoint.prune(self.folder, *self._kept(int(state["epoch"])))

    def _kept(self, epoch: int) -> tuple[int, list[int]]:
        """How many of the last checkpoints stay, and which besides."""
        most = {"last": self.training.average_last, "best": 1, "all": self.training.epochs}
        return most[self.training.keep], averaged_epochs(self.training, self.eers, epoch)
