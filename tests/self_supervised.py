"""Small self-supervised encoders, and what needs transformers, which is an extra."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Any

import pytest

SIZES = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "feed_forward_size": 24, "adapter_dim": 6}
SMALL_ENCODERS: dict[str, dict[str, Any]] = {"w2v_bert": SIZES, "wavlm": {**SIZES, "conv_channels": 8}}

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed (extra `ssl`)"
)


def installed(names: Iterable[str]) -> list[Any]:
    """Names of backbones, with a mark at those that need the extra."""
    return [pytest.param(name, marks=needs_transformers) if name in SMALL_ENCODERS else name for name in names]
