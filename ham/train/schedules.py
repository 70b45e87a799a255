"""The tables of schedules: learning rate, margin and curvature as functions of the time, in epochs and parts of them.

Each class is one choice of a block of the configuration (``schedule:``, ``margin:``, ``curvature:``): its keyword-only
parameters are the block's keys. An object of it is called with the epochs that are done.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from types import MappingProxyType
from typing import Annotated, ClassVar

from ham.config import Config, complete
from ham.errors import ConfigError
from ham.losses.base import SpeakerLoss
from ham.schema import Positive, Range

Schedule = Callable[[float], float]
"""A value as a function of the epochs that are done."""

Epochs = Annotated[float, Range(0, 1e6)]


@dataclass(frozen=True)
class ConstantRate:
    r"""The optimiser's rate all the time: :math:`\eta`.

    Every schedule is multiplied by :math:`\min(1, t / \mathrm{warmup\_epochs})`.

    Attributes:
        lr: the optimiser's rate, the highest.
        num_epochs: length of training.
        warmup_epochs: length of the linear rise from 0 at the beginning, in epochs; 0 for none.
    """

    lr: float
    num_epochs: int
    _: KW_ONLY
    warmup_epochs: Epochs = 0.0

    def __call__(self, epoch: float) -> float:
        """Learning rate after ``epoch`` epochs."""
        value = self._rate(epoch)
        return value * min(1.0, epoch / self.warmup_epochs) if self.warmup_epochs > 0 else value

    def _rate(self, epoch: float) -> float:  # noqa: ARG002
        """Without the warm-up."""
        return self.lr

    def _share(self, epoch: float) -> float:
        """How much of the training is done."""
        return min(1.0, epoch / self.num_epochs)


@dataclass(frozen=True, kw_only=True)
class StepRate(ConstantRate):
    r"""A factor after every few epochs: :math:`\eta \gamma^{\lfloor t / \mathrm{step\_epochs} \rfloor}`.

    Attributes:
        gamma: factor of a step.
        step_epochs: epochs from one step to the next.
    """

    gamma: Positive = 0.97
    step_epochs: Annotated[int, Range(1, 1e6)] = 1

    def _rate(self, epoch: float) -> float:
        return float(self.lr * self.gamma ** (epoch // self.step_epochs))


@dataclass(frozen=True, kw_only=True)
class ExponentialRate(ConstantRate):
    r"""The same factor all along: :math:`\eta (\eta_T / \eta)^{t / T}`.

    Attributes:
        final_lr: the rate at the end of training.
    """

    final_lr: Positive = 5e-5

    def _rate(self, epoch: float) -> float:
        return float(self.lr * (self.final_lr / self.lr) ** self._share(epoch))


@dataclass(frozen=True, kw_only=True)
class CosineRate(ConstantRate):
    r"""Half a wave of the cosine: :math:`\eta_T + (\eta - \eta_T)(1 + \cos(\pi t / T)) / 2`.

    Attributes:
        final_lr: the rate at the end of training.
    """

    final_lr: Positive = 5e-5

    def _rate(self, epoch: float) -> float:
        return self.final_lr + (self.lr - self.final_lr) * (1.0 + math.cos(math.pi * self._share(epoch))) / 2.0


@dataclass(frozen=True)
class Constant:
    """The loss's own value all the time."""

    final: float

    def __call__(self, epoch: float) -> float:  # noqa: ARG002
        """The value."""
        return self.final


@dataclass(frozen=True)
class _Change(ABC):
    """From one value before ``start_epoch`` to the loss's own from ``end_epoch`` on."""

    block: ClassVar[str]

    final: float
    _: KW_ONLY
    start_epoch: Epochs = 0.0
    end_epoch: Epochs = 0.0

    def __post_init__(self) -> None:
        if self.end_epoch < self.start_epoch:
            found = f"{self.end_epoch:g}, and {self.block}.start_epoch is {self.start_epoch:g}"
            raise ConfigError(f"{self.block}.end_epoch: expected at least {self.block}.start_epoch, found {found}")

    def __call__(self, epoch: float) -> float:
        """The value after ``epoch`` epochs."""
        if epoch >= self.end_epoch:
            return self.final
        waited = max(0.0, epoch - self.start_epoch)
        return self._between(waited / (self.end_epoch - self.start_epoch) if waited else 0.0)

    @abstractmethod
    def _between(self, share: float) -> float:
        """The value when a share of the way is done."""


