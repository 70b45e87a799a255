"""The front end ``speechbrain_fbank`` against torch's own transform, its bands and decibels written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ham.frontends import build
from tests.frontends.signals import assert_within_noise, waveforms


def bands(num_mel_bins: int) -> Tensor:
    """Triangles over the 201 frequencies, each as wide on both sides as its distance from the centre before."""
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), num_mel_bins + 2)
    hz = 700 * (10 ** (mel / 2595) - 1)
    frequencies = np.arange(201) * 40.0
    rows = [np.maximum(0, 1 - np.abs(frequencies - hz[j]) / (hz[j] - hz[j - 1])) for j in range(1, num_mel_bins + 1)]
    return torch.from_numpy(np.stack(rows, 1))


def published(x: Tensor, num_mel_bins: int) -> Tensor:
    window = torch.hamming_window(400, dtype=x.dtype)
    spectrum = torch.stft(x, 400, 160, window=window, pad_mode="constant", return_complex=True)
    decibels = 10 * (spectrum.abs().square().mT @ bands(num_mel_bins).to(x.dtype)).clamp_min(1e-10).log10()
    loudest = torch.stack([row.max() for row in decibels])[:, None, None]
    decibels = decibels.where(decibels > loudest - 80, loudest - 80)
    return decibels - decibels.mean(1, keepdim=True)


@pytest.mark.parametrize("num_samples", [400, 559, 560, 32240])
def test_it_equals_torch_s_transform(num_samples: int) -> None:
    x = waveforms(3, num_samples)
    found = build("speechbrain_fbank")(x)
    assert_within_noise(found, published(x, 80), published(x.double(), 80), slack=2.0)


def test_what_is_80_db_below_the_loudest_counts_no_less() -> None:
    x = torch.cat([waveforms(2, 8000)[1:], torch.zeros(1, 4000)], 1)
    features = build("speechbrain_fbank", 40)(x)
    means = published(x, 40)[0, -1]
    torch.testing.assert_close(features[0, -10:], means.expand(10, -1), rtol=1e-4, atol=1e-3)
    with_mean = features - features[:, -1:]
    assert with_mean.min() == 0
    assert with_mean.max().item() == pytest.approx(80, abs=1e-3)
