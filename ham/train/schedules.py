"""The tables of schedules: learning rate, margin and curvature as functions of the time, in epochs and parts of them.

Each function makes one choice of a block of the configuration (``schedule:``, ``margin:``, ``curvature:``); its
keyword-only parameters are the block's keys.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated

from ham.config import Config, complete
from ham.errors import ConfigError
from ham.losses.base import SpeakerLoss
from ham.schema import Positive, Range

Schedule = Callable[[float], float]
"""A value as a function of the epochs that are done."""

Epochs = Annotated[float, Range(0, 1e6)]
Steps = Annotated[int, Range(1, 1e6)]


def constant_rate(lr: float, num_epochs: int, *, warmup_epochs: Epochs = 0.0) -> Schedule:  # noqa: ARG001
    r"""The optimiser's rate all the time: :math:`\eta`.

    Args:
        lr: the optimiser's rate, the highest.
        num_epochs: length of training.
        warmup_epochs: length, in epochs, of the linear rise from 0 that every rate begins with; 0 for none.
    """
    return _warmed(lambda _: lr, warmup_epochs)


def step_rate(
    lr: float,
    num_epochs: int,  # noqa: ARG001
    *,
    warmup_epochs: Epochs = 0.0,
    gamma: Positive = 0.97,
    step_epochs: Steps = 1,
) -> Schedule:
    r"""A factor after every few epochs: :math:`\eta \gamma^{\lfloor t / \mathrm{step\_epochs} \rfloor}`.

    Args:
        lr: the optimiser's rate.
        num_epochs: length of training.
        warmup_epochs: as of :func:`constant_rate`.
        gamma: factor of a step.
        step_epochs: epochs from one step to the next.
    """
    return _warmed(lambda epoch: lr * gamma ** (epoch // step_epochs), warmup_epochs)


def exponential_rate(lr: float, num_epochs: int, *, warmup_epochs: Epochs = 0.0, final_lr: Positive = 5e-5) -> Schedule:
    r"""The same factor all along: :math:`\eta (\eta_T / \eta)^{t / T}`.

    Args:
        lr: the optimiser's rate.
        num_epochs: length of training.
        warmup_epochs: as of :func:`constant_rate`.
        final_lr: the rate at the end of training.
    """
    return _warmed(lambda epoch: lr * (final_lr / lr) ** min(1.0, epoch / num_epochs), warmup_epochs)


def cosine_rate(lr: float, num_epochs: int, *, warmup_epochs: Epochs = 0.0, final_lr: Positive = 5e-5) -> Schedule:
    r"""Half a wave of the cosine: :math:`\eta_T + (\eta - \eta_T)(1 + \cos(\pi t / T)) / 2`."""

    def _rate(epoch: float) -> float:
        return final_lr + (lr - final_lr) * (1.0 + math.cos(math.pi * min(1.0, epoch / num_epochs))) / 2.0

    return _warmed(_rate, warmup_epochs)


def _warmed(rate: Schedule, warmup_epochs: float) -> Schedule:
    """A rate after a linear rise from 0."""
    return lambda epoch: rate(epoch) * min(1.0, epoch / warmup_epochs) if warmup_epochs > 0 else rate(epoch)


def constant(final: float) -> Schedule:
    """The loss's own value all the time."""
    return lambda _: final


def linear_margin(final: float, *, start_epoch: Epochs = 0.0, end_epoch: Epochs = 0.0) -> Schedule:
    """From 0 to the loss's own margin, by the same amount in every epoch.

    Args:
        final: the loss's own margin.
        start_epoch: epochs done when it begins to rise from 0.
        end_epoch: epochs done when it has risen.
    """
    return _change("margin", final, start_epoch, end_epoch, lambda share: final * share)


def exponential_margin(final: float, *, start_epoch: Epochs = 0.0, end_epoch: Epochs = 0.0) -> Schedule:
    r"""Fast at first, then settling: :math:`m (1 - 0.001^p) / (1 - 0.001)`, which is 0.97 m at half way (p = 0.5)."""
    return _change("margin", final, start_epoch, end_epoch, lambda share: final * (1.0 - 0.001**share) / (1.0 - 0.001))


