"""Which weights a training changes, how fast, and their moving average: ``train.freeze``, ``rate_factors``, ``ema``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ham.backbones.base import Backbone
from ham.errors import ConfigError
from ham.losses.base import SpeakerLoss
from ham.schema import check_number, closest
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


def read_factors(backbone: nn.Module, words: Sequence[str]) -> dict[str, float]:
    """The factors of the rate by the beginnings of names.

    Args:
        backbone: the network.
        words: ``backbone=0.1``, ``embed=0.5``.

    Raises:
        ConfigError: if a word has another form, a factor is not above 0, or nothing has such a name.
    """
    factors = {}
    for word in words:
        name, equals, text = word.partition("=")
        try:
            factor = float(text)
        except ValueError:
            factor, equals = 0.0, ""
        if not equals:
            raise ConfigError(f"train.rate_factors: expected NAME=FACTOR, as backbone=0.1, found {quote(word)}")
        factors[name] = check_number(f"train.rate_factors: {name}", factor, above=0.0)
    _check_names("train.rate_factors", [*factors], backbone)
    return factors


def split_rates(optimiser: Optimizer, backbone: nn.Module, words: Sequence[str]) -> None:
    """Give parameters of the backbone their share of the rate: each group of a new optimiser falls into several, by
    ``rate_factor``.

    Args:
        optimiser: one that has made no step.
        backbone: the network.
        words: as of :func:`read_factors`; without any the groups stay as they are.
    """
    factors = read_factors(backbone, words)
    own = {id(p): factors.get(_longest(name, factors) or "", 1.0) for name, p in backbone.named_parameters()}
    if factors:
        optimiser.param_groups[:] = [
            {**group, "params": [p for p in group["params"] if own.get(id(p), 1.0) == factor], "rate_factor": factor}
            for group in optimiser.param_groups
            for factor in dict.fromkeys(own.get(id(p), 1.0) for p in group["params"])
        ]


def _longest(name: str, prefixes: Sequence[str] | Mapping[str, float]) -> str | None:
    """Of the beginnings of a dotted name, the longest; a name as a whole is one too."""
    fitting = [p for p in prefixes if p == WHOLE or name == p or name.startswith(f"{p}.")]
    return max(fitting, key=lambda p: (p != WHOLE, len(p)), default=None)


def _check_names(place: str, prefixes: Sequence[str], backbone: nn.Module) -> None:
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
