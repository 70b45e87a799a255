"""The linear losses against torch's own linear layer."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from ham.errors import ConfigError
from ham.losses.softmax import ScaledSoftmax, Softmax


def test_starts_as_a_linear_layer_starts() -> None:
    torch.manual_seed(0)
    loss = Softmax(100, 400)
    for parameter in (loss.weight, loss.bias):
        assert 0.098 < parameter.abs().max() <= 0.1
        assert abs(parameter.std().item() * 12**0.5 / 0.2 - 1) < 0.1
    assert [name for name, _ in loss.named_parameters()] == ["weight", "bias"]


def test_scaled_softmax_is_the_scale_times_a_linear_layer() -> None:
    torch.manual_seed(0)
    loss, x = ScaledSoftmax(5, 7, scale=4.0), torch.randn(3, 5)
    layer = nn.Linear(5, 7)
    layer.load_state_dict(loss.state_dict())
    torch.testing.assert_close(loss.logits(x), 4.0 * layer(x))


def started(seed: int, **options: float) -> ScaledSoftmax:
    torch.manual_seed(seed)
    return ScaledSoftmax(128, 192, **options)


def test_the_published_start_is_that_of_softmax_and_its_logits_are_the_scale_times_as_large() -> None:
    torch.manual_seed(3)
    plain = Softmax(128, 192)
    published, x = started(3), torch.randn(400, 128)
    assert torch.equal(published.weight, plain.weight)
    assert torch.equal(published.bias, plain.bias)
    assert abs(published.logits(x).std().item() / (30 / 3**0.5) - 1) < 0.05
    assert published(x, torch.arange(400) % 192).loss > 3 * math.log(192)


def test_init_scale_is_a_factor_on_the_first_logits() -> None:
    """With 1 / s they are those of softmax, whose loss is near that of a guess."""
    x, labels = torch.randn(400, 128), torch.arange(400) % 192
    torch.testing.assert_close(started(3, init_scale=0.25).logits(x), 0.25 * started(3).logits(x))
    small = started(3, init_scale=1 / 30)
    torch.manual_seed(3)
    torch.testing.assert_close(small.logits(x), Softmax(128, 192).logits(x))
    assert abs(small(x, labels).loss / math.log(192) - 1) < 0.05


@pytest.mark.parametrize("value", [0, -1.0, float("inf"), True, "small"])
def test_an_init_scale_that_is_no_positive_number_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="loss scaled_softmax: init_scale"):
        ScaledSoftmax(5, 7, init_scale=value)
