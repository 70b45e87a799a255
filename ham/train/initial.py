"""The trained weights that a training starts from: ``--init_from`` an experiment, checkpoint or model directory.

A self-supervised encoder as its authors published it, a folder or a name at the hub, is one too.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ham.backbones.base import Backbone
from ham.config import Config, TrainConfig, from_dict
from ham.errors import CheckpointError, ConfigError
from ham.losses.base import SpeakerLoss
from ham.model import checkpoint
from ham.model.average import weights_in_use
from ham.model.directory import MODEL, read_directory
from ham.model.pretrained import find_pretrained, read_pretrained
from ham.words import count

logger = logging.getLogger(__name__)

Weights = Mapping[str, Tensor]


@dataclass(frozen=True)
class Initial:
    """A trained model.

    Attributes:
        path: where it was read.
        config: its configuration.
        classes: the row of each of its centres, by speaker and speed.
        backbone: weights.
        loss: weights.
        digest: of all of them.
        whole: each weight must have its place, as those of a self-supervised encoder.
    """

    path: Path
    config: Config
    classes: Mapping[tuple[str, float], int]
    backbone: Weights
    loss: Weights
    digest: str
    whole: bool = False


def asked_for(path: Path | None, training: TrainConfig) -> Initial | None:
    """Read what ``--init_from`` names.

    Args:
        path: as of :func:`read_initial`; None where the option is empty.
        training: whose keys may need it.

    Returns:
        The trained model, or None.

    Raises:
        ConfigError: if it is empty and a key of the training has no meaning without; else as :func:`read_initial`.
        CheckpointError: as :func:`read_initial`.
    """
    check_initial(path, training)
    return None if path is None else read_initial(path)


def check_initial(path: Path | None, training: TrainConfig) -> None:
    """Refuse an ``--init_from`` that cannot be read, before any work is done.

    Args:
        path: as of :func:`read_initial`; None where the option is empty.
        training: whose keys may need it.

    Raises:
        ConfigError: if there is nothing of the kind, or it is empty and a key of the training has no meaning without.
    """
    if path is not None:
        if find_pretrained(path) is None and not (path / MODEL).is_file():
            _find_state(path)
        return
    needing = {"init_centres: class_means": training.init_centres != "loaded", "interpolate": training.interpolate > 0}
    for key in (key for key, needs in needing.items() if needs):
        raise ConfigError(f"train.{key}: expected a trained model that the training starts from, found no --init_from")


def read_initial(path: Path) -> Initial:
    """Read the weights to start from.

    Args:
        path: an experiment's folder, of which ``average.pt`` is meant, a checkpoint of one, a model directory, or an
            encoder as :func:`ham.model.pretrained.find_pretrained` takes it.

    Raises:
        ConfigError: if there is no such file.
        CheckpointError: if it is damaged, or no checkpoint of a training.
    """
    if (encoder := find_pretrained(path)) is not None:
        system, weights = read_pretrained(encoder)
        digest = checkpoint.weights_digest({"backbone": weights})
        return Initial(path, Config(backbone=system), {}, weights, {}, digest, whole=True)
    place, state = _read_state(path)
    try:
        config, in_use = from_dict(state["config"], str(place)), weights_in_use(state)
        backbone, loss = in_use["backbone"], in_use["loss"]
        numbered = classes(state["speakers"], config)
    except KeyError as error:
        raise CheckpointError(f"{place}: expected a checkpoint of a training, found no entry {error}") from None
    every = {**backbone, **{f"loss.{name}": value for name, value in loss.items()}}
    return Initial(place, config, numbered, backbone, loss, checkpoint.weights_digest({"backbone": every}))


def _read_state(path: Path) -> tuple[Path, Mapping[str, Any]]:
    """The file to name, and what a checkpoint or a model directory holds."""
    if (path / MODEL).is_file():
        return path / MODEL, read_directory(path).state
    place = _find_state(path)
    return place, checkpoint.load(place)


def _find_state(path: Path) -> Path:
    """The checkpoint that is meant."""
    place = path / "average.pt" if path.is_dir() else path
    if not place.is_file():
        raise ConfigError(
            f"--init_from {path}: expected an experiment with average.pt, which stage 5 makes, a checkpoint, a model "
            f"directory or a self-supervised encoder; found no {place}"
        )
    return place


def classes(speakers: Sequence[str], config: Config) -> dict[tuple[str, float], int]:
    """The row of each centre, by speaker and speed: all speakers at their own speed first.

    Args:
        speakers: in the order of their numbers.
        config: whose ``data.speed_perturb`` counts.
    """
    speeds = (1.0, *config.data.speed_perturb)
    keys = [(speaker, speed) for speed in speeds for speaker in speakers]
    return {key: row for row, key in enumerate(keys)}


def start_from(
    initial: Initial, backbone: Backbone, loss: SpeakerLoss, config: Config, numbered: Mapping[tuple[str, float], int]
) -> None:
    """Load what fits into a new system, and say what was loaded and what was not.

    Weights of the backbone fit by name and shape. The loss's fit if it is the same loss in the same geometry: centres
    by speaker and speed, each in the row that it has here, whatever its row was; numbers that all speakers share as
    they are.

    Args:
        initial: what to start from.
        backbone: of the new system.
        loss: likewise.
        config: the new system's.
        numbered: the row of each of its centres, as of :func:`classes`.

    Raises:
        ConfigError: if nothing of the backbone fits, or not all of an encoder.
    """
    own, given = backbone.state_dict(), backbone.translated(initial.backbone)
    fitting = {name: value for name, value in given.items() if _same_shape(own.get(name), value)}
    if initial.whole:
        _check_encoder(initial, config, own, fitting)
    if not any(value.ndim > 1 for value in fitting.values()):  # a norm of the embedding fits by chance
        raise ConfigError(
            f"--init_from {initial.path}: none of its weight matrices fits the backbone {config.backbone.name}; they "
            f"are of {initial.config.backbone.name}"
        )
    backbone.load_state_dict({**own, **fitting})
    logger.info("%s: backbone: %s", initial.path, _account(own, given, fitting))
    logger.info("%s: centres: %s", initial.path, _start_loss(initial, loss, config, numbered))


def _check_encoder(initial: Initial, config: Config, own: Weights, fitting: Weights) -> None:
    """Refuse another backbone than the encoder's, other sizes of it, and weights without a place."""
    wanted, asked = ({"name": one.backbone.name, **one.backbone.options} for one in (initial.config, config))
    if other := [key for key, value in wanted.items() if asked.get(key) != value]:
        expected, found = (", ".join(f"{key}: {one.get(key)}" for key in other) for one in (wanted, asked))
        raise ConfigError(f"--init_from {initial.path}: expected backbone: {{{expected}}}, found {{{found}}}")
    for name in initial.backbone.keys() - fitting.keys():
        expected, found = (str(tuple(weights[name].shape)) for weights in (initial.backbone, own))
        cure = "frontend.num_mel_bins or an option of the backbone is not the encoder's"
        raise ConfigError(f"--init_from {initial.path}: {name}: expected the shape {expected}, found {found}; {cure}")


