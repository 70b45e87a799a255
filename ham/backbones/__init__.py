"""The table of backbones and the one way to build them.

Adding a backbone takes its own file, and here its import and a line of ``_CLASSES``: see ``docs/add_a_backbone.md``.
The contract tests then run over it by themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ham.backbones.base import Backbone
from ham.backbones.campplus import CamPlusPlus
from ham.backbones.ecapa_tdnn import EcapaTdnn
from ham.backbones.eres2netv2 import ERes2NetV2
from ham.backbones.redimnet2 import ReDimNet2
from ham.backbones.resnet import ResNet18, ResNet34
from ham.backbones.self_supervised import W2vBert, WavLm
from ham.schema import check_options, choose

__all__ = ["BACKBONES", "Backbone", "build"]

_CLASSES: tuple[type[Backbone], ...] = (
    EcapaTdnn,
    ResNet18,
    ResNet34,
    CamPlusPlus,
    ERes2NetV2,
    ReDimNet2,
    W2vBert,
    WavLm,
)

BACKBONES: Mapping[str, type[Backbone]] = MappingProxyType({cls.name: cls for cls in _CLASSES})
"""Every backbone by its name."""


def build(name: str, num_mel_bins: int, embedding_dim: int, **options: Any) -> Backbone:
    """Build a backbone by its name.

    Args:
        name: one of ``BACKBONES``.
        num_mel_bins: ``F``, at least 1.
        embedding_dim: ``D``, at least 1.
        **options: keyword-only parameters of the backbone's constructor; their defaults are the published settings.

    Returns:
        The backbone, in training mode, its weights drawn from torch's global generator.

    Raises:
        ConfigError: if the name, an option or a value is not one that the backbone knows.
    """
    backbone = BACKBONES[choose("backbone", name, BACKBONES)]
    check_options(f"backbone {name}", options, backbone.options())
    return backbone(num_mel_bins, embedding_dim, **options)
