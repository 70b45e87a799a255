"""Small self-supervised encoders, and what needs transformers, which is an extra."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

SIZES = {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "feed_forward_size": 24, "adapter_dim": 6}
SMALL_ENCODERS: dict[str, dict[str, Any]] = {"w2v_bert": SIZES, "wavlm": {**SIZES, "conv_channels": 8}}

PARTNERS = {"wavlm": {"frontend": {"name": "waveform"}}, "waveform": {"backbone": {"name": "wavlm"}}}
"""What a part of a system cannot be without, as blocks of a configuration."""

needs_transformers = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed (extra `ssl`)"
)


def marks(name: str, *further: Any) -> list[Any]:
    """Marks of what a part takes part in: encoders and what goes with them need the extra, and ``further`` ones."""
    return [needs_transformers, *further] if name in {**SMALL_ENCODERS, **PARTNERS} else []


def installed(names: Iterable[str]) -> list[Any]:
    """Names of backbones, with a mark at those that need the extra."""
    return [pytest.param(name, marks=marks(name)) for name in names]


def write_encoder(folder: Path, name: str = "w2v_bert", *, seed: int = 7, **further: Any) -> Any:
    """A folder of an encoder as its authors would publish it, with random weights and the sizes of ``SIZES``."""
    import transformers

    sizes = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
        "conv_dim": (512,) * 7, **further,
    }  # fmt: skip
    if name == "w2v_bert":
        del sizes["conv_dim"]
    kind = {"w2v_bert": "Wav2Vec2Bert", "wavlm": "WavLM"}[name]
    torch.manual_seed(seed)
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**sizes))
    model.save_pretrained(folder)
    return model
