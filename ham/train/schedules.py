"""Learning rate, margin and curvature as pure functions of the time, counted in epochs and fractions of them."""

from __future__ import annotations

import math


def learning_rate(
    epoch: float,
    *,
    name: str,
    lr: float,
    num_epochs: int,
    warmup_epochs: float = 0.0,
    gamma: float = 0.97,
    step_epochs: int = 1,
    final_lr: float = 5e-5,
) -> float:
    r"""Learning rate at a moment of training.

    With :math:`t` = ``epoch``, :math:`T` = ``num_epochs``, :math:`\eta` = ``lr``, :math:`\eta_T` = ``final_lr``:

    - constant: :math:`\eta`
    - step: :math:`\eta \gamma^{\lfloor t / \mathrm{step\_epochs} \rfloor}`
    - exponential: :math:`\eta (\eta_T / \eta)^{t / T}`
    - cosine: :math:`\eta_T + (\eta - \eta_T)(1 + \cos(\pi t / T)) / 2`

    each times :math:`\min(1, t / \mathrm{warmup\_epochs})`.

    Args:
        epoch: epochs done, with the fraction of the running one.
        name: one of the four.
        lr: highest rate.
        num_epochs: length of training.
        warmup_epochs: length of the linear rise from 0.
        gamma: factor of a step.
        step_epochs: epochs between two steps.
        final_lr: rate at the end.

    Raises:
        ValueError: if there is no schedule of that name.
    """
    share = min(1.0, epoch / num_epochs)
    if name == "constant":
        value = lr
    elif name == "step":
        value = lr * gamma ** (epoch // step_epochs)
    elif name == "exponential":
        value = lr * (final_lr / lr) ** share
    elif name == "cosine":
        value = final_lr + (lr - final_lr) * (1.0 + math.cos(math.pi * share)) / 2.0
    else:
        raise ValueError(f"expected constant, step, exponential or cosine, found {name!r}")
    return value * min(1.0, epoch / warmup_epochs) if warmup_epochs > 0 else value


def margin_at(epoch: float, *, name: str, final: float, start_epoch: float = 0.0, end_epoch: float = 0.0) -> float:
    r"""Margin at a moment of training: 0 before ``start_epoch``, ``final`` from ``end_epoch`` on.

    Between them, with :math:`p` the share of the way: linear, :math:`m p`; exponential,
    :math:`m (1 - 0.001^p) / (1 - 0.001)`, which rises fast and settles (0.97 m at half way).

    Args:
        epoch: epochs done, with the fraction of the running one.
        name: constant (``final`` all the time), linear or exponential.
        final: the loss's own margin.
        start_epoch: when it begins to rise.
        end_epoch: when it has risen.

    Raises:
        ValueError: if there is no schedule of that name.
    """
    if name not in ("constant", "linear", "exponential"):
        raise ValueError(f"expected constant, linear or exponential, found {name!r}")
    if name == "constant" or epoch >= end_epoch:
        return final
    if epoch <= start_epoch:
        return 0.0
    share = (epoch - start_epoch) / (end_epoch - start_epoch)
    return final * share if name == "linear" else final * (1.0 - 0.001**share) / (1.0 - 0.001)


def curvature_at(
    epoch: float, *, name: str, start: float, final: float, start_epoch: float = 0.0, end_epoch: float = 0.0
) -> float:
    r"""Curvature at a moment of training: ``start`` before ``start_epoch``, ``final`` from ``end_epoch`` on.

    Between them, with :math:`p` the share of the way: linear, :math:`c_0 + (c_1 - c_0) p`; exponential,
    :math:`c_0 (c_1 / c_0)^p`.

    Args:
        epoch: epochs done, with the fraction of the running one.
        name: constant (``final`` all the time), linear or exponential.
        start: positive curvature at the start, :math:`c_0`.
        final: the loss's own curvature, :math:`c_1`.
        start_epoch: when it begins to change.
        end_epoch: when it has changed.

    Raises:
        ValueError: if there is no schedule of that name.
    """
    if name not in ("constant", "linear", "exponential"):
        raise ValueError(f"expected constant, linear or exponential, found {name!r}")
    if name == "constant" or epoch >= end_epoch:
        return final
    share = max(0.0, epoch - start_epoch) / (end_epoch - start_epoch)
    return float(start + (final - start) * share if name == "linear" else start * (final / start) ** share)
