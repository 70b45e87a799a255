"""The front end ``w2vbert_fbank`` against transformers' extractor, and against float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ham.frontends import build
from tests.frontends.signals import waveforms
from tests.self_supervised import needs_transformers


@needs_transformers
@pytest.mark.parametrize("num_samples", [560, 720, 8104, 32240])
def test_two_frames_side_by_side_are_what_the_published_extractor_gives(num_samples: int) -> None:
    from transformers import SeamlessM4TFeatureExtractor

    x, extractor = waveforms(4, num_samples), SeamlessM4TFeatureExtractor()
    found = build("w2vbert_fbank")(x)
    pairs = found.shape[1] // 2
    for row, features in zip(x.numpy(), found.numpy(), strict=True):
        (expected,) = extractor(row, sampling_rate=16000, padding=False, return_tensors="np")["input_features"]
        assert expected.shape == (pairs, 160)
        error = np.abs(features[: 2 * pairs].reshape(pairs, 160) - expected)
        assert error.mean() < 2e-5
        assert error.max() < 2e-3


def test_each_band_has_variance_one() -> None:
    x = waveforms(3, 16000)
    plain = build("kaldi_fbank", window_type="povey")(x).double()
    expected = plain / (plain.var(1, keepdim=True, correction=1) + 1e-7).sqrt()
    torch.testing.assert_close(build("w2vbert_fbank")(x).double(), expected, rtol=0, atol=1e-4)


def test_one_frame_is_finite() -> None:
    assert build("w2vbert_fbank")(waveforms(2, 400)).abs().max() == 0
