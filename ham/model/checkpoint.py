"""Checkpoints: written atomically, read with ``weights_only=True``, averaged over the last epochs."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ham.errors import CheckpointError
from ham.files import replacing

PATTERN = "epoch_*.pt"


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint; it appears under its name only when it is complete.

    Raises:
        CheckpointError: if it cannot be written.
    """
    try:
        with replacing(path) as part:
            torch.save(dict(state), part)
    except RuntimeError as error:  # torch's writer says so when the disk is full
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: cannot be written ({reason}); is the disk full?") from None


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Raises:
        CheckpointError: if it is missing or damaged.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint; {_cure(path, 'those of later epochs')}") from None
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: damaged ({reason}); {_cure(path, 'it and later ones')}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: expected a dictionary, found {type(state).__name__}")
    return state


def _cure(path: Path, else_delete: str) -> str:
    """What helps: the average is made of the checkpoints, and they are made one after the other."""
    if path.stem == "average":
        return "average the checkpoints (stage 5)"
    return f"delete {else_delete}, then --stage 4 --resume"


def epoch_path(folder: Path, epoch: int) -> Path:
    """Where the checkpoint after ``epoch`` (counted from 1) lies."""
    return folder / f"epoch_{epoch:04d}.pt"


def step_path(folder: Path, epoch: int, step: int) -> Path:
    """Where the checkpoint within ``epoch``, after ``step`` steps of the whole training, lies."""
    return folder / f"epoch_{epoch:04d}_step_{step:08d}.pt"


def saved_steps(folder: Path) -> list[tuple[int, int]]:
    """The checkpoints within epochs as ``(epoch, step)``, in rising order."""
    names = (path.stem.split("_") for path in folder.glob("epoch_*_step_*.pt"))
    return sorted((int(epoch), int(step)) for _, epoch, _, step in names)


def saved_epochs(folder: Path) -> list[int]:
    """The epochs that have a checkpoint, in rising order."""
    return sorted(int(path.stem.removeprefix("epoch_")) for path in folder.glob(PATTERN) if path.stem[6:].isdigit())


def prune(folder: Path, keep: int, besides: Collection[int] = ()) -> None:
    """Delete all checkpoints but the last ``keep`` and the epochs ``besides``.

    Within epochs all go but the last one of an unfinished epoch.
    """
    epochs = saved_epochs(folder)
    for epoch in {*epochs[:-keep]} - {*besides}:
        epoch_path(folder, epoch).unlink()
    steps = saved_steps(folder)
    for epoch, step in steps:
        if (epoch, step) != steps[-1] or (epochs and epoch <= epochs[-1]):
            step_path(folder, epoch, step).unlink()


def average(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Mean of every floating-point tensor, batch normalisation's statistics too; counters are the last one's.

    Sums are taken in float64, so that the mean of equal weights is those weights.

    Args:
        states: state_dicts of one network, oldest first.
    """
    last = states[-1]
    return {
        key: torch.stack([s[key].double() for s in states]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value
        for key, value in last.items()
    }


def weights_digest(model: Mapping[str, Any]) -> str:
    """A digest of the backbone's weights: embeddings made with other weights are out of date.

    Args:
        model: what ``average.pt`` holds.

    Returns:
        Hexadecimal digits.
    """
    digest = hashlib.sha256()
    for key, value in model["backbone"].items():
        digest.update(key.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()
