"""The state of a training on disk: written after each epoch or more often, and taken up again from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ham.config import TrainConfig
from ham.model import checkpoint
from ham.train.schedules import Schedules
from ham.train.step import TrainingStep


@dataclass(frozen=True)
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
    """

    folder: Path
    training: TrainConfig
    steps_per_epoch: int
    step: TrainingStep
    optimiser: torch.optim.Optimizer
    schedules: Schedules
    device: torch.device
    described: Mapping[str, Any]

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
        }

    def restore(self, epoch: int, done: int | None = None) -> tuple[int, Mapping[str, Any]]:
        """Take up the state after an epoch, or within it.

        Args:
            epoch: number of the epoch.
            done: steps of the whole training that are done, for a checkpoint within the epoch.

        Returns:
            The steps that are done, and the tally of those of an unfinished epoch.
        """
        path = checkpoint.epoch_path(self.folder, epoch)
        if done is not None:
            path = checkpoint.step_path(self.folder, epoch, done)
        state = checkpoint.load(path)
        self.step.backbone.load_state_dict(state["backbone"])
        self.step.loss.load_state_dict(state["loss"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step.scaler.load_state_dict(state["scaler"])
        torch.set_rng_state(state["rng"]["cpu"])
        if self.device.type == "cuda" and "cuda" in state["rng"]:
            torch.cuda.set_rng_state(state["rng"]["cuda"], self.device)
        return int(state["step"]), state.get("told", {})

    def is_due(self, done: int) -> bool:
        """Whether a checkpoint within the epoch is to be written after ``done`` steps of the training."""
        every = self.training.checkpoint_steps
        return every > 0 and done % every == 0 and done % self.steps_per_epoch != 0

    def save(self, done: int) -> None:
        """Write the checkpoint of a finished epoch and delete the oldest ones."""
        self._write(checkpoint.epoch_path(self.folder, done // self.steps_per_epoch), self.state(done))

    def save_within(self, done: int, tally: Mapping[str, Any]) -> None:
        """Write a checkpoint within an epoch, with what its log will need, and delete the one before."""
        epoch = done // self.steps_per_epoch + 1
        self._write(checkpoint.step_path(self.folder, epoch, done), {**self.state(done), "told": tally})

    def _write(self, path: Path, state: Mapping[str, Any]) -> None:
        checkpoint.save(path, state)
        checkpoint.prune(self.folder, self.training.average_last)
