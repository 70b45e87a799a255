"""What a back-end may be called, and what the name means."""

from __future__ import annotations

import pytest

from ham.errors import ConfigError
from ham.score.backends import EVERY, parse_backend, parse_backends


def test_names() -> None:
    names = [backend.name for backend in parse_backends(["cosine,hyperbolic", "all cosine"])]
    assert names == ["cosine", "hyperbolic", *(name for name in EVERY if name not in ("cosine", "hyperbolic"))]
    fusion = parse_backend("fusion+mean+z_norm+qmf")
    assert (fusion.measures, fusion.norm, fusion.calibrated, fusion.quality) == (
        ("cosine", "hyperbolic"), "z_norm", True, "qmf",
    )  # fmt: skip
    assert not parse_backend("cosine+crops").needs_training
    assert parse_backend("cosine+mean").needs_training
    assert not parse_backend("cosine+mean").calibrated


@pytest.mark.parametrize(
    "name",
    [
        "", "euclidean", "cosine+", "cosine+asnorm", "cosine+as_norm+mean", "cosine+llr+qmf", "hyperbolic+mean",
        "hyperbolic+crops", "cosine+crops+mean", "fusion+llr", "fusion+crops", "cosine+mean+mean",
        "cosine+s_norm+as_norm", "COSINE", "hyperbolic+qmf_wespeaker", "fusion+qmf_wespeaker",
        "cosine+qmf+qmf_wespeaker",
    ],
)  # fmt: skip
def test_wrong_names_are_refused_in_one_line(name: str) -> None:
    with pytest.raises(ConfigError, match="--backends") as caught:
        parse_backends([name]) if not name else parse_backend(name)
    assert "\n" not in str(caught.value)
