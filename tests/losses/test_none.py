"""The loss of an imported model: nothing can be asked of it but a refusal in words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ham.config import Config, LossConfig
from ham.errors import ConfigError
from ham.losses import LOSSES
from ham.losses.none import NoLoss
from ham.model.build import build_loss, resolve_model
from ham.score.backends import parse_backends, possible_backends
from ham.train.blocks import resolve

X = torch.ones(2, 4)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda loss: loss(X, torch.tensor([0, 1])), "imported without one, so it has no centres"),
        (lambda loss: loss.centre_radii(), "imported without one, so it has no centres"),
        (lambda loss: loss.distance(X, X), "no hyperbolic distance; score by cosine"),
        (lambda loss: loss.pairwise_distance(X, X), "no hyperbolic distance; score by cosine"),
        (lambda loss: loss.set_margin(0.2), "has no margin"),
    ],
)
def test_whatever_is_asked_is_refused(ask: Callable[[NoLoss], object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"^loss none: .*{sentence}"):
        ask(NoLoss(4))


def test_it_has_no_weights_and_no_hyperbolic_back_end() -> None:
    loss = NoLoss(4)
    assert not loss.state_dict()
    assert [one.name for one in possible_backends(parse_backends(["cosine", "hyperbolic"]), loss)] == ["cosine"]


def test_a_configuration_can_name_it_but_no_training_has_it() -> None:
    config = Config(loss=LossConfig("none"))
    assert isinstance(build_loss(config, 0), NoLoss)
    assert resolve_model(config).loss == config.loss
    assert "none" not in LOSSES
    with pytest.raises(ConfigError, match=r"x.yaml: loss.name: expected a loss to train with, found none"):
        resolve(config, "x.yaml")
    with pytest.raises(ConfigError, match="loss none"):
        build_loss(Config(loss=LossConfig("none", {"scale": 3})), 0)
