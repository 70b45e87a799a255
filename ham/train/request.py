"""What an experiment is made of, so that the same request goes on with it and another one is refused."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ham.config import SAVED, Config, TrainConfig, complete, differences, from_dict, to_dict
from ham.data.identity import Identity, changes, identity, read_sums
from ham.data.store import ArrayStore
from ham.errors import CheckpointError, ConfigError
from ham.files import write_text
from ham.model import checkpoint
from ham.model.average import stopped_early
from ham.train.blocks import resolve
from ham.train.distill import Teacher
from ham.train.initial import Initial, described
from ham.train.schedules import RATES

logger = logging.getLogger(__name__)

MATERIALS = {"musan": "noise (--musan)", "rirs": "room responses (--rirs)"}
"""Stores beside the training speech that an option takes into use, and what messages call them."""

FREE = {
    "data": ("num_workers", "max_bad_crops"),
    "train": ("checkpoint_steps", "checkpoint_minutes", "skip_nonfinite"),
    "distill": ("teacher",),
}
"""Keys that change no number: processes that gather crops, checkpoints within epochs, the budgets of bad crops and
of steps without a finite loss, and the path of a teacher, for which its digest stands."""


BLOCKS = ("data", "train")
"""What every saved configuration has, among others."""


class Place(NamedTuple):
    """How far a training has come.

    Attributes:
        epoch: the last finished epoch; for a checkpoint within an epoch, that one; 0 where there is nothing yet.
        step: steps of the whole training that are done, for a checkpoint within an epoch; else None.
    """

    epoch: int = 0
    step: int | None = None

    def __str__(self) -> str:
        """In words."""
        return f"after epoch {self.epoch}" if self.step is None else f"after step {self.step}, in epoch {self.epoch}"


def describe(
    config: Config,
    seed: int,
    fingerprint: Identity,
    materials: Mapping[str, ArrayStore],
    initial: Initial | None = None,
    teacher: Teacher | None = None,
) -> dict[str, Any]:
    """All that an experiment is made of; another one in any of it is another experiment.

    Args:
        config: the system, every option spelt out.
        seed: the experiment's.
        fingerprint: what identifies the training audio.
        materials: stores of noise and room responses, by name.
        initial: the weights that it starts from; None for fresh ones.
        teacher: the model that teaches; None for none.
    """
    return {
        **to_dict(config),
        "seed": seed,
        "fingerprint": fingerprint,
        "materials": {name: identity(store) for name, store in materials.items()},
        **described(initial),
        **({"teacher": teacher.digest} if teacher else {}),
    }


def write_request(folder: Path, request: dict[str, Any]) -> None:
    """Write the resolved configuration, with seed and description of the audio."""
    write_text(folder / "config.yaml", yaml.safe_dump(request, sort_keys=False, default_flow_style=None))


def find_place(folder: Path, request: dict[str, Any], stores: Mapping[str, ArrayStore], resume: bool) -> Place:
    """Where to go on with an experiment.

    Args:
        folder: the experiment's.
        request: what :func:`describe` gave.
        stores: ``train`` and the materials.
        resume: whether one that was stopped may go on.

    Raises:
        ConfigError: if another configuration or other audio made the experiment, saying which, or if it was stopped
            half way and may not go on.
        CheckpointError: if its configuration cannot be read.
    """
    place = _last_place(folder / "checkpoints")
    if not place.epoch:
        return place
    made = _in_full(read_request(folder))
    old = _longer(made, request)
    lines = [*differences(_decisive(old), _decisive(request)), *_changes_of_audio(folder, old, request, stores)]
    if lines:
        raise ConfigError(
            f"{folder}: another configuration or other audio made this experiment ({'; '.join(lines)}); choose another "
            "--exp_name or delete the folder"
        )
    now = from_dict(_system(request))
    if not is_finished(folder, place, now.train) and not resume:
        raise ConfigError(f"{folder}: stopped {place} of {now.train.epochs}; go on with --resume, or delete the folder")
    if old is not made:
        logger.info("%s: %s", folder, _said_of_growth(from_dict(_system(made)), now, place.epoch))
    return place


def is_finished(folder: Path, place: Place, training: TrainConfig) -> bool:
    """Whether a training has had all its epochs, or has ended early.

    Args:
        folder: the experiment's.
        place: how far it has come.
        training: its length, and ``early_stop``.
    """
    if not place.epoch or place.step is not None:
        return False
    if place.epoch >= training.epochs or not training.early_stop:
        return place.epoch >= training.epochs
    last = checkpoint.load(checkpoint.epoch_path(folder / "checkpoints", place.epoch))
    return stopped_early(training, last.get("valid_eers", {}))


def _longer(old: dict[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """An experiment's request with the epochs asked for now, where these are more.

    More may be averaged then as well, if all epochs so far are: their checkpoints are there.
    """
    before, now = old.get("train", {}), request["train"]
    if not before.get("epochs", now["epochs"]) < now["epochs"]:
        return old
    grown = {"epochs": now["epochs"]}
    if before.get("average_last") == before["epochs"]:
        grown["average_last"] = now["average_last"]
    return {**old, "train": {**before, **grown}}


def _said_of_growth(before: Config, now: Config, epoch: int) -> str:
    """What more epochs mean for the learning rate; margin and curvature do not depend on their number."""
    rates = []
    for config in (before, now):
        block = complete("schedule", RATES, config.schedule)
        rate = RATES[block.name](config.optimiser.options["lr"], config.train.epochs, **block.options)
        rates.append(rate(epoch))
    same = "as if it had been so from the start" if rates[0] == rates[1] else f"where it was {rates[0]:.3g}"
    return (
        f"train.epochs grows from {before.train.epochs} to {now.train.epochs}: the rate goes on at {rates[1]:.3g}, "
        f"{same} (schedule {now.schedule.name})"
    )


def _system(request: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a request that is a configuration."""
    return {key: value for key, value in request.items() if key not in SAVED}