@dataclass(frozen=True)
class LinearMargin(_Change):
    """From 0 to the loss's own margin, by the same amount in every epoch.

    Attributes:
        final: the loss's own margin.
        start_epoch: epochs done when it begins to rise from 0.
        end_epoch: epochs done when it has risen.
    """

    block: ClassVar[str] = "margin"

    def _between(self, share: float) -> float:
        return self.final * share


@dataclass(frozen=True)
class ExponentialMargin(LinearMargin):
    r"""Fast at first, then settling: :math:`m (1 - 0.001^p) / (1 - 0.001)`, which is 0.97 m at half way (p = 0.5)."""

    def _between(self, share: float) -> float:
        return float(self.final * (1.0 - 0.001**share) / (1.0 - 0.001))


@dataclass(frozen=True)
class LinearCurvature(_Change):
    """From ``start`` to the loss's own curvature, by the same amount in every epoch.

    Attributes:
        final: the loss's own curvature.
        num_epochs: length of training.
        start: curvature at the beginning of training.
        start_epoch: epochs done when it begins to change.
        end_epoch: epochs done when it has changed; at most ``train.epochs``.
    """

    block: ClassVar[str] = "curvature"

    num_epochs: int
    _: KW_ONLY
    start: Positive = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.end_epoch > self.num_epochs:
            raise ConfigError(
                f"curvature.end_epoch: expected at most train.epochs ({self.num_epochs}), so that scoring finds the "
                f"loss's own curvature, found {self.end_epoch:g}"
            )

    def _between(self, share: float) -> float:
        return self.start + (self.final - self.start) * share


@dataclass(frozen=True)
class ExponentialCurvature(LinearCurvature):
    """From ``start`` to the loss's own curvature, by the same factor in every epoch."""

    def _between(self, share: float) -> float:
        return float(self.start * (self.final / self.start) ** share)


RATES: Mapping[str, type[ConstantRate]] = MappingProxyType(
    {"constant": ConstantRate, "step": StepRate, "exponential": ExponentialRate, "cosine": CosineRate}
)
"""Learning rates by name, the block ``schedule:``; made from the optimiser's rate and the number of epochs."""

MARGINS: Mapping[str, Callable[..., Schedule]] = MappingProxyType(
    {"constant": Constant, "linear": LinearMargin, "exponential": ExponentialMargin}
)
"""Margins by name, made from the loss's own."""

CURVATURES: Mapping[str, Callable[..., Schedule]] = MappingProxyType(
    {"constant": Constant, "linear": LinearCurvature, "exponential": ExponentialCurvature}
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
    rate, margin, curvature = (
        complete(kind, table, block)
        for kind, table, block in (
            ("schedule", RATES, config.schedule),
            ("margin", MARGINS, config.margin),
            ("curvature", CURVATURES, config.curvature),
        )
    )
    if margin.name != "constant" and not loss.has_margin:
        raise ConfigError(f"margin.name: {margin.name}: the loss {config.loss.name} has no margin; use constant")
    margin_at = MARGINS[margin.name](loss.margin, **margin.options) if loss.has_margin else None
    curvature_at = None
    if curvature.name != "constant":
        final = float(config.loss.options["curvature"])
        curvature_at = CURVATURES[curvature.name](final, config.train.epochs, **curvature.options)
    rate_at = RATES[rate.name](lr, config.train.epochs, **rate.options)
    return Schedules(rate_at, margin_at, curvature_at)
