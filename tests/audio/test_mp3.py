"""MP3 against what was encoded; cuts and gaps must be found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ham.audio.decoding import AudioInfo, inspect_audio, read_audio
from ham.audio.mp3 import check_mp3, is_mp3
from ham.errors import DataError

TAG = b"TAG" + bytes(125)
ID3 = b"ID3\x04\0\0\0\0\1\2" + bytes(130)  # the size: 1 * 128 + 2


def write(path: Path, rate: int = 16000, channels: int = 1, mode: str = "VARIABLE") -> int:
    samples = np.random.default_rng(0).normal(0, 0.1, (2 * rate + 123, channels))
    soundfile.write(path, samples, rate, bitrate_mode=mode)
    return len(samples)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE", "AVERAGE"])
@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000])
def test_every_sample_that_was_encoded_is_counted(rate: int, mode: str, tmp_path: Path) -> None:
    for channels in (1, 2):
        num_samples = write(tmp_path / "a.mp3", rate, channels, mode)
        assert inspect_audio(tmp_path / "a.mp3") == AudioInfo(num_samples, rate, channels)


def test_speech_keeps_its_place_and_level(tmp_path: Path) -> None:
    times = np.arange(32000) / 16000
    tone = np.where(times > 1, 0.5 * np.sin(2 * np.pi * 300 * times), 0)
    soundfile.write(tmp_path / "a.mp3", tone, 16000, compression_level=0.1)
    np.testing.assert_allclose(read_audio(tmp_path / "a.mp3"), tone, atol=0.03)


def test_tags_at_both_ends_are_no_sound(tmp_path: Path) -> None:
    num_samples = write(tmp_path / "a.mp3")
    content = (tmp_path / "a.mp3").read_bytes()
    for tagged in (ID3 + content, content + TAG, ID3 + ID3 + content + TAG):
        assert is_mp3(tagged[:10])
        assert check_mp3(tmp_path, tagged) == num_samples


def test_without_a_table_every_frame_counts(tmp_path: Path) -> None:
    write(tmp_path / "a.mp3", mode="CONSTANT")
    content = (tmp_path / "a.mp3").read_bytes()
    table_frame = content.index(b"\xff\xf3", 4)  # the second header
    (tmp_path / "a.mp3").write_bytes(content[table_frame:])
    info = inspect_audio(tmp_path / "a.mp3")
    assert info.num_samples % 576 == 0
    assert len(read_audio(tmp_path / "a.mp3")) == info.num_samples


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: b[:-1], "is truncated"),
        (lambda b: b[: len(b) // 3], "is truncated"),
        (lambda b: b[:5000] + b[5100:], "is damaged: found no frame at byte"),
        (lambda b: b[:5000] + bytes(300) + b[5300:], "is damaged: found no frame at byte"),
        (lambda b: b + b"more", "is damaged: found no frame at byte"),
        (lambda b: b[: b.index(b"\xff\xf3", 4)] + b[b.index(b"\xff\xf3", 700) :], "frames, as its first one says"),
        (lambda b: ID3, "holds no samples"),
        (lambda b: b"", "is empty"),
        (lambda b: b"\xff\xfb\xf0\0" + b, "is not MP3 audio"),
        (lambda b: b"RIFF" + b, "is not MP3 audio"),
    ],
)
def test_damage_is_found_and_named(damage: Callable[[bytes], bytes], words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    write(path, mode="CONSTANT")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=words) as caught:
        inspect_audio(path)
    assert str(caught.value).startswith(f"{path}: ")
