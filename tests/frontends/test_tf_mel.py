"""The front end ``tf_mel`` against its definition, written out in numpy one frame and one band at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ham.frontends import build
from tests.frontends.signals import waveforms


def defined(x: np.ndarray, num_bands: int) -> np.ndarray:
    """Features of one waveform."""
    x = (x - x.mean()) / (x.std() + 1e-8)
    y = np.array([value - 0.97 * x[abs(index - 1)] for index, value in enumerate(x)])
    y = np.concatenate([np.zeros(80), y, np.zeros(80)])
    window = np.hamming(400)
    rows = [np.abs(np.fft.rfft(y[at : at + 400] * window, 512)) ** 2 for at in range(0, len(y) - 399, 160)]
    power = np.clip(np.array(rows)[:, :256], 1e-8, 1e8)
    mel = 2595 * np.log10(1 + np.linspace(0, 8000, 256) / 700)
    corners = np.linspace(*(2595 * np.log10(1 + np.array([20, 7600]) / 700)), num_bands + 2)
    energies = np.empty((len(rows), num_bands))
    for band in range(num_bands):
        weight = np.interp(mel, corners[band : band + 3], [0, 1, 0], left=0, right=0)
        weight[0] = 0
        energies[:, band] = power @ weight
    logs = np.log(np.clip(energies, 1e-8, 1e8) + 1e-8)
    return logs - logs.mean(0)


@pytest.mark.parametrize("num_samples", [400, 479, 480, 16000])
def test_features_are_the_defined_ones(num_samples: int) -> None:
    x, frontend = waveforms(3, num_samples), build("tf_mel", 72)
    found = frontend(x)
    expected = torch.from_numpy(np.stack([defined(row, 72) for row in x.double().numpy()])).float()
    assert found.shape == (3, (num_samples - 240) // 160 + 1, 72)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


def test_silence_within_speech_is_floored_bin_by_bin() -> None:
    x = waveforms(1, 8000)
    x[:, 2000:6000] = 0
    x -= x.mean()
    x[:, 2000:6000] = x.mean()
    found = build("tf_mel", 40)(x)[0]
    expected = defined(x[0].double().numpy(), 40)
    np.testing.assert_allclose(found[16:34].numpy(), expected[16:34], atol=0.05)
    assert found[16:34].mean() < found[:10].mean() - 5


def test_loudness_changes_nothing() -> None:
    x, frontend = waveforms(2, 8000), build("tf_mel", 72)
    torch.testing.assert_close(frontend(x / 64), frontend(x), atol=1e-3, rtol=0)
