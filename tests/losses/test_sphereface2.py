"""sphereface2 where its definition has an edge, and that its questions are answered one by one."""

from __future__ import annotations

import math

import pytest
import torch

from ham.errors import ConfigError
from ham.losses import build
from tests.losses.test_margin import circle


def test_a_speaker_more_changes_no_other_question() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    few, many = build("sphereface2", 4, 3), build("sphereface2", 4, 4)
    with torch.no_grad():
        many.weight[:3] = few.weight
    torch.testing.assert_close(many.logits(x, y)[:, :3], few.logits(x, y))
    further = 0.3 * torch.nn.functional.softplus(many.logits(x, y)[:, 3]).mean()
    torch.testing.assert_close(many(x, y).loss, few(x, y).loss + further)


@pytest.mark.parametrize("margin_type", ["C", "A"])
def test_the_share_weighs_the_own_question(margin_type: str) -> None:
    torch.manual_seed(0)
    x, y = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    losses = []
    for share in (0.2, 0.5, 0.8):
        torch.manual_seed(1)
        losses.append(build("sphereface2", 4, 3, positive_share=share, margin_type=margin_type)(x, y).loss)
    torch.testing.assert_close(losses[1], (losses[0] + losses[2]) / 2)
    assert losses[0] != losses[2]


def test_an_angle_grows_to_pi_and_shrinks_to_0_at_most() -> None:
    loss = build("sphereface2", 2, 2, margin_type="A", margin=0.5, scale=1.0).double()
    with torch.no_grad():
        loss.weight.copy_(circle(0.0, 180.0))
    found = loss.logits(circle(170.0, 10.0), torch.tensor([0, 1]))
    torch.testing.assert_close(found[0], torch.tensor([-1.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(found[1], torch.tensor([1.0, -1.0], dtype=torch.float64))


@pytest.mark.parametrize("power", [1.0, 3.0])
def test_the_power_spreads_what_is_alike(power: float) -> None:
    loss = build("sphereface2", 2, 2, power=power, scale=1.0).double()
    with torch.no_grad():
        loss.weight.copy_(circle(0.0, 60.0))
        loss.bias.fill_(0.25)
    expected = torch.tensor([[1.0, 2 * 0.75**power - 1]], dtype=torch.float64) + 0.25
    torch.testing.assert_close(loss.logits(circle(0.0)), expected)


def test_starts_xavier_normal_with_a_bias_of_0() -> None:
    torch.manual_seed(0)
    loss = build("sphereface2", 192, 800)
    assert loss.weight.std().item() == pytest.approx(math.sqrt(2 / (192 + 800)), rel=0.02)
    assert loss.bias == 0
    assert loss.bias.ndim == 0  # single numbers are not decayed by the optimiser


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("power", 0.5, "expected a finite number at least 1, found 0.5"),
        ("positive_share", 1, "above 0 and at most 0.999, found 1"),
        ("margin_type", "B", "expected one of C, A, found 'B'"),
    ],
)
def test_options_without_meaning_are_refused(option: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^loss sphereface2: {option}: .*{message}"):
        build("sphereface2", 4, 3, **{option: value})
