"""From a configuration to the parts of a system: the only place where names become objects."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ham import backbones, frontends, losses
from ham.audio import SAMPLE_RATE
from ham.augment.augmenter import Augmenter, Materials, available_kinds, build_kinds, check_kinds, check_weights
from ham.augment.speed import SpeedPerturbation
from ham.backbones.base import Backbone
from ham.config import AugmentConfig, Config, OptimiserConfig
from ham.data.store import ArrayStore
from ham.errors import ConfigError
from ham.frontends import Frontend
from ham.losses.base import SpeakerLoss
from ham.schema import check_options, choose
from ham.words import quote

logger = logging.getLogger(__name__)


def pick_device(name: str) -> torch.device:
    """``auto`` takes a GPU where there is one; anything else is a torch device.

    Raises:
        ConfigError: if there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"--device {name}: not usable ({reason}); use auto or cpu") from None
    return device


def build_frontend(config: Config) -> Frontend:
    """The front end that the configuration names."""
    block = config.frontend
    options = _options("frontend", block, frontends.FRONTENDS)
    return frontends.build(block.name, num_mel_bins=block.num_mel_bins, sample_rate=SAMPLE_RATE, **options)


def build_backbone(config: Config) -> Backbone:
    """The backbone that the configuration names, with fresh weights."""
    block = config.backbone
    options = _options("backbone", block, backbones.BACKBONES)
    return backbones.build(block.name, config.frontend.num_mel_bins, block.embedding_dim, **options)


def build_loss(config: Config, num_speakers: int) -> SpeakerLoss:
    """The loss that the configuration names, with fresh centres."""
    block = config.loss
    options = _options("loss", block, losses.LOSSES)
    return losses.build(block.name, config.backbone.embedding_dim, num_speakers, **options)


def _options(kind: str, block: Any, table: Mapping[str, Any]) -> dict[str, Any]:
    """A block's options, none of them one that the recipe sets itself, such as the number of speakers."""
    part = table[choose(f"{kind}.name", block.name, table)]
    check_options(f"{kind} {block.name}", block.options, part.options())
    return dict(block.options)


def check_parts(config: Config) -> None:
    """Refuse a configuration whose parts refuse their options, before any work is done.

    Raises:
        ConfigError: from the part concerned, or if a schedule meets a loss without what it changes.
    """
    with _buildable("frontend", config.frontend):
        build_frontend(config)
    if config.augment.mode != "off":
        check_kinds(config.augment.kinds)
        check_weights(config.augment.kinds, config.augment.weights)
    SpeedPerturbation(2, speeds=config.data.speed_perturb)
    with _buildable("backbone", config.backbone), torch.device("meta"):
        build_backbone(config)
    # Not on meta, where normal_() would load torch's compiler: 0.7 s.
    with _buildable("loss", config.loss), torch.random.fork_rng(devices=[]):
        loss = build_loss(config, 2)
    if config.margin.name != "constant" and not loss.has_margin:
        raise ConfigError(f"margin.name: {config.margin.name}: the loss {config.loss.name} has no margin; use constant")
    if config.curvature.name != "constant":
        loss.set_curvature(config.curvature.start)


@contextmanager
def _buildable(kind: str, block: Any) -> Iterator[None]:
    """Turn what torch says of impossible sizes into a sentence."""
    try:
        yield
    except (RuntimeError, OverflowError, MemoryError) as error:
        reason = str(error).partition("\n")[0] or "no memory"
        options = ", ".join(f"{name}: {quote(value)}" for name, value in block.options.items()) or "its defaults"
        raise ConfigError(f"{kind} {block.name}: cannot be built with {options} ({reason})") from None


def resolve(config: Config, place: str = "") -> Config:
    """Check the parts and spell out every option's default, so that an experiment outlives a change of defaults.

    Args:
        config: what was asked for.
        place: where it comes from, for errors.

    Raises:
        ConfigError: as :func:`check_parts`.
    """
    try:
        check_parts(config)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}" if place else str(error)) from None

    def _full(block: Any, part: Any) -> Any:
        return replace(block, options={**part.options(), **block.options})

    return replace(
        config,
        frontend=_full(config.frontend, frontends.FRONTENDS[config.frontend.name]),
        backbone=_full(config.backbone, backbones.BACKBONES[config.backbone.name]),
        loss=_full(config.loss, losses.LOSSES[config.loss.name]),
    )


def build_augmenter(config: AugmentConfig, noise: Path | None, rooms: Path | None) -> Augmenter | None:
    """The augmenter that the configuration asks for; ``music`` is left out, and said, where there is none.

    Args:
        config: the configuration's block.
        noise: store of MUSAN; None to use noise and babble that need no download.
        rooms: store of room responses; None to simulate them.
    """
    if config.mode == "off":
        return None
    materials = Materials(
        sample_rate=SAMPLE_RATE,
        noise_store=None if noise is None else ArrayStore(noise),
        room_store=None if rooms is None else ArrayStore(rooms),
        snr=config.snr,
    )
    names = list(config.kinds)
    if "music" in names and "music" not in available_kinds(materials) and len(names) > 1:
        logger.info("augmentation: no MUSAN (--musan): coloured noise and babble of the batch instead, no music")
        names.remove("music")
    weight = dict(zip(config.kinds, config.weights, strict=False))  # none where all are drawn equally often
    return Augmenter(
        build_kinds(names, materials),
        probability=config.probability,
        weights=[weight[name] for name in names if name in weight],
        peak_normalise=config.peak_normalise,
    )


def build_optimiser(config: OptimiserConfig, parameters: list[torch.nn.Parameter]) -> torch.optim.Optimizer:
    """Adam, AdamW, or SGD with Nesterov momentum; single numbers (a learnt curvature or scale) are not decayed."""
    scalars = [p for p in parameters if p.ndim == 0]
    groups: list[dict[str, Any]] = [{"params": [p for p in parameters if p.ndim > 0]}]
    if scalars:
        groups.append({"params": scalars, "weight_decay": 0.0})
    if config.name == "sgd":
        return torch.optim.SGD(
            groups,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.momentum > 0,
        )
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=config.lr, weight_decay=config.weight_decay)
