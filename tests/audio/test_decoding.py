"""Decoding against the written samples; every kind of damage must be found and named."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from numpy.typing import NDArray

from ham.audio.decoding import AudioInfo, inspect_audio, inspect_files, inspect_header, read_audio
from ham.errors import DataError

RATE = 16000


def noise(num_samples: int = RATE, seed: int = 0, level: float = 0.1) -> NDArray[np.float32]:
    return (level * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


@pytest.fixture(params=["a.wav", "a.flac", "a.ogg", "A.WAV"])
def good(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / request.param
    soundfile.write(path, noise(), RATE)
    return path


def problem(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        inspect_audio(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change(path: Path, start: int, content: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[start : start + len(content)] = content
    path.write_bytes(data)


def test_samples_are_those_written(tmp_path: Path) -> None:
    waveform = noise()
    for name in ("a.wav", "a.flac"):
        soundfile.write(tmp_path / name, waveform, RATE, subtype="PCM_16")
        read = read_audio(tmp_path / name)
        assert (read.dtype, read.shape) == (np.float32, waveform.shape)
        np.testing.assert_allclose(read, waveform, atol=1.01 / 32768)
    soundfile.write(tmp_path / "f.wav", waveform, RATE, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(tmp_path / "f.wav"), waveform)


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = noise(seed=1), noise(seed=2)
    soundfile.write(tmp_path / "s.wav", np.stack([left, right], axis=1), RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(tmp_path / "s.wav"), (left + right) / 2, atol=1e-7)
    assert inspect_audio(tmp_path / "s.wav") == AudioInfo(RATE, RATE, 2)


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_other_rates_are_converted_as_torchaudio_does(rate: int, tmp_path: Path) -> None:
    waveform = noise(rate)
    soundfile.write(tmp_path / "r.wav", waveform, rate, subtype="FLOAT")
    expected = torchaudio.functional.resample(torch.from_numpy(waveform), rate, RATE)
    read = read_audio(tmp_path / "r.wav", RATE)
    assert len(read) == RATE
    np.testing.assert_allclose(read, expected.numpy(), atol=1e-7)
    assert inspect_audio(tmp_path / "r.wav").duration_s == 1.0


def test_a_tone_keeps_its_pitch_and_level(tmp_path: Path) -> None:
    times = np.arange(48000) / 48000
    soundfile.write(tmp_path / "t.wav", 0.5 * np.sin(2 * np.pi * 1000 * times), 48000)
    read = read_audio(tmp_path / "t.wav")[2000:-2000]
    spectrum = np.abs(np.fft.rfft(read * np.hanning(len(read))))
    assert np.argmax(spectrum) * RATE / len(read) == pytest.approx(1000, abs=2)
    assert np.abs(read).max() == pytest.approx(0.5, rel=0.01)


def test_samples_beyond_full_scale_are_clipped(tmp_path: Path) -> None:
    waveform = noise(level=0.5)
    soundfile.write(tmp_path / "loud.wav", waveform, RATE, subtype="FLOAT")
    np.testing.assert_array_equal(read_audio(tmp_path / "loud.wav"), np.clip(waveform, -1, 1))


def test_long_files_are_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ham.audio.decoding.BLOCK_SAMPLES", 999)
    for num_samples in (998 * 2, 999 * 2, 1999):
        waveform = noise(num_samples)
        soundfile.write(tmp_path / "a.wav", waveform, RATE, subtype="FLOAT")
        np.testing.assert_array_equal(read_audio(tmp_path / "a.wav"), waveform)
        assert inspect_audio(tmp_path / "a.wav").num_samples == num_samples


def test_a_good_file_is_described(good: Path) -> None:
    assert inspect_audio(good) == AudioInfo(num_samples=RATE, sample_rate=RATE, num_channels=1)
    assert len(read_audio(good)) == RATE


@pytest.mark.parametrize("part", [0.99, 0.6, 0.2, 0.01])
def test_truncation_is_found(good: Path, part: float) -> None:
    content = good.read_bytes()
    good.write_bytes(content[: int(part * len(content))])
    assert any(word in problem(good) for word in ("truncated", "decoded", "damaged"))
    with pytest.raises(DataError):
        read_audio(good)


def test_one_missing_byte_is_found(good: Path) -> None:
    good.write_bytes(good.read_bytes()[:-1])
    problem(good)


def test_damage_inside_is_found(tmp_path: Path) -> None:
    for name in ("a.flac", "a.ogg"):
        soundfile.write(tmp_path / name, noise(3 * RATE), RATE)
        middle = (tmp_path / name).stat().st_size // 2
        change(tmp_path / name, middle, bytes(200))
        problem(tmp_path / name)


@pytest.mark.parametrize(
    ("riff", "data"), [(0, 0), (0xFFFFFFFF, 0xFFFFFFFF), (0x7FFFFFFF, 0x7FFFFFDB), (36, 0), (0, 0xFFFFFFFF)]
)
def test_headers_of_streaming_writers_are_legitimate(riff: int, data: int, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(), RATE, subtype="PCM_16")
    whole = read_audio(path)
    change(path, 4, struct.pack("<I", riff))
    change(path, 40, struct.pack("<I", data))
    np.testing.assert_array_equal(read_audio(path), whole)
    assert inspect_audio(path).num_samples == RATE


def test_chunks_around_the_samples_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(), RATE, subtype="PCM_16")
    content = path.read_bytes()
    odd = b"note" + struct.pack("<I", 3) + b"abc\0"
    content = content[:36] + odd + content[36:] + b"LIST" + struct.pack("<I", 4) + b"INFO"
    path.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])
    assert inspect_audio(path).num_samples == RATE
    path.write_bytes(content[: len(content) // 2])
    assert "truncated" in problem(path)


def test_an_empty_data_chunk_before_others_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(0), RATE)
    content = path.read_bytes() + b"LIST" + struct.pack("<I", 400) + b"INFO" + bytes(396)
    path.write_bytes(content[:4] + struct.pack("<I", len(content) - 8) + content[8:])
    assert "no samples" in problem(path)


@pytest.mark.parametrize(
    ("waveform", "words"),
    [
        (np.zeros(RATE), "silent"),
        (np.full(RATE, 0.25), "silent"),
        (noise() * 1e-4, "silent"),
        (np.where(np.arange(RATE) == 7, np.nan, noise()), "not a number"),
        (np.where(np.arange(RATE) == 7, np.inf, noise()), "infinite"),
        (noise(1599), "at least 0.1 s, found 0.100 s"),
        (noise(0), "no samples"),
        (noise() * 32768, "divide by 32768"),
        (np.stack([noise(), -noise()], axis=1), "silent once its 2 channels are averaged"),
    ],
)
def test_content_that_is_no_speech_is_found(waveform: NDArray[np.float32], words: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", waveform, RATE, subtype="FLOAT")
    assert words in problem(tmp_path / "a.wav")


def test_quiet_and_short_but_good_files_pass(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(1600, level=1e-3), RATE, subtype="FLOAT")
    assert inspect_audio(tmp_path / "a.wav").duration_s == 0.1


def test_files_that_are_not_audio_are_named(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("hello world\n" * 100)
    (tmp_path / "nothing.flac").touch()
    (tmp_path / "folder.ogg").mkdir()
    (tmp_path / "link.wav").symlink_to(tmp_path / "gone.wav")
    assert "is not audio" in problem(tmp_path / "text.wav")
    assert "0 bytes" in problem(tmp_path / "nothing.flac")
    assert "directory" in problem(tmp_path / "folder.ogg")
    assert f"link points to {tmp_path}/gone.wav" in problem(tmp_path / "link.wav")
    assert "No such file" in problem(tmp_path / "missing.wav")
    with pytest.raises(DataError, match="No such file"):
        read_audio(tmp_path / "missing.wav")


@pytest.mark.parametrize("name", ["a.aac", "a.opus", "a", "a.txt"])
def test_other_formats_get_the_command_that_converts(name: str, tmp_path: Path) -> None:
    assert "ffmpeg -i" in problem(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_forbidden_file_is_named(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(), RATE)
    (tmp_path / "a.wav").chmod(0)
    assert "permission" in problem(tmp_path / "a.wav")


def test_a_flac_of_unknown_length_is_refused_with_the_cure(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(), RATE)
    header = path.read_bytes()[21]
    change(path, 21, bytes([header & 0xF0, 0, 0, 0, 0]))  # the 36 bits of STREAMINFO that count the samples
    assert "does not say how long" in problem(path)


@pytest.mark.parametrize("num_workers", [1, 3])
def test_many_files_come_back_in_order_with_their_errors(num_workers: int, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.wav" for number in range(150)]
    for number, path in enumerate(paths):
        if number % 7:
            soundfile.write(path, noise(1600 + number), RATE)
    found = list(inspect_files(paths, num_workers))
    assert [path for path, _ in found] == paths
    for number, (path, info) in enumerate(found):
        if number % 7:
            assert info == AudioInfo(1600 + number, RATE, 1)
        else:
            assert isinstance(info, DataError)
            assert str(path) in str(info)
    assert list(inspect_files([], num_workers)) == []


def other_rate(path: Path, rate: int) -> None:
    """Write another rate into the header of a file that ``soundfile`` has made."""
    content = bytearray(path.read_bytes())
    if path.suffix == ".wav":
        struct.pack_into("<II", content, 24, rate, 2 * rate)
    else:  # the 20 bits of STREAMINFO
        content[18:21] = (rate << 4 | content[20] & 15).to_bytes(3, "big")
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
@pytest.mark.parametrize("rate", [1, 100, 3999])
def test_a_rate_below_that_of_any_recorder_is_refused(name: str, rate: int, tmp_path: Path) -> None:
    soundfile.write(tmp_path / name, noise(), RATE, subtype="PCM_16")
    other_rate(tmp_path / name, rate)
    for look in (inspect_audio, inspect_header, read_audio):
        with pytest.raises(DataError, match=f"expected a sample rate of 4,000 to 768,000 Hz, found {rate:,} Hz"):
            look(tmp_path / name)


@pytest.mark.parametrize(("rate", "is_good"), [(4000, True), (768_000, True), (768_001, False), (2_000_000, False)])
def test_the_range_of_rates(rate: int, is_good: bool, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(100_000), RATE, subtype="PCM_16")
    other_rate(tmp_path / "a.wav", rate)
    if is_good:
        assert inspect_header(tmp_path / "a.wav") == inspect_audio(tmp_path / "a.wav") == AudioInfo(100_000, rate, 1)
    else:
        assert f"found {rate:,} Hz" in problem(tmp_path / "a.wav")


def make_socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)  # the names of sockets are short
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


KINDS: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a directory": os.mkdir,
    "a socket": make_socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".m4a", ".WAV"])
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_before_it_is_opened(kind: str, linked: bool, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    KINDS[kind](path)
    if linked:
        path = tmp_path / f"link{suffix}"
        path.symlink_to(f"a{suffix}")
    for look in (inspect_audio, inspect_header, read_audio):
        with pytest.raises(DataError, match=f"expected a file, found {kind}; remove or rename it"):
            look(path)


def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.wav").symlink_to("b.wav")
    (tmp_path / "b.wav").symlink_to("a.wav")
    assert "mend it or remove it" in problem(tmp_path / "a.wav")


def test_a_flipped_bit_of_a_coded_frame_is_found_by_decoding(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", noise(3 * RATE), RATE)
    for place in range(200, (tmp_path / "a.flac").stat().st_size - 10_000, 7_001):
        content = bytearray((tmp_path / "a.flac").read_bytes())
        content[place] ^= 1
        (tmp_path / "b.flac").write_bytes(content)
        assert "copy it again" in problem(tmp_path / "b.flac")
