"""From what a configuration asks for to what it means: every part checked, every option spelt out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

import torch

from ham.augment.speed import SpeedPerturbation
from ham.config import Config, DistillConfig, SpecAugmentConfig, complete, to_dict
from ham.errors import ConfigError
from ham.frontends import WaveformFrontend
from ham.model.build import build_backbone, build_loss, resolve_model
from ham.train.augmentation import AUGMENTATIONS, build_augmentation
from ham.train.optimisers import OPTIMISERS
from ham.train.schedules import CURVATURES, MARGINS, RATES, build_schedules
from ham.train.trainable import check_factors, freeze

TABLES: Mapping[str, Mapping[str, Callable[..., object]]] = MappingProxyType(
    {
        "augment": AUGMENTATIONS,
        "optimiser": OPTIMISERS,
        "schedule": RATES,
        "margin": MARGINS,
        "curvature": CURVATURES,
    }
)
"""The tables of the training's parts by their block; front ends, backbones and losses have theirs in their rooms."""


def resolve(config: Config, place: str = "") -> Config:
    """Check all parts and spell out every option's default, so that an experiment outlives a change of defaults.

    Options of other choices of a block, those of a teacher that is not there, and masks where the front end has no
    bands are left out, and ``train.average_last`` is cut to the epochs that there are.

    Args:
        config: what was asked for.
        place: where it comes from, for errors.

    Raises:
        ConfigError: from the part concerned, or if a schedule meets a loss without what it changes.
    """
    try:
        full = resolve_model(config)
        blocks = {kind: complete(kind, table, getattr(config, kind)) for kind, table in TABLES.items()}
        last = min(config.train.average_last, config.train.epochs)
        masks = config.spec_augment if config.frontend.name != WaveformFrontend.name else SpecAugmentConfig(0, 0)
        full = replace(full, **blocks, spec_augment=masks, train=replace(config.train, average_last=last))
        if not config.distill.teacher:
            full = replace(full, distill=DistillConfig())
        _check_together(full)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}" if place else str(error)) from None
    return full


def _check_together(config: Config) -> None:
    """Refuse options that do not fit each other."""
    build_augmentation(config.augment)
    SpeedPerturbation(2, speeds=config.data.speed_perturb)
    if config.train.freeze or config.train.rate_factors:
        with torch.device("meta"):
            backbone = build_backbone(config)
        freeze(backbone, config.train.freeze)
        check_factors(backbone, config.train.rate_factors)
    with torch.random.fork_rng(devices=[]):
        loss = build_loss(config, 2)
    if not loss.num_speakers:
        raise ConfigError("loss.name: expected a loss to train with, found none, an imported model's; give --loss")
    if config.distill.distance == "hyperbolic" and not loss.has_distance:
        expected = "a hyperbolic loss, such as ham_softmax, whose space it is measured in"
        raise ConfigError(
            f"distill.distance: hyperbolic: expected {expected}, found {config.loss.name}; set distill.distance: cosine"
        )
    if config.curvature.name != "constant":
        loss.set_curvature(config.curvature.options["start"])
    build_schedules(config, loss, config.optimiser.options["lr"])


def remarks(asked: Config, full: Config) -> list[str]:
    """What :func:`resolve` did not take as it was asked for.

    Args:
        asked: what was asked for.
        full: what came of it.

    Returns:
        A sentence for each.
    """
    found = []
    for kind in TABLES:
        taken = to_dict(full)[kind]
        choice = next(iter(taken.values()))
        left = [option for option in to_dict(asked)[kind] if option not in taken]
        found += [f"{kind}.{option}: left out, {choice} does not take it" for option in left]
    if asked.spec_augment != full.spec_augment:
        found.append(f"spec_augment: left out, the front end {full.frontend.name} has no bands")
    if asked.distill != full.distill:
        found.append("distill: left out, it has no teacher")
    if asked.train.average_last > full.train.average_last:
        found.append(f"train.average_last: {asked.train.average_last} cut to train.epochs, {full.train.epochs}")
    return found
