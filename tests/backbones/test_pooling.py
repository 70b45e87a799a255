"""Pooling against naive recomputations, frame by frame and in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ham.backbones.pooling import (
    POOLINGS,
    AttentiveStatisticsPooling,
    FactorisedAttentionPooling,
    MeanPooling,
    StatisticsPooling,
    build_pooling,
    masked_mean,
    mean_and_deviation,
)

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
    torch.testing.assert_close(MeanPooling(6)(x), x.mean(1))
    torch.testing.assert_close(mean_and_deviation(x, padded, population=True)[1][2], x[2].std(0, correction=0))
    added = StatisticsPooling(6, added_variance=0.5)(x)[:, 6:]
    torch.testing.assert_close(added, (x.var(1) + 0.5).sqrt())


@pytest.mark.parametrize("global_context", [True, False])
def test_attention_equals_the_naive_form(global_context: bool) -> None:
    torch.manual_seed(0)
    pool = AttentiveStatisticsPooling(6, attention_channels=5, global_context=global_context).double()
    pool(frames()[0] * 3 + 1)
    pool.eval()
    x, padded = frames()
    found = pool(x, padded)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(found[row], naive_attention(pool, x[row, :length]))
    torch.testing.assert_close(pool(x)[0], naive_attention(pool, x[0]))


def naive_factorised(pool: FactorisedAttentionPooling, x: Tensor) -> Tensor:
    """One utterance ``(L, T, C)``, head by head."""
    of_keys, of_values = pool.layer_weights.softmax(1)
    keys = pool.key(sum(w * layer for w, layer in zip(of_keys, x, strict=True)))
    values = pool.value(sum(w * layer for w, layer in zip(of_values, x, strict=True)))
    heads = pool.scores(keys).softmax(0).unbind(1)
    return torch.cat([sum(w * v for w, v in zip(head, values, strict=True)) for head in heads])


def test_factorised_attention_equals_the_naive_form() -> None:
    torch.manual_seed(0)
    pool = FactorisedAttentionPooling(6, num_layers=3, num_heads=4, head_channels=5).double()
    with torch.no_grad():
        pool.layer_weights.normal_()
    (x, padded), others = frames(), torch.randn(2, len(LENGTHS), 9, 6).double()
    layers = torch.stack([x, *others], 1)
    found = pool(layers, padded)
    assert found.shape == (3, pool.output_dim) == (3, 20)
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(found[row], naive_factorised(pool, layers[row, :, :length]))
    torch.testing.assert_close(pool(layers)[0], naive_factorised(pool, layers[0]))
    assert all(p.grad is None for p in pool.parameters())
    found.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in pool.parameters())


def test_frames_of_one_layer_are_layers_too() -> None:
    pool, (x, padded) = FactorisedAttentionPooling(6).double(), frames()
    assert torch.equal(pool(x, padded), pool(x[:, None], padded))


@pytest.mark.parametrize("name", POOLINGS)
def test_what_is_beyond_an_utterance_changes_nothing(name: str) -> None:
    torch.manual_seed(0)
    pool = build_pooling(name, 6, attention_channels=5, num_heads=2, least_variance=1e-6).double()
    x, padded = frames()
    pool(x)
    pool.eval()
    found = pool(x, padded)
    assert found.shape == (len(LENGTHS), pool.output_dim)
    assert torch.equal(found, pool(x.masked_fill(padded, 1e3), padded))
    for row, length in enumerate(LENGTHS):
        torch.testing.assert_close(found[row], pool(x[row : row + 1, :length])[0])
    assert pool.bfloat16()(x.bfloat16(), padded).dtype == torch.float32


def test_constant_frames_have_finite_gradients() -> None:
    x = torch.full((2, 7, 6), 0.3, requires_grad=True)
    AttentiveStatisticsPooling(6, attention_channels=5)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
