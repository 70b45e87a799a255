"""Which weights a training changes, how fast, and their moving average: ``train.freeze``, ``rate_factors``, ``ema``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ham.backbones.base import Backbone
from ham.errors import ConfigError
from ham.losses.base import SpeakerLoss
from ham.schema import closest
from ham.words import quote

WHOLE = "backbone"
"""In place of the beginning of a name: all of the backbone."""


def freeze(backbone: nn.Module, prefixes: Sequence[str]) -> list[nn.Module]:
    """Take the gradients from parameters of the backbone.

    Args:
        backbone: the network.
        prefixes: ``blocks.0`` for all whose dotted names begin so, ``backbone`` for all.

    Returns:
        The modules that are frozen as a whole, to be kept in evaluation mode.

    Raises:
        ConfigError: if nothing has such a name.
    """
    _check_names("train.freeze", prefixes, backbone)
    for name, parameter in backbone.named_parameters():
        if _longest(name, prefixes) is not None:
            parameter.requires_grad_(False)
    return [module for name, module in backbone.named_modules() if _longest(name, prefixes) is not None]


def check_factors(backbone: nn.Module, factors: Mapping[str, float]) -> None:
    """Refuse factors of what the backbone has not.

    Args:
        backbone: the network.
        factors: of the rate, by beginnings of names, as of :func:`freeze`.

    Raises:
        ConfigError: if nothing has such a name.
    """
    _check_names("train.rate_factors", factors, backbone)


def split_rates(optimiser: Optimizer, backbone: nn.Module, factors: Mapping[str, float]) -> None:
    """Give parameters of the backbone their share of the rate.

    Each group of the optimiser falls into several, whose ``rate_factor`` the loop multiplies the rate by.

    Args:
        optimiser: one that has made no step.
        backbone: the network.
        factors: by beginnings of names, of which the longest counts; without any the groups stay as they are.

    Raises:
        ConfigError: if nothing has such a name.
    """
    check_factors(backbone, factors)
    own = {id(p): factors.get(_longest(name, factors) or "", 1.0) for name, p in backbone.named_parameters()}
    if factors:
        optimiser.param_groups[:] = [
            {**group, "params": [p for p in group["params"] if own.get(id(p), 1.0) == factor], "rate_factor": factor}
            for group in optimiser.param_groups
            for factor in dict.fromkeys(own.get(id(p), 1.0) for p in group["params"])
        ]


def _longest(name: str, prefixes: Iterable[str]) -> str | None:
    """Of the beginnings of a dotted name, the longest; a name as a whole is one too."""
    fitting = [p for p in prefixes if p == WHOLE or name == p or name.startswith(f"{p}.")]
    return max(fitting, key=lambda p: (p != WHOLE, len(p)), default=None)


def _check_names(place: str, prefixes: Iterable[str], backbone: nn.Module) -> None:
    """Refuse what is the beginning of no parameter's name."""
    names = [name for name, _ in backbone.named_parameters()]
    for prefix in prefixes:
        if not any(_longest(name, [prefix]) for name in names):
            parts = [WHOLE, *dict.fromkeys(name.partition(".")[0] for name in names)]
            raise ConfigError(
                f"{place}: expected beginnings of the backbone's names ({', '.join(parts)}), found "
                f"{quote(prefix)}{closest(prefix, parts)}"
            )


class WeightAverage:
    r"""Exponential moving average of the weights: :math:`a \leftarrow d\,a + (1 - d)\,w` after each step.

    It begins as the weights after the first step; the statistics of batch normalisation are averaged likewise.

    Args:
        backbone: the network.
        loss: with the centres.
        optimiser: whose steps change them.
        decay: :math:`d`, 0 to 1.
    """

    def __init__(self, backbone: nn.Module, loss: SpeakerLoss, optimiser: Optimizer, decay: float) -> None:
        both = nn.ModuleDict({"backbone": backbone, "loss": loss})
        rule = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]  # torch's stub has no types here
        self._averaged = AveragedModel(both, multi_avg_fn=rule, use_buffers=True)
        optimiser.register_step_post_hook(lambda *_: self._averaged.update_parameters(both))

    @property
    def backbone(self) -> Backbone:
        """The network with the averaged weights."""
        return cast("Backbone", self._part("backbone"))

    def _part(self, name: str) -> nn.Module:
        return self._averaged.module.get_submodule(name)

    def state_dict(self) -> dict[str, Any]:
        """The averages, as a checkpoint holds weights, and the number of steps."""
        parts = {name: self._part(name).state_dict() for name in ("backbone", "loss")}
        return {**parts, "steps": int(self._averaged.n_averaged)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state_dict` gave."""
        for name in ("backbone", "loss"):
            self._part(name).load_state_dict(state[name])
        self._averaged.n_averaged.fill_(state["steps"])
