"""Arrays and files become the same samples; what is no speech is refused in a sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from numpy.typing import NDArray

from ham.audio.decoding import read_audio
from ham.audio.waveform import listed, name_of, to_waveform, with_rate
from ham.errors import DataError

RATE = 16000
MONO = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
STEREO = np.random.default_rng(1).normal(0, 0.1, (RATE, 2)).astype(np.float32)


def test_samples_in_every_form_are_those_of_the_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", MONO, RATE)
    expected = read_audio(tmp_path / "a.wav")
    integers, _ = soundfile.read(tmp_path / "a.wav", dtype="int16")
    for speech in (tmp_path / "a.wav", str(tmp_path / "a.wav"), (expected, RATE), (integers, RATE)):
        np.testing.assert_array_equal(to_waveform(speech), expected)
    for kind in (np.float64, np.float32):
        np.testing.assert_array_equal(to_waveform(expected.astype(kind), RATE), expected)
    np.testing.assert_allclose(to_waveform(expected.astype(np.float16), RATE), expected, atol=1e-3)


def test_channels_are_averaged_whichever_axis_they_are(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", STEREO, RATE, subtype="FLOAT")
    expected = read_audio(tmp_path / "a.wav")
    np.testing.assert_allclose(to_waveform(STEREO, RATE), expected, atol=1e-7)
    np.testing.assert_allclose(to_waveform(np.ascontiguousarray(STEREO.T), RATE), expected, atol=1e-7)
    integers = np.array([[32767, -32768]] * RATE, np.int16)  # their sum would overflow in 16 bit
    np.testing.assert_allclose(to_waveform(integers, RATE), -0.5 / 32768)
    np.testing.assert_allclose(to_waveform(MONO[:, None], RATE), MONO, atol=1e-7)


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_another_rate_is_converted_as_torchaudio_does(rate: int) -> None:
    expected = torchaudio.functional.resample(torch.from_numpy(MONO), rate, RATE).clamp(-1, 1)
    np.testing.assert_array_equal(to_waveform(MONO, rate), expected.numpy())
    np.testing.assert_array_equal(to_waveform((MONO, np.int64(rate))), expected.numpy())


def test_what_is_beyond_full_scale_is_clipped() -> None:
    np.testing.assert_array_equal(to_waveform(10 * MONO, RATE), np.clip(10 * MONO, -1, 1))


@pytest.mark.parametrize(
    ("speech", "rate", "words"),
    [
        (MONO, None, "expected the sample rate of the array, found none; give sample_rate=16000"),
        (MONO, 0, "expected a sample rate of 4,000 to 768,000 Hz, found 0"),
        (MONO, 44.1, "expected a sample rate"),
        (MONO, True, "expected a sample rate"),
        (np.zeros(0, np.float32), RATE, "holds no samples"),
        (np.zeros((0, 2), np.float32), RATE, "holds no samples"),
        (np.full(RATE, np.nan, np.float32), RATE, "infinite or not a number"),
        (np.where(np.arange(RATE) == 5, np.inf, 0), RATE, "infinite or not a number"),
        (np.full((RATE, 2), np.nan), RATE, "infinite or not a number"),
        ((1e4 * MONO).astype(np.float32), RATE, "expected samples in [-1, 1], found"),
        (np.zeros(RATE, np.int32), RATE, "expected float samples in [-1, 1] or int16, found int32"),
        (np.zeros(RATE, np.uint8), RATE, "found uint8"),
        (np.zeros(RATE, bool), RATE, "found bool"),
        (np.zeros(RATE, complex), RATE, "found complex128"),
        (np.array(["a.wav"]), RATE, "found <U5"),
        (np.zeros((2, 2, RATE)), RATE, "expected samples (N,)"),
        (np.zeros((100, 100)), RATE, "expected samples (N,), or with channels (N, 2) or (2, N), found (100, 100)"),
        (np.float32(1), RATE, "expected a path or a NumPy array, found float32"),
        (torch.zeros(RATE), RATE, "expected a path or a NumPy array, found Tensor"),
        ([0.0] * RATE, RATE, "expected a path or a NumPy array, found list"),
        (None, RATE, "found NoneType"),
        (b"RIFF", RATE, "found bytes"),
    ],
)  # fmt: skip
def test_what_is_no_speech_is_refused_in_one_line(speech: Any, rate: Any, words: str) -> None:
    with pytest.raises(DataError) as caught:
        to_waveform(speech, rate, "speech 3")
    assert str(caught.value).startswith("speech 3: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_of_files_and_of_samples() -> None:
    assert [name_of(one, 4) for one in (Path("a.wav"), "b.wav", MONO)] == ["a.wav", "b.wav", "speech 4"]


def test_one_recording_and_a_list_of_several() -> None:
    singles: list[Any] = ["a.wav", Path("a.wav"), MONO, (MONO, RATE)]
    assert [len(listed(one)) for one in singles] == [1, 1, 1, 1]
    assert listed(["a.wav", MONO]) == ["a.wav", MONO]
    assert with_rate("a.wav", 8000) == "a.wav"
    paired: tuple[NDArray[Any], int] = with_rate(MONO, 8000)  # type: ignore[assignment]
    assert paired[1] == 8000
    with pytest.raises(DataError, match="at least one recording of a speaker, found none"):
        listed([])
