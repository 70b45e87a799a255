"""Waveforms to compute features of, and how near to exact ones they must come."""

from __future__ import annotations

import torch
from torch import Tensor


def waveforms(batch: int, num_samples: int, seed: int = 0) -> Tensor:
    """Noise and tones whose loudness runs from near silence to full scale."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch, num_samples, generator=generator)
    time = torch.arange(num_samples) / 16000
    tones = torch.sin(2 * torch.pi * torch.linspace(150, 6000, batch)[:, None] * time)
    gain = torch.logspace(-4, -0.6, batch)[:, None]
    return ((noise + tones) * gain + 0.01).clamp(-1, 1)


def assert_within_noise(found: Tensor, expected: Tensor, reference: Tensor, slack: float = 1.0) -> None:
    """Not further from the same features in float64 than torchaudio's own float32, but for a factor."""
    error, usual = (found - reference).abs(), (expected - reference).abs()
    assert error.mean() < slack * 1.5 * usual.mean() + 1e-7
    assert error.max() < slack * 3 * usual.max() + 1e-5
    assert usual.max() < slack * 1e-3
