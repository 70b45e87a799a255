"""The front end ``mel`` against torchaudio."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor

from ham.frontends import build
from tests.frontends.signals import assert_within_noise, waveforms


def published_mel(x: Tensor, **changes: int) -> Tensor:
    settings = {"sample_rate": 16000, "n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 80, **changes}
    transform = torchaudio.transforms.MelSpectrogram(
        f_min=20, f_max=3800 if changes else 7600, window_fn=torch.hamming_window, **settings
    ).to(x.dtype)
    padded = F.pad(x[:, None], (1, 0), mode="reflect")[:, 0]
    logs = (transform(padded[:, 1:] - 0.97 * padded[:, :-1]) + 1e-6).log()
    return (logs - logs.mean(2, keepdim=True)).transpose(1, 2)


@pytest.mark.parametrize("num_samples", [400, 401, 559, 560, 16000, 32240])
def test_mel_equals_torchaudio(num_samples: int) -> None:
    x = waveforms(5, num_samples)
    found = build("mel")(x)
    assert_within_noise(found, published_mel(x), published_mel(x.double()))
    assert found.dtype == torch.float32


def test_mel_of_8_khz() -> None:
    x = waveforms(3, 8000)
    found = build("mel", 40, 8000, high_freq_hz=3800.0)(x)
    settings = {"sample_rate": 8000, "n_fft": 256, "win_length": 200, "hop_length": 80, "n_mels": 40}
    assert_within_noise(found, published_mel(x, **settings), published_mel(x.double(), **settings))
