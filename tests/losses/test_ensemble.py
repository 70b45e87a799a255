"""The ensemble is the weighted sum of the two losses it is made of."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ham.losses import build
from ham.losses.base import SpeakerLoss
from ham.losses.ensemble import EhAmSoftmax


def trio(**options: float) -> tuple[EhAmSoftmax, SpeakerLoss, SpeakerLoss, Tensor, Tensor]:
    """The ensemble, its two parts with the same centres, and a batch."""
    torch.manual_seed(0)
    both = EhAmSoftmax(6, 5, **options).double()
    ram, ham = build("ram_softmax", 6, 5).double(), build("ham_softmax", 6, 5).double()
    with torch.no_grad():
        both.weight.normal_(std=0.2)
    ram.load_state_dict({"weight": both.euclidean.weight})
    ham.load_state_dict({"weight": both.weight})
    return both, ram, ham, torch.randn(8, 6, dtype=torch.float64), torch.randint(5, (8,))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_loss_and_logits_are_the_weighted_sum_of_the_parts(share: float) -> None:
    both, ram, ham, x, y = trio(euclidean_share=share)
    torch.testing.assert_close(both(x, y).loss, share * ram(x, y).loss + (1 - share) * ham(x, y).loss)
    for labels in (None, y):
        expected = share * ram.logits(x, labels) + (1 - share) * ham.logits(x, labels)
        torch.testing.assert_close(both.logits(x, labels), expected)
    assert both(x, y).accuracy == (both.logits(x).argmax(1) == y).float().mean()


def test_the_published_share_is_the_default() -> None:
    assert EhAmSoftmax(6, 5).euclidean_share == 0.3


def test_set_margin_reaches_both_parts() -> None:
    both, ram, ham, x, y = trio()
    for loss in (both, ram, ham):
        loss.set_margin(0.45)
    assert both.margin == both.euclidean.margin == 0.45
    torch.testing.assert_close(both(x, y).loss, 0.3 * ram(x, y).loss + 0.7 * ham(x, y).loss)


def test_each_part_has_its_own_centres_and_gradient() -> None:
    both, _, _, x, y = trio()
    assert sorted(both.state_dict()) == ["euclidean.weight", "weight"]
    assert both.weight is not both.euclidean.weight
    both(x, y).loss.backward()
    for parameter in both.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0
