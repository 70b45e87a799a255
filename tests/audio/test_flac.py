"""FLAC files whose header and frames disagree are refused with both numbers, without decoding."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from ham.audio import flac
from ham.audio.decoding import AudioInfo
from tests.data.broken import RATE, accepted, noise, refused


def encoded(num_samples: int = RATE, subtype: str = "PCM_16", rate: int = RATE, num_channels: int = 1) -> bytes:
    file = io.BytesIO()
    samples = np.stack([noise(num_samples, seed) for seed in range(num_channels)], 1)
    soundfile.write(file, samples, rate, format="FLAC", subtype=subtype)
    return file.getvalue()


def announcing(content: bytes, num_samples: int) -> bytes:
    """The same file with another number of samples, the last 36 bits before the MD5 of STREAMINFO."""
    field = int.from_bytes(content[18:26], "big") >> 36 << 36 | num_samples
    return content[:18] + field.to_bytes(8, "big") + content[26:]


@pytest.mark.parametrize("found", [1, 1600, RATE - 1, RATE + 1, 2 * RATE, (1 << 36) - 1])
def test_another_number_than_the_frames_hold_is_refused_with_both(found: int, tmp_path: Path) -> None:
    said = refused(tmp_path / "a.flac", announcing(encoded(), found))
    assert f"expected {found} samples, as its header says, found {RATE}" in said


def test_a_number_that_is_not_said_is_refused(tmp_path: Path) -> None:
    assert "does not say how long it is" in refused(tmp_path / "a.flac", announcing(encoded(), 0))


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000])
@pytest.mark.parametrize("num_channels", [1, 2])
def test_what_libsndfile_writes_is_accepted(subtype: str, rate: int, num_channels: int, tmp_path: Path) -> None:
    for num_samples in (rate // 10, 4096, 4097, 4096 * 5 - 1, 50_001):
        if num_samples >= rate // 10:
            content = encoded(num_samples, subtype, rate, num_channels)
            assert accepted(tmp_path / "a.flac", content) == AudioInfo(num_samples, rate, num_channels)


@pytest.mark.parametrize("num_samples", [1600, 16000, 140_000])
def test_what_ffmpeg_writes_is_accepted(num_samples: int, tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("flac", rate=RATE, layout="mono")
        samples = (noise(num_samples) * 32768).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    assert accepted(path).num_samples == num_samples


@pytest.mark.parametrize("behind", [b"\1", b"TAG" + bytes(125), b"\xff\xf8" * 40])
def test_what_is_appended_is_refused(behind: bytes, tmp_path: Path) -> None:
    said = refused(tmp_path / "a.flac", encoded() + behind)
    assert f"expected {RATE} samples and a frame that ends with the file" in said


def test_zeros_behind_the_last_frame_are_no_samples(tmp_path: Path) -> None:
    assert accepted(tmp_path / "a.flac", encoded() + bytes(3)).num_samples == RATE


def test_a_second_file_behind_the_first_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "a.flac", encoded() + encoded(9000))


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    content = encoded(9000)
    for size in (*range(1, 100, 7), *range(100, len(content), 997), len(content) - 1):
        refused(tmp_path / "a.flac", content[:size])


def test_a_file_without_its_begin_is_refused(tmp_path: Path) -> None:
    content = encoded(30_000)
    first = content.index(b"\xff\xf8")
    second = content.index(b"\xff\xf8", first + 4096)
    while content[second + 4] != 1:
        second = content.index(b"\xff\xf8", second + 1)
    assert "expected its first frame" in refused(tmp_path / "a.flac", content[:first] + content[second:])


def naive_crc(data: bytes, polynomial: int, width: int) -> int:
    crc = 0
    for byte in data:
        for bit in range(7, -1, -1):
            top = crc >> (width - 1) & 1 ^ byte >> bit & 1
            crc = (crc << 1 & (1 << width) - 1) ^ (polynomial if top else 0)
    return crc


@pytest.mark.parametrize("size", [0, 1, 2, 255, 256, 257, 511, 512, 5000])
def test_checksums_are_those_of_the_bitwise_rule(size: int) -> None:
    data = np.random.default_rng(size).bytes(size)
    assert flac._crc16(data) == naive_crc(data, 0x8005, 16)
    assert flac._crc8(data) == naive_crc(data, 0x07, 8)
