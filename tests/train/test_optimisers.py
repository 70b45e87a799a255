"""The table of optimisers."""

from __future__ import annotations

import pytest
import torch

from ham import losses
from ham.config import Block
from ham.errors import ConfigError
from ham.train.optimisers import build_optimiser


@pytest.mark.parametrize(
    ("block", "kind", "settings"),
    [
        (Block("adam"), torch.optim.Adam, {"lr": 1e-3, "weight_decay": 2e-5, "betas": (0.9, 0.999)}),
        (Block("adamw", {"weight_decay": 0.1}), torch.optim.AdamW, {"lr": 1e-3, "weight_decay": 0.1}),
        (Block("sgd", {"lr": 1}), torch.optim.SGD, {"lr": 1.0, "momentum": 0.9, "nesterov": True}),
        (Block("sgd", {"momentum": 0}), torch.optim.SGD, {"momentum": 0.0, "nesterov": False}),
    ],
)
def test_an_optimiser_has_its_options(block: Block, kind: type, settings: dict[str, object]) -> None:
    optimiser = build_optimiser(block, torch.nn.Linear(2, 2).parameters())
    assert type(optimiser) is kind
    assert {key: optimiser.defaults[key] for key in settings} == settings


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (Block("adan"), "optimiser.name: expected one of adam, adamw, sgd, found 'adan'; did you mean 'adam'"),
        (Block("sgd", {"momentum": 2}), "optimiser.momentum: expected 0 to 1, found 2"),
        (Block("adam", {"beta": 0.9}), "unknown key 'optimiser.beta'; the keys here are: name, lr, weight_decay"),
    ],
)
def test_wrong_options_are_refused(block: Block, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_optimiser(block, torch.nn.Linear(2, 2).parameters())


def test_a_learnt_scale_is_not_decayed() -> None:
    loss = losses.build("ham_softmax", 4, 3, geometry="lorentz", curvature=1.0)
    optimiser = build_optimiser(Block("adam", {"weight_decay": 0.1}), loss.parameters())
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert decay == {id(loss.weight): 0.1, id(loss.space.log_embedding_scale): 0.0}
