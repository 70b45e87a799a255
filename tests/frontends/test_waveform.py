"""The front end ``waveform``: the samples, cut into rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ham.errors import ConfigError, DataError
from ham.frontends import build
from tests.frontends.signals import waveforms
from tests.self_supervised import needs_transformers


@pytest.mark.parametrize(("num_samples", "rows"), [(400, 5), (479, 5), (480, 6), (16000, 200)])
def test_the_rows_side_by_side_are_the_samples(num_samples: int, rows: int) -> None:
    x = waveforms(3, num_samples)
    found = build("waveform")(x)
    assert found.shape == (3, rows, 80)
    assert torch.equal(found.flatten(1), x[:, : 80 * rows])


@needs_transformers
def test_unit_variance_is_that_of_the_published_extractor() -> None:
    from transformers import Wav2Vec2FeatureExtractor

    x = waveforms(3, 8000)
    expected = Wav2Vec2FeatureExtractor(do_normalize=True)(list(x.numpy()), sampling_rate=16000, return_tensors="np")
    found = build("waveform", unit_variance=True)(x).flatten(1).numpy()
    np.testing.assert_allclose(found, expected["input_values"], rtol=1e-4, atol=1e-5)


def test_rows_longer_than_a_frame_need_as_many_samples() -> None:
    frontend = build("waveform", 500)
    assert frontend(torch.zeros(1, 500)).shape == (1, 1, 500)
    with pytest.raises(DataError, match="at least 500 samples"):
        frontend(torch.zeros(1, 499))


def test_unit_variance_is_true_or_false() -> None:
    with pytest.raises(ConfigError, match=r"^frontend waveform: unit_variance: expected true or false, found 'maybe'$"):
        build("waveform", unit_variance="maybe")