def _last_place(checkpoints: Path) -> Place:
    """That of the newest checkpoint that is not damaged."""
    return Place(*checkpoint.newest(checkpoints))


def _changes_of_audio(
    folder: Path, old: Mapping[str, Any], request: Mapping[str, Any], stores: Mapping[str, ArrayStore]
) -> list[str]:
    """How the training audio, the noise and the room responses differ from those that the experiment was made from."""
    before, now = ({"train": tree["fingerprint"], **tree["materials"]} for tree in (_audio_of(old), request))
    if not all(isinstance(one, Mapping) for one in before.values()):
        return ["its config.yaml does not describe its audio"]
    sums = read_sums(folder)
    lines = []
    for name, what in {"train": "training", **MATERIALS}.items():
        if name in before and name in now:
            lines += changes(what, before[name], stores[name], now[name], sums.get(name))
        elif name in before or name in now:
            lines.append(f"{what}: {'used before, not now' if name in before else 'not used before, but now'}")
    return lines


def _audio_of(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a request that describes audio."""
    materials = tree.get("materials")
    return {"fingerprint": tree.get("fingerprint"), "materials": materials if isinstance(materials, Mapping) else {}}


def _in_full(request: dict[str, Any]) -> dict[str, Any]:
    """A request with the options that were unknown when it was written, at their defaults."""
    try:
        return {**request, **to_dict(resolve(from_dict(_system(request))))}
    except ConfigError:
        return request  # an option is gone: the difference will be shown


def _decisive(request: dict[str, Any]) -> dict[str, Any]:
    """The configuration without what changes no number."""
    kept = {
        block: {key: value for key, value in request.get(block, {}).items() if key not in keys}
        for block, keys in FREE.items()
    }
    return {**{key: value for key, value in request.items() if key not in ("fingerprint", "materials")}, **kept}


def read_request(folder: Path) -> dict[str, Any]:
    """What the experiment was asked for.

    Raises:
        CheckpointError: if that cannot be read.
    """
    path = folder / "config.yaml"
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(tree, dict) or not all(isinstance(tree.get(block), dict) for block in BLOCKS):
            raise ValueError(f"expected the blocks {' and '.join(BLOCKS)} among others")
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        found = f"cannot be read ({reason}), but there are checkpoints"
        raise CheckpointError(f"{path}: {found}; put back a copy of it, or choose another --exp_name") from None
    return tree
