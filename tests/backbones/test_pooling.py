"""Pooling against naive recomputations, frame by frame and in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ham.backbones.pooling import AttentiveStatisticsPooling, StatisticsPooling, masked_mean, mean_and_deviation

LENGTHS = (1, 4, 9)


def frames(num_channels: int = 6) -> tuple[Tensor, Tensor]:
    x = torch.randn(len(LENGTHS), 9, num_channels, generator=torch.Generator().manual_seed(3)).double()
    return x, (torch.arange(9) >= torch.tensor(LENGTHS)[:, None])[:, :, None]


def naive_attention(pool: AttentiveStatisticsPooling, x: Tensor) -> Tensor:
    """One utterance ``(T, C)``, with mean and deviation copied to every frame."""
    variance = x.var(0) if len(x) > 1 else torch.zeros_like(x[0])
    context = [x.mean(0).expand_as(x), variance.clamp_min(1e-4).sqrt().expand_as(x)]
    seen = torch.cat([x, *context] if pool.global_context else [x], 1)
    weights = pool.scores(torch.tanh(pool.norm(torch.relu(pool.hidden(seen))))).softmax(0)
    mean = sum(w * f for w, f in zip(weights, x, strict=True))
    square = sum(w * f * f for w, f in zip(weights, x, strict=True))
    return torch.cat([mean, (square - mean**2).clamp_min(1e-4).sqrt()])


def test_statistics_equal_torch() -> None:
    x, padded = frames()
    mean, deviation = mean_and_deviation(x, padded)
    for row, length in enumerate(LENGTHS):
        speech = x[row, :length]
        torch.testing.assert_close(mean[row], speech.mean(0))
        torch.testing.assert_close(masked_mean(x, padded)[row], speech.mean(0))
        if length > 1:
            torch.testing.assert_close(deviation[row], speech.std(0))
    assert torch.allclose(deviation[0], torch.tensor(0.01).double())  # one frame: the floor
    torch.testing.assert_close(StatisticsPooling(6)(x), torch.cat([x.mean(1), x.std(1)], 1))


@pytest.mark.parametrize("global_context", [True, False])
def test_attention_equals_the_naive_form(global_context: bool) -> None:
    torch.manual_seed(0)
    pool = AttentiveStatisticsPooling(6, 5, global_context=global_context).double()
    pool(frames()[0] * 3 + 1)
    pool.eval()
    x, padded = frames()
    found = pool(x, padded)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(found[row], naive_attention(pool, x[row, :length]))
    torch.testing.assert_close(pool(x)[0], naive_attention(pool, x[0]))


def test_constant_frames_have_finite_gradients() -> None:
    x = torch.full((2, 7, 6), 0.3, requires_grad=True)
    AttentiveStatisticsPooling(6, 5)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
