"""The linear losses against torch's own linear layer."""

from __future__ import annotations

import torch
from torch import nn

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
