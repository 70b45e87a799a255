"""From a configuration to the parts of a model: options spelt out, impossible ones refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ham.backbones import BACKBONES
from ham.config import from_dict
from ham.errors import ConfigError
from ham.frontends import FRONTENDS
from ham.losses import LOSSES
from ham.model.build import build_backbone, build_frontend, build_loss, pick_device, resolve_model
from tests.self_supervised import PARTNERS, marks


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, marks=marks(name))
        for kind, table in (("frontend", FRONTENDS), ("backbone", BACKBONES), ("loss", LOSSES))
        for name in table
    ],
)
def test_every_part_is_resolved_to_all_its_options_and_built(kind: str, name: str) -> None:
    table: Any = {"frontend": FRONTENDS, "backbone": BACKBONES, "loss": LOSSES}[kind]
    full = resolve_model(from_dict({kind: {"name": name}, **PARTNERS.get(name, {})}))
    assert getattr(full, kind).options == table[name].options()
    with torch.device("meta" if kind == "backbone" else "cpu"):
        built = {"frontend": build_frontend, "backbone": build_backbone}.get(kind, lambda one: build_loss(one, 3))(full)
    assert isinstance(built, table[name])


def test_what_was_asked_for_stays() -> None:
    full = resolve_model(from_dict({"loss": {"name": "am_softmax", "margin": 0.3}}))
    assert full.loss.options == {**LOSSES["am_softmax"].options(), "margin": 0.3}


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"loss": {"name": "ham"}}, r"loss\.name: expected one of softmax"),
        ({"loss": {"num_speakers": 3}}, r"loss ham_softmax: expected one of the options .* found 'num_speakers'"),
        pytest.param(
            PARTNERS["waveform"],
            "name: the backbone wavlm takes samples: expected one of waveform, found 'mel'",
            marks=marks("wavlm"),
        ),
        (PARTNERS["wavlm"], "the backbone ecapa_tdnn takes bands: expected one of mel, .*found 'waveform'"),
        ({"backbone": {"channels": 10**12}}, r"backbone ecapa_tdnn: cannot be built with channels: 10+ \("),
    ],
)
def test_a_part_refuses_what_it_cannot_be(tree: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve_model(from_dict(tree))


def test_a_device_must_exist() -> None:
    assert pick_device("cpu") == torch.device("cpu")
    with pytest.raises(ConfigError, match="--device abacus: not usable"):
        pick_device("abacus")
