"""The table of optimisers: what turns gradients into steps, the block ``optimiser:`` of the configuration."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer

from ham.config import Block, complete
from ham.schema import Positive, Share
from ham.train import distributed

Groups = list[dict[str, Any]]
"""Parameters with settings of their own, as torch takes them."""


def adam(groups: Groups, fused: bool | None = None, *, lr: Positive = 1e-3, weight_decay: Share = 2e-5) -> Optimizer:
    """Adam (Kingma & Ba 2015).

    Args:
        groups: what to train.
        fused: one kernel for all of a step; None for what torch finds best.
        lr: learning rate; the schedule follows from it.
        weight_decay: share of each weight that is added to its gradient; of adamw, that the weight loses at a step of
            rate 1. Single numbers (a learnt curvature or scale) are not decayed.
    """
    return torch.optim.Adam(groups, lr=lr, weight_decay=weight_decay, fused=fused)


def adamw(groups: Groups, fused: bool | None = None, *, lr: Positive = 1e-3, weight_decay: Share = 2e-5) -> Optimizer:
    """Adam with the decay apart from the gradient (Loshchilov & Hutter 2019); options as of :func:`adam`."""
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, fused=fused)


def sgd(
    groups: Groups, fused: bool | None = None, *, lr: Positive = 1e-3, weight_decay: Share = 2e-5, momentum: Share = 0.9
) -> Optimizer:
    """Stochastic gradient descent with Nesterov's momentum.

    Args:
        groups: what to train.
        fused: as of :func:`adam`.
        lr: as of :func:`adam`.
        weight_decay: as of :func:`adam`.
        momentum: share of the last step that the next one keeps; 0 for none.
    """
    return torch.optim.SGD(
        groups, lr=lr, momentum=momentum, weight_decay=weight_decay, nesterov=momentum > 0, fused=fused
    )


OPTIMISERS: Mapping[str, Callable[..., Optimizer]] = MappingProxyType({"adam": adam, "adamw": adamw, "sgd": sgd})
"""Every optimiser by its name."""


def build_optimiser(block: Block, parameters: Iterable[nn.Parameter], *, fused: bool = False) -> Optimizer:
    """The optimiser that the configuration names; single numbers (a learnt curvature or scale) are not decayed.

    Args:
        block: the configuration's.
        parameters: what to train.
        fused: compute each step in one kernel, which is faster and rounds otherwise.

    Raises:
        ConfigError: if the table lacks the name, or an option or a value is wrong.
    """
    options = complete("optimiser", OPTIMISERS, block).options
    given = list(parameters)
    groups: Groups = [{"params": [p for p in given if p.ndim > 0]}]
    if scalars := [p for p in given if p.ndim == 0]:
        groups.append({"params": scalars, "weight_decay": 0.0})
    return OPTIMISERS[block.name](groups, fused or None, **options)


def take_step(
    optimiser: Optimizer,
    scaler: GradScaler,
    parameters: Sequence[nn.Parameter],
    clip_grad_norm: float,
    split: Collection[nn.Parameter] = (),
) -> None:
    """Change the weights by their gradients.

    Args:
        optimiser: of the weights.
        scaler: what the loss was scaled with; in float16 it leaves out a step whose gradients are not finite.
        parameters: the weights.
        clip_grad_norm: largest norm of all gradients together; 0 does not clip.
        split: of the weights, those of which each process has a part.
    """
    if clip_grad_norm > 0:
        scaler.unscale_(optimiser)
        distributed.clip_grad_norm(parameters, split, clip_grad_norm)
    scaler.step(optimiser)
    scaler.update()
