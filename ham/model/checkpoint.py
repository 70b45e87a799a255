"""Checkpoints: written atomically, read with ``weights_only=True``, averaged over the last epochs."""

from __future__ import annotations

import hashlib
import logging
import math
import pickle
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ham.errors import CheckpointError
from ham.files import replacing
from ham.words import clip

logger = logging.getLogger(__name__)

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
        if "DataLoader worker" in str(error):  # one was killed in the meantime, which torch tells wherever it is
            raise
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"{path}: cannot be written ({reason}); is the disk full?") from None


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU; each of its bytes is checked by its CRC-32, at which torch does not look.

    Raises:
        CheckpointError: if it is missing or damaged.
    """
    try:
        if (reason := damage(path)) is not None:
            raise ValueError(reason)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint; {_cure(path, 'those of later epochs')}") from None
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path}: damaged ({reason}); {_cure(path, 'it and later ones')}") from None
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: expected a dictionary, found {type(state).__name__}")
    return state


def damage(path: Path) -> str | None:
    """What is wrong with the bytes of a checkpoint, which is a zip archive; None where nothing is.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            bad = archive.testzip()
    except FileNotFoundError:
        raise
    except (OSError, EOFError, RuntimeError, ValueError, struct.error, zipfile.BadZipFile, zlib.error) as error:
        return str(error) or type(error).__name__
    return None if bad is None else f"the CRC-32 of {bad} is another"


@contextmanager
def fitting(path: Path) -> Iterator[None]:
    """Use a checkpoint that could be read; one that holds something else than expected is told in a sentence.

    Raises:
        CheckpointError: naming what is missing or does not fit.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        missing = "it lacks " if isinstance(error, KeyError) else ""
        reason = clip(missing + " ".join(str(error).split()), 300)
        raise CheckpointError(
            f"{path}: can be read, but is not of this experiment ({reason}); put back the experiment's own, or delete "
            "what is not, then --stage 4 --resume"
        ) from None


def _cure(path: Path, else_delete: str) -> str:
    """What helps: the average is made of the checkpoints, and they are made one after the other."""
    if path.stem == "average":
        return "average the checkpoints (stage 5)"
    if path.stem == "start":
        return "put back a copy of it, or delete the folder and train again"
    before = [epoch for epoch in saved_epochs(path.parent) if epoch_path(path.parent, epoch) < path]
    goes_on = f"goes on after epoch {before[-1]}" if before else "begins anew, as there is no earlier one"
    return f"delete {else_delete}, then --stage 4 --resume {goes_on}"


def epoch_path(folder: Path, epoch: int) -> Path:
    """Where the checkpoint after ``epoch`` (counted from 1) lies."""
    return folder / f"epoch_{epoch:04d}.pt"


def step_path(folder: Path, epoch: int, step: int) -> Path:
    """Where the checkpoint within ``epoch``, after ``step`` steps of the whole training, lies."""
    return folder / f"epoch_{epoch:04d}_step_{step:08d}.pt"


def path_of(folder: Path, epoch: int, step: int | None = None) -> Path:
    """Where the checkpoint after ``epoch`` lies, or the one within it after ``step`` steps of the whole training."""
    return epoch_path(folder, epoch) if step is None else step_path(folder, epoch, step)


def newest(folder: Path) -> tuple[int, int | None]:
    """Epoch and step of the newest checkpoint that is not damaged; damaged ones are told.

    Returns:
        What :func:`path_of` takes; epoch 0 if there are no checkpoints.

    Raises:
        CheckpointError: if all are damaged.
    """
    places = _places(folder)
    for place in reversed(places):
        path = path_of(folder, *place)
        if (reason := damage(path)) is None:
            return place
        logger.warning("%s: damaged (%s); the checkpoint before it counts", path, reason)
    if places:
        raise CheckpointError(f"{folder}: every checkpoint is damaged; put back a copy, or delete them to begin anew")
    return 0, None


def set_aside(folder: Path, epoch: int, step: int | None) -> None:
    """Rename the checkpoints that are newer than one, which are damaged, so that they are never taken for the last."""
    places = _places(folder)
    for place in places[places.index((epoch, step)) + 1 :]:
        path = path_of(folder, *place)
        path.rename(path.with_name(f"{path.name}.damaged"))
        logger.warning("%s: set aside as %s.damaged", path, path.name)


def _places(folder: Path) -> list[tuple[int, int | None]]:
    """Epoch and step of all checkpoints, in the order in which they are written; step None after an epoch."""
    places = [*saved_steps(folder), *((epoch, None) for epoch in saved_epochs(folder))]
    return sorted(places, key=lambda place: (place[0], math.inf if place[1] is None else place[1]))


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
