"""The Euclidean margin losses where their definitions have an edge."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ham.errors import ConfigError
from ham.losses import build
from ham.losses.margin import LEAST_NORM, inverse_lengths, unit


def circle(*degrees: float) -> Tensor:
    """Unit vectors of the plane at these angles, float64."""
    angle = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    return torch.stack([angle.cos(), angle.sin()], dim=1)


def test_unit_scales_rows_and_leaves_none_without_direction() -> None:
    x = torch.tensor([[3.0, 4.0], [3e30, 4e30], [3e-10, 4e-10], [0.0, 0.0], [LEAST_NORM / 10, 0.0]], requires_grad=True)
    found = unit(x)
    expected = torch.tensor([[0.6, 0.8]] * 3 + [[0.0, 0.0]] * 2)
    torch.testing.assert_close(found, expected)
    found[:, 0].sum().backward()
    length = torch.tensor([5.0, 5e30, 5e-10])[:, None]
    assert x.grad is not None
    torch.testing.assert_close(x.grad[:3] * length, torch.tensor([[0.64, -0.48]] * 3))
    assert torch.equal(x.grad[3:], torch.zeros(2, 2))


def test_both_ways_scale_the_same_rows() -> None:
    lengths = LEAST_NORM * torch.tensor([0.0, 1e-3, 0.5, 0.99, 1.01, 2.0, 1e6, 1e12], dtype=torch.float64)
    x = circle(*[53.0] * 8) * lengths[:, None]
    (inverse,) = inverse_lengths(x.square().sum(dim=1))
    torch.testing.assert_close(x * inverse[:, None], unit(x))
    assert inverse.count_nonzero() == 4


@pytest.mark.parametrize("name", ["am_softmax", "aam_softmax", "ram_softmax"])
def test_starts_xavier_normal(name: str) -> None:
    torch.manual_seed(0)
    weight = build(name, 192, 800).weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (192 + 800)), rel=0.02)
    assert abs(weight.mean().item()) < 1e-3
    assert weight.abs().max() > 3 * weight.std()


@pytest.mark.parametrize("margin", [0.2, 0.5])
def test_aam_turns_the_angle_up_to_pi_minus_the_margin(margin: float) -> None:
    angles = torch.linspace(0.5, 179.5, 90, dtype=torch.float64)
    loss = build("aam_softmax", 2, 2, scale=1.0, margin=margin).double()
    with torch.no_grad():
        loss.weight.copy_(circle(0.0, 90.0))
    found = loss.logits(circle(*angles.tolist()), torch.zeros(90, dtype=torch.int64))[:, 0]
    theta = torch.deg2rad(angles)
    easy = theta.cos() - margin * math.sin(math.pi - margin)
    torch.testing.assert_close(found, torch.where(theta < math.pi - margin, (theta + margin).cos(), easy))
    assert (theta >= math.pi - margin).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_aam_gradient_is_right_at_log_uniform_angles(dtype: torch.dtype) -> None:
    """d cos(theta + m) / d theta is -sin(theta + m), whatever the angle to the centre."""
    theta = torch.logspace(-5, 0.3, 40, dtype=torch.float64)
    loss = build("aam_softmax", 2, 2, scale=1.0, margin=0.2).to(dtype)
    with torch.no_grad():
        loss.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    x = torch.stack([theta.cos(), theta.sin()], dim=1).to(dtype).requires_grad_()
    loss.logits(x, torch.zeros(40, dtype=torch.int64))[:, 0].sum().backward()
    along = torch.stack([-theta.sin(), theta.cos()], dim=1)
    assert x.grad is not None
    slope = (x.grad.double() * along).sum(1)
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(slope, -torch.sin(theta + 0.2), rtol=tolerance, atol=tolerance)


def test_aam_refuses_a_margin_in_degrees() -> None:
    with pytest.raises(ConfigError, match=r"margin: expected .* at least 0 and at most 3\.14159, found 20"):
        build("aam_softmax", 4, 3, margin=20)


def test_ram_keeps_rivals_at_or_above_the_target_and_zeroes_the_rest() -> None:
    loss = build("ram_softmax", 2, 4, scale=10.0, margin=0.2).double()
    with torch.no_grad():
        loss.weight.copy_(circle(60.0, 70.0, 80.0, 180.0))
    found = loss.logits(circle(0.0), torch.tensor([0]))[0]
    # Target 10 (0.5 - 0.2) = 3; cos 70 = 0.342 competes, cos 80 = 0.174 and cos 180 = -1 do not.
    expected = torch.tensor([3.0, 10 * math.cos(math.radians(70)), 0.0, 0.0], dtype=torch.float64)
    torch.testing.assert_close(found, expected)


def test_ram_gives_replaced_speakers_no_gradient() -> None:
    loss = build("ram_softmax", 2, 3, margin=0.2).double()
    with torch.no_grad():
        loss.weight.copy_(circle(60.0, 70.0, 120.0))
    loss(circle(0.0), torch.tensor([0])).loss.backward()
    assert loss.weight.grad is not None
    assert (loss.weight.grad.norm(dim=1) > 0).tolist() == [True, True, False]
