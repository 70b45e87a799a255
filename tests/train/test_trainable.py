"""Which weights change, how fast, and their moving average."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from ham import backbones
from ham.errors import ConfigError
from ham.losses.base import SpeakerLoss
from ham.train.step import TrainingStep
from ham.train.trainable import WeightAverage, check_factors, freeze, split_rates


@pytest.fixture
def backbone() -> nn.Module:
    return backbones.build("resnet18", 24, 16, width=4)


def test_what_begins_so_is_frozen_and_no_more(backbone: nn.Module) -> None:
    names = [name for name, _ in backbone.named_parameters()]
    first = names[0].partition(".")[0]
    frozen = freeze(backbone, [first])
    fixed = {name for name, p in backbone.named_parameters() if not p.requires_grad}
    assert fixed == {name for name in names if name.split(".")[0] == first}
    assert frozen[0] is backbone.get_submodule(first)
    assert backbone not in frozen
    assert backbone in freeze(backbone, ["backbone"])
    assert not any(p.requires_grad for p in backbone.parameters())


def test_the_longest_beginning_gives_the_factor(backbone: nn.Module) -> None:
    names = [name for name, _ in backbone.named_parameters()]
    part, whole = names[-1], names[-1].partition(".")[0]
    centre = nn.Parameter(torch.zeros(3))
    optimiser = torch.optim.SGD([{"params": [*backbone.parameters(), centre], "momentum": 0.5}], lr=1.0)
    split_rates(optimiser, backbone, {whole: 0.5, "backbone": 0.1, part: 2.0})
    found = {id(p): g["rate_factor"] for g in optimiser.param_groups for p in g["params"]}
    assert found.pop(id(centre)) == 1.0
    own = {name: found[id(p)] for name, p in backbone.named_parameters()}
    expected = {name: 0.5 if name.split(".")[0] == whole else 0.1 for name in names}
    assert own == {**expected, part: 2.0}
    assert all(group["momentum"] == 0.5 for group in optimiser.param_groups)


def test_without_factors_the_groups_stay(backbone: nn.Module) -> None:
    optimiser = torch.optim.SGD(backbone.parameters(), lr=1.0)
    split_rates(optimiser, backbone, {})
    (group,) = optimiser.param_groups
    assert "rate_factor" not in group


def test_factors_of_what_is_not_there_are_refused(backbone: nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"train\.rate_factors: expected beginnings of .* \(backbone, .*'nothing'"):
        check_factors(backbone, {"backbone": 0.5, "nothing": 0.1})


def test_a_name_that_nothing_has_is_refused(backbone: nn.Module) -> None:
    with pytest.raises(ConfigError, match=r"train\.freeze: .*found 'back_bone'; did you mean 'backbone'"):
        freeze(backbone, ["back_bone"])


def test_the_moving_average_is_that_of_the_definition(make_step: Callable[..., TrainingStep]) -> None:
    step = make_step()
    loss: SpeakerLoss = step.loss
    optimiser = torch.optim.SGD(loss.parameters(), lr=0.5)
    average = WeightAverage(step.backbone, loss, optimiser, 0.75)
    statistic = next(name for name, _ in step.backbone.named_buffers() if name.endswith("running_mean"))
    expected = expected_mean = None
    for number in range(4):
        loss.weight.grad = torch.full_like(loss.weight, 1.0 + number)
        step.backbone.get_buffer(statistic).fill_(number)
        optimiser.step()
        now = loss.weight.detach().clone()
        expected = now if expected is None else 0.75 * expected + 0.25 * now
        expected_mean = float(number) if expected_mean is None else 0.75 * expected_mean + 0.25 * number
    state = average.state_dict()
    assert state["steps"] == 4
    torch.testing.assert_close(state["loss"]["weight"], expected)
    assert state["backbone"][statistic][0] == pytest.approx(expected_mean)
    assert average.backbone.get_buffer(statistic)[0] == pytest.approx(expected_mean)
    again = WeightAverage(step.backbone, loss, torch.optim.SGD(loss.parameters(), lr=0.5), 0.75)
    again.load_state_dict(state)
    assert again.state_dict()["steps"] == 4
    assert torch.equal(again.state_dict()["loss"]["weight"], state["loss"]["weight"])
