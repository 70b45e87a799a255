"""From a configuration to the parts of a system: the only place where names become objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from ham import backbones, frontends, losses
from ham.audio import SAMPLE_RATE
from ham.backbones.base import Backbone
from ham.config import Config
from ham.errors import ConfigError
from ham.frontends import Frontend
from ham.losses.base import SpeakerLoss
from ham.schema import check_options, choose
from ham.words import quote


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
    """The loss that the configuration names, with fresh centres; ``none`` is that of an imported model."""
    block = config.loss
    if block.name == losses.NoLoss.name:
        check_options("loss none", block.options, {})
        return losses.NoLoss(config.backbone.embedding_dim)
    options = _options("loss", block, losses.LOSSES)
    return losses.build(block.name, config.backbone.embedding_dim, num_speakers, **options)


def _options(kind: str, block: Any, table: Mapping[str, Any]) -> dict[str, Any]:
    """A block's options, none of them one that the recipe sets itself, such as the number of speakers."""
    part = table[choose(f"{kind}.name", block.name, table)]
    check_options(f"{kind} {block.name}", block.options, part.options())
    return dict(block.options)


@contextmanager
def _buildable(kind: str, block: Any) -> Iterator[None]:
    """Turn what torch says of impossible sizes into a sentence."""
    try:
        yield
    except (RuntimeError, OverflowError, MemoryError, TypeError) as error:
        if isinstance(error, TypeError) and "Overflow" not in str(error):  # torch's for a size beyond 64 bits
            raise
        reason = str(error).partition("\n")[0] or "no memory"
        options = ", ".join(f"{name}: {quote(value)}" for name, value in block.options.items()) or "its defaults"
        raise ConfigError(f"{kind} {block.name}: cannot be built with {options} ({reason})") from None


def resolve_model(config: Config) -> Config:
    """Check that front end, backbone and loss take their options and each other, and spell out every option's default.

    Args:
        config: what was asked for.

    Raises:
        ConfigError: from the part concerned.
    """
    with _buildable("frontend", config.frontend):
        build_frontend(config)
    with _buildable("backbone", config.backbone), torch.device("meta"):
        build_backbone(config)
    # Not on meta, where normal_() would load torch's compiler: 0.7 s.
    with _buildable("loss", config.loss), torch.random.fork_rng(devices=[]):
        build_loss(config, 2)
    takes = backbones.BACKBONES[config.backbone.name].takes
    fitting = [name for name, part in frontends.FRONTENDS.items() if part.gives == takes]
    choose(f"frontend.name: the backbone {config.backbone.name} takes {takes}", config.frontend.name, fitting)

    def _full(block: Any, part: Any) -> Any:
        return replace(block, options={**part.options(), **block.options})

    return replace(
        config,
        frontend=_full(config.frontend, frontends.FRONTENDS[config.frontend.name]),
        backbone=_full(config.backbone, backbones.BACKBONES[config.backbone.name]),
        loss=_full(config.loss, losses.LOSSES.get(config.loss.name, losses.NoLoss)),
    )
