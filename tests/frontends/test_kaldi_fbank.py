"""The front end ``kaldi_fbank`` against torchaudio."""

from __future__ import annotations

import pytest
import torch
import torchaudio
from torch import Tensor

from ham.errors import ConfigError
from ham.frontends import WINDOW_TYPES, build
from tests.frontends.signals import assert_within_noise, waveforms


def kaldi_one(x: Tensor, window_type: str, num_mel_bins: int) -> Tensor:
    fbank = torchaudio.compliance.kaldi.fbank(
        x[None] * 32768, num_mel_bins=num_mel_bins, frame_length=25, frame_shift=10, window_type=window_type, dither=0.0
    )
    return fbank - fbank.mean(0)


@pytest.mark.parametrize("window_type", WINDOW_TYPES)
@pytest.mark.parametrize("num_samples", [400, 559, 560, 12345])
def test_kaldi_fbank_equals_torchaudio(window_type: str, num_samples: int) -> None:
    x = waveforms(3, num_samples)
    found = build("kaldi_fbank", 64, window_type=window_type)(x)
    expected, reference = (torch.stack([kaldi_one(row, window_type, 64) for row in y]) for y in (x, x.double()))
    assert_within_noise(found, expected, reference)


def test_samples_can_stay_as_they_are() -> None:
    x = 1e-4 * waveforms(3, 4000)  # so soft that the floor of the energies counts
    found = build("kaldi_fbank", 64, sample_scale=1.0)(x)
    expected, reference = (torch.stack([kaldi_one(row / 32768, "hamming", 64) for row in y]) for y in (x, x.double()))
    assert_within_noise(found, expected, reference)
    assert (found - build("kaldi_fbank", 64)(x)).abs().max() > 1


@pytest.mark.parametrize("value", [0, -1.0, "1", float("nan")])
def test_another_scale_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="frontend kaldi_fbank: sample_scale: expected "):
        build("kaldi_fbank", sample_scale=value)


def test_another_window_is_refused() -> None:
    with pytest.raises(ConfigError, match="window_type: expected one of hamming, hanning, povey, rectangular"):
        build("kaldi_fbank", window_type="hann")