def linear_curvature(
    final: float, num_epochs: int, *, start: Positive = 1.0, start_epoch: Epochs = 0.0, end_epoch: Epochs = 0.0
) -> Schedule:
    """From ``start`` to the loss's own curvature, by the same amount in every epoch.

    Args:
        final: the loss's own curvature.
        num_epochs: length of training.
        start: curvature at the beginning of training.
        start_epoch: epochs done when it begins to change.
        end_epoch: epochs done when it has changed; at most ``train.epochs``.
    """
    _check_end(end_epoch, num_epochs)
    return _change("curvature", final, start_epoch, end_epoch, lambda share: start + (final - start) * share)


def exponential_curvature(
    final: float, num_epochs: int, *, start: Positive = 1.0, start_epoch: Epochs = 0.0, end_epoch: Epochs = 0.0
) -> Schedule:
    """From ``start`` to the loss's own curvature, by the same factor in every epoch."""
    _check_end(end_epoch, num_epochs)
    return _change("curvature", final, start_epoch, end_epoch, lambda share: start * (final / start) ** share)


def _check_end(end_epoch: float, num_epochs: int) -> None:
    """Refuse a curvature that still changes when the training ends."""
    if end_epoch > num_epochs:
        raise ConfigError(
            f"curvature.end_epoch: expected at most train.epochs ({num_epochs}), so that scoring finds the loss's own "
            f"curvature, found {end_epoch:g}"
        )


def _change(block: str, final: float, start_epoch: float, end_epoch: float, between: Schedule) -> Schedule:
    """``final`` from ``end_epoch`` on, and before that what is ``between`` at the share of the way that is done."""
    if end_epoch < start_epoch:
        found = f"{end_epoch:g}, and {block}.start_epoch is {start_epoch:g}"
        raise ConfigError(f"{block}.end_epoch: expected at least {block}.start_epoch, found {found}")

    def _value(epoch: float) -> float:
        if epoch >= end_epoch:
            return final
        waited = max(0.0, epoch - start_epoch)
        return between(waited / (end_epoch - start_epoch) if waited else 0.0)

    return _value


RATES: Mapping[str, Callable[..., Schedule]] = MappingProxyType(
    {"constant": constant_rate, "step": step_rate, "exponential": exponential_rate, "cosine": cosine_rate}
)
"""Learning rates by name, the block ``schedule:``; made from the optimiser's rate and the number of epochs."""

MARGINS: Mapping[str, Callable[..., Schedule]] = MappingProxyType(
    {"constant": constant, "linear": linear_margin, "exponential": exponential_margin}
)
"""Margins by name, made from the loss's own."""

CURVATURES: Mapping[str, Callable[..., Schedule]] = MappingProxyType(
    {"constant": constant, "linear": linear_curvature, "exponential": exponential_curvature}
)
"""Curvatures by name, made from the loss's own and, where they change, the number of epochs."""


@dataclass(frozen=True)
class Schedules:
    """All that changes by itself in a training.

    Attributes:
        lr: learning rate.
        margin: margin of the loss; None if it has none.
        curvature: curvature of the loss; None where it stays as it is.
    """

    lr: Schedule
    margin: Schedule | None = None
    curvature: Schedule | None = None

    def at(self, epoch: float) -> dict[str, float | None]:
        """Each value after ``epoch`` epochs, by its name."""
        return {
            "lr": self.lr(epoch),
            "margin": self.margin(epoch) if self.margin else None,
            "curvature": self.curvature(epoch) if self.curvature else None,
        }


def build_schedules(config: Config, loss: SpeakerLoss, lr: float) -> Schedules:
    """The schedules that the configuration names.

    Args:
        config: the configuration, every option of the loss spelt out.
        loss: what is trained with.
        lr: the optimiser's rate.

    Raises:
        ConfigError: if a table lacks a name, an option or a value is wrong, or the loss lacks what is scheduled.
    """
    rate = complete("schedule", RATES, config.schedule)
    margin = complete("margin", MARGINS, config.margin)
    curvature = complete("curvature", CURVATURES, config.curvature)
    if margin.name != "constant" and not loss.has_margin:
        raise ConfigError(f"margin.name: {margin.name}: the loss {config.loss.name} has no margin; use constant")
    margin_at = MARGINS[margin.name](loss.margin, **margin.options) if loss.has_margin else None
    curvature_at = None
    if curvature.name != "constant":
        final = float(config.loss.options["curvature"])
        curvature_at = CURVATURES[curvature.name](final, config.train.epochs, **curvature.options)
    rate_at = RATES[rate.name](lr, config.train.epochs, **rate.options)
    return Schedules(rate_at, margin_at, curvature_at)