def _same_shape(one: Tensor | None, other: Tensor) -> bool:
    return one is not None and one.shape == other.shape


def _account(own: Weights, given: Weights, fitting: Weights) -> str:
    """What was loaded, and what was not and why, in words."""
    unknown = [name for name in given if name not in own]
    other = [f"{name} {tuple(given[name].shape)}" for name in given if name in own and name not in fitting]
    fresh = [name for name in own if name not in fitting]
    parts = [f"{len(fitting)} of {count(len(given), 'weight')} loaded"]
    parts += [f"{len(unknown)} not, the backbone has none of the name ({unknown[0]}, ...)"] if unknown else []
    parts += [f"{len(other)} not, the backbone has another shape ({other[0]}, ...)"] if other else []
    parts += [f"{len(fresh)} of the backbone's {len(own)} are new ({fresh[0]}, ...)"] if fresh else []
    return "; ".join(parts)


def _start_loss(initial: Initial, loss: SpeakerLoss, config: Config, numbered: Mapping[tuple[str, float], int]) -> str:
    """Load the loss's weights, as far as they mean the same; what was done, in words."""
    if not initial.loss:
        return "none loaded, the model has no loss"
    before, now = ((one.loss.name, one.loss.options.get("geometry")) for one in (initial.config, config))
    if before != now:
        names = [" ".join(filter(None, pair)) for pair in (before, now)]
        return f"none loaded, they were those of {names[0]} and are those of {names[1]} now"
    rows = [(row, initial.classes[key]) for key, row in numbered.items() if key in initial.classes]
    if not rows:
        return f"none loaded, no speaker of {len(numbered)} classes was trained there"
    own = loss.state_dict()
    for name in own.keys() & initial.loss.keys():
        own[name] = _moved(own[name], initial.loss[name], rows, (len(numbered), len(initial.classes)))
    loss.load_state_dict(own)
    fresh, left = len(numbered) - len(rows), len(initial.classes) - len(rows)
    return f"{len(rows)} loaded, by speaker and speed; {fresh} are new, {left} of those that were there are not needed"


def _moved(own: Tensor, given: Tensor, rows: Sequence[tuple[int, int]], sizes: tuple[int, int]) -> Tensor:
    """The own tensor with the rows that are given, or the given one where it has none for each class."""
    if own.ndim == 0 or (len(own), len(given)) != sizes:
        return given if own.shape == given.shape else own
    if own.shape[1:] != given.shape[1:]:
        return own
    here, there = torch.tensor(rows).T
    return own.index_copy(0, here.to(own.device), given[there].to(own))


def seen_in_validation(initial: Initial, aside: Sequence[str]) -> str:
    """A remark where the weights were trained on speakers that are kept for validation; empty where they were not."""
    trained = {speaker for speaker, _ in initial.classes}
    seen = sum(speaker in trained for speaker in aside)
    if not seen:
        return ""
    return f"{initial.path} was trained on {seen} of the {len(aside)} validation speakers: their EER says too little"


def described(initial: Initial | None) -> dict[str, Any]:
    """What the experiment's description says of the weights that it starts from: their digest, not their path."""
    return {"init_from": initial.digest} if initial else {}
