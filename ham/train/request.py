"""What an experiment is made of, so that the same request goes on with it and another one is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ham.config import SAVED, Config, differences, from_dict, to_dict
from ham.data.identity import Identity, changes, identity, read_sums
from ham.data.store import ArrayStore
from ham.errors import CheckpointError, ConfigError
from ham.files import write_text
from ham.model import checkpoint
from ham.train.blocks import resolve

MATERIALS = {"musan": "noise (--musan)", "rirs": "room responses (--rirs)"}
"""Stores beside the training speech that an option takes into use, and what messages call them."""

FREE = {
    "data": ("num_workers", "max_bad_crops"),
    "train": ("checkpoint_steps", "checkpoint_minutes", "skip_nonfinite"),
}
"""Keys that change no number: processes that gather crops, checkpoints within epochs, and the budgets of bad crops and
of steps without a finite loss."""


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


def describe(config: Config, seed: int, fingerprint: Identity, materials: Mapping[str, ArrayStore]) -> dict[str, Any]:
    """All that an experiment is made of; another one in any of it is another experiment.

    Args:
        config: the system, every option spelt out.
        seed: the experiment's.
        fingerprint: what identifies the training audio.
        materials: stores of noise and room responses, by name.
    """
    return {
        **to_dict(config),
        "seed": seed,
        "fingerprint": fingerprint,
        "materials": {name: identity(store) for name, store in materials.items()},
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
    old = _in_full(_read_request(folder))
    lines = [*differences(_decisive(old), _decisive(request)), *_changes_of_audio(folder, old, request, stores)]
    if lines:
        raise ConfigError(
            f"{folder}: another configuration or other audio made this experiment ({'; '.join(lines)}); choose another "
            "--exp_name or delete the folder"
        )
    epochs = int(request["train"]["epochs"])
    if (place.epoch < epochs or place.step is not None) and not resume:
        raise ConfigError(f"{folder}: stopped {place} of {epochs}; go on with --resume, or delete the folder")
    return place


def _last_place(checkpoints: Path) -> Place:
    """That of the newest checkpoint that is not damaged."""
    return Place(*checkpoint.newest(checkpoints))


def _changes_of_audio(
    folder: Path, old: Mapping[str, Any], request: Mapping[str, Any], stores: Mapping[str, ArrayStore]
) -> list[str]:
    """How the training audio, the noise and the room responses differ from those that the experiment was made from."""
    before, now = ({"train": tree["fingerprint"], **tree["materials"]} for tree in (_audio_of(old), request))
    if not all(isinstance(one, Mapping) for one in before.values()):
        return ["its audio is not described, an earlier release made it"]
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
    system = {key: value for key, value in request.items() if key not in SAVED}
    try:
        return {**request, **to_dict(resolve(from_dict(system)))}
    except ConfigError:
        return request  # an option is gone: the difference will be shown


def _decisive(request: dict[str, Any]) -> dict[str, Any]:
    """The configuration without what changes no number."""
    kept = {
        block: {key: value for key, value in request.get(block, {}).items() if key not in keys}
        for block, keys in FREE.items()
    }
    return {**{key: value for key, value in request.items() if key not in ("fingerprint", "materials")}, **kept}


def _read_request(folder: Path) -> dict[str, Any]:
    """What the experiment was asked for."""
    path = folder / "config.yaml"
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(tree, dict) or not all(isinstance(tree.get(block), dict) for block in FREE):
            raise ValueError(f"expected the blocks {' and '.join(FREE)} among others")
    except (OSError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        found = f"cannot be read ({reason}), but there are checkpoints"
        raise CheckpointError(f"{path}: {found}; put back a copy of it, or choose another --exp_name") from None
    return tree
