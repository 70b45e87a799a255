"""Sub-centres: the nearest one counts, at the target, among the others, and in what the log says."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ham.errors import ConfigError
from ham.losses import SpeakerLoss, build
from tests.losses.test_margin import circle


def fan(**options: float) -> SpeakerLoss:
    """Three speakers of the plane with two centres each: at 0 and 40, 90 and 130, 180 and 220 degrees."""
    loss = build("subcenter_aam_softmax", 2, 3, scale=10.0, margin=0.2, sub_centres=2, **options).double()
    with torch.no_grad():
        loss.weight.copy_(circle(0.0, 40.0, 90.0, 130.0, 180.0, 220.0).view(3, 2, 2))
    return loss


def degrees(*angles: float) -> Tensor:
    return torch.deg2rad(torch.tensor(angles, dtype=torch.float64))


def test_the_nearest_sub_centre_counts() -> None:
    loss, y = fan(), torch.tensor([0, 0, 1])
    x = circle(10.0, 35.0, 135.0)
    nearest = torch.stack([degrees(10, 80, 150), degrees(5, 55, 145), degrees(95, 5, 45)])
    torch.testing.assert_close(loss.logits(x), 10 * nearest.cos())
    nearest[torch.arange(3), y] += 0.2
    torch.testing.assert_close(loss.logits(x, y), 10 * nearest.cos())


def test_only_the_nearest_sub_centres_get_a_gradient() -> None:
    loss = fan()
    loss(circle(10.0), torch.tensor([0])).loss.backward()
    assert (loss.weight.grad.norm(dim=2) > 0).tolist() == [[True, False], [True, False], [False, True]]


def test_the_nearest_other_speakers_are_penalised_by_a_share_of_the_margin() -> None:
    loss, x, y = fan(top_k=1, penalty=0.3), circle(10.0), torch.tensor([0])
    for margin in (0.2, 0.5):
        loss.set_margin(margin)
        shift = torch.tensor([margin, -0.3 * margin, 0.0])
        torch.testing.assert_close(loss.logits(x, y)[0], 10 * (degrees(10, 80, 150) + shift).cos())
    torch.testing.assert_close(loss.logits(x, torch.tensor([1]))[0, 0], 10 * (degrees(10)[0] - 0.15).cos())


def test_diagnostics_are_of_the_nearest_sub_centres() -> None:
    found = fan().diagnostics(circle(10.0, 35.0), torch.tensor([0, 0]))
    assert found["cosine/target"] == pytest.approx((math.cos(math.radians(10)) + math.cos(math.radians(5))) / 2)
    impostor = (math.cos(math.radians(80)) + math.cos(math.radians(55))) / 2
    assert found["cosine/nearest_impostor"] == pytest.approx(impostor)
    assert found["effective_scale"] > 10  # the margin on the angle pulls harder near the centre


def test_radii_are_one_a_sub_centre() -> None:
    loss = fan()
    with torch.no_grad():
        loss.weight.mul_(torch.arange(1.0, 7.0).view(3, 2, 1))
    torch.testing.assert_close(loss.centre_radii(), torch.arange(1.0, 7.0, dtype=torch.float64))


def test_starts_xavier_normal() -> None:
    torch.manual_seed(0)
    weight = build("subcenter_aam_softmax", 192, 300).weight
    assert weight.shape == (300, 3, 192)
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (192 + 900)), rel=0.02)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("sub_centres", 0, "expected a whole number of at least 1, found 0"),
        ("top_k", -1, "expected a whole number of at least 0, found -1"),
        ("penalty", 1.5, "at most 1, found 1.5"),
        ("margin", 20, "at most 3.14159, found 20"),
    ],
)
def test_options_without_meaning_are_refused(option: str, value: float, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^loss subcenter_aam_softmax: {option}: .*{message}"):
        build("subcenter_aam_softmax", 4, 3, **{option: value})
