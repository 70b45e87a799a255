"""The table of speaker losses and the one way to build them.

Adding a loss takes its own file, and here its import and a line of ``_CLASSES``: see ``docs/add_a_loss.md``. The
contract tests then run over it by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ham.losses.base import BatchError, LossOutput, SpeakerLoss
from ham.losses.ensemble import EhAmSoftmax
from ham.losses.hyperbolic import HamSoftmax, HSoftmax
from ham.losses.margin import AamSoftmax, AmSoftmax, RamSoftmax
from ham.losses.none import NoLoss
from ham.losses.softmax import ScaledSoftmax, Softmax
from ham.losses.sphereface2 import SphereFace2
from ham.losses.subcentre import SubcenterAamSoftmax
from ham.schema import check_options, choose

__all__ = ["LOSSES", "BatchError", "LossOutput", "NoLoss", "SpeakerLoss", "build"]

_CLASSES: tuple[type[SpeakerLoss], ...] = (
    Softmax,
    ScaledSoftmax,
    AmSoftmax,
    AamSoftmax,
    RamSoftmax,
    HSoftmax,
    HamSoftmax,
    EhAmSoftmax,
    SubcenterAamSoftmax,
    SphereFace2,
)

LOSSES: Mapping[str, type[SpeakerLoss]] = MappingProxyType({cls.name: cls for cls in _CLASSES})
"""Every loss by its name."""


def build(name: str, embedding_dim: int, num_speakers: int, **options: Any) -> SpeakerLoss:
    """Build a loss by its name.

    Args:
        name: one of ``LOSSES``.
        embedding_dim: ``D``, the length of an embedding.
        num_speakers: ``C``, at least 2.
        **options: keyword-only parameters of the loss's constructor; their defaults are the published settings.

    Returns:
        The loss, its centres initialised as published from torch's global generator.

    Raises:
        ConfigError: if the name, an option or a value is not one that the loss knows.
    """
    loss = LOSSES[choose("loss", name, LOSSES)]
    check_options(f"loss {loss.name}", options, loss.options())
    return loss(embedding_dim, num_speakers, **options)
