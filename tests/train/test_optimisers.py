"""The table of optimisers."""

from __future__ import annotations

import pytest
import torch
from torch.amp.grad_scaler import GradScaler

from ham import losses
from ham.config import Block
from ham.errors import ConfigError
from ham.train.optimisers import build_optimiser, take_step


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


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_a_fused_step_is_the_step(name: str) -> None:
    found = []
    for fused in (False, True):
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 50))
        optimiser = build_optimiser(Block(name), [weight], fused=fused)
        for _ in range(5):
            optimiser.zero_grad()
            weight.pow(4).sum().backward()
            optimiser.step()
        assert bool(optimiser.defaults["fused"]) == fused
        found.append(weight)
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("scale", [1.0, 1024.0])
@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_a_step_takes_the_gradient_unscaled_and_clipped(scale: float, clip: float) -> None:
    weight = torch.nn.Parameter(torch.zeros(4))
    scaler = GradScaler("cpu", init_scale=scale, enabled=scale > 1)
    optimiser = torch.optim.SGD([weight], lr=1.0)
    scaler.scale(weight.sum()).backward()
    take_step(optimiser, scaler, [weight], clip)
    torch.testing.assert_close(weight.detach(), torch.full((4,), -0.25 if clip else -1.0))


def test_a_scaled_gradient_that_is_not_finite_is_left_out() -> None:
    weight = torch.nn.Parameter(torch.ones(4))
    scaler, optimiser = GradScaler("cpu", init_scale=2.0**127), torch.optim.SGD([weight], lr=1.0)
    scaler.scale(1e30 * weight.sum()).backward()
    take_step(optimiser, scaler, [weight], 0.0)
    assert torch.equal(weight.detach(), torch.ones(4))
    assert scaler.get_scale() == 2.0**126


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
