"""WAV files whose header and content disagree are refused with both sizes; what is legitimate is read to its end."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ham.audio.decoding import AudioInfo, read_audio
from tests.data.broken import RATE, accepted, noise, refused

STREAMED = (0, 0xFFFFFFFF, 0xFFFFFFDB, 0x7FFFFFFF, 0x7FFFF000, 0x80000000)


def chunk(name: bytes, content: bytes, length: int | None = None, padding: bool = True) -> bytes:
    return (
        name
        + struct.pack("<I", len(content) if length is None else length)
        + content
        + b"\0" * (padding and len(content) % 2)
    )


def pcm(num_samples: int = RATE, seed: int = 0) -> bytes:
    return (noise(num_samples, seed) * 32768).astype("<i2").tobytes()


def fmt(tag: int = 1, channels: int = 1, rate: int = RATE, bits: int = 16, block: int | None = None) -> bytes:
    block = channels * bits // 8 if block is None else block
    return struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits)


def wav(*chunks: bytes, size: int | None = None, form: bytes = b"RIFF") -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return form + struct.pack("<I", len(body) if size is None else size) + body


def made(samples: bytes, length: int | None = None, *, before: bytes = b"", behind: bytes = b"", **head: int) -> bytes:
    return wav(chunk(b"fmt ", fmt(**head)), before, chunk(b"data", samples, length), behind)


@pytest.mark.parametrize("part", [2, RATE, 2 * RATE - 2])
@pytest.mark.parametrize("riff", ["true", "matching"])
def test_a_size_smaller_than_the_samples_is_refused_with_both(part: int, riff: str, tmp_path: Path) -> None:
    content = made(pcm(), part)
    if riff == "matching":  # as if the file ended where the header says
        content = content[:4] + struct.pack("<I", 36 + part) + content[8:]
    said = refused(tmp_path / "a.wav", content)
    assert f"expected {part} bytes of samples, as its header says, found {2 * RATE}" in said


def test_a_size_that_wrapped_at_4_gib_is_refused(tmp_path: Path) -> None:
    path, held = tmp_path / "a.wav", (1 << 32) + 2 * RATE
    path.write_bytes(made(b"", held & 0xFFFFFFFF))
    with path.open("r+b") as stream:
        stream.truncate(44 + held)  # sparse
    assert f"expected {2 * RATE} bytes of samples, as its header says, found {held}" in refused(path)


@pytest.mark.parametrize("length", [2 * RATE + 2, 3 * RATE, 0x7FFFEFFE, 0xC0000000])
def test_a_size_beyond_the_file_is_truncation(length: int, tmp_path: Path) -> None:
    said = refused(tmp_path / "a.wav", made(pcm(), length))
    assert f"is truncated: expected {length} bytes of samples, found {2 * RATE}" in said


@pytest.mark.parametrize("riff", [0, 36, 0xFFFFFFFF, None])
@pytest.mark.parametrize("length", STREAMED)
def test_sizes_that_a_writer_in_a_pipe_left_open_are_read_to_the_end(
    length: int, riff: int | None, tmp_path: Path
) -> None:
    path, samples = tmp_path / "a.wav", pcm()
    size = 36 + len(samples) if riff is None else riff
    listed = chunk(b"LIST", b"INFOISFT\x0e\0\0\0Lavf61.7.100\0\0")
    content = wav(chunk(b"fmt ", fmt()), listed, chunk(b"data", samples, length), size=size)
    assert accepted(path, content) == AudioInfo(RATE, RATE, 1)
    np.testing.assert_array_equal(read_audio(path) * 32768, np.frombuffer(samples, "<i2"))


def test_silence_behind_an_open_size_is_samples_and_no_chunks(tmp_path: Path) -> None:
    samples = bytes(800) + pcm()
    assert accepted(tmp_path / "a.wav", made(samples, 0)).num_samples == RATE + 400


@pytest.mark.parametrize("length", STREAMED[1:])
def test_an_open_size_ends_with_a_whole_sample(length: int, tmp_path: Path) -> None:
    said = refused(tmp_path / "a.wav", made(pcm() + b"\1", length)[:-1])
    assert f"expected a multiple of 2 bytes, found {2 * RATE + 1}" in said


@pytest.mark.parametrize(
    "behind",
    [
        chunk(b"LIST", b"INFOICMT\4\0\0\0abcd"),
        chunk(b"id3 ", b"abc"),
        chunk(b"id3 ", b"abc", padding=False),
        chunk(b"cue ", bytes(28)) + chunk(b"smpl", bytes(36)) + chunk(b"bext", b""),
    ],
)
@pytest.mark.parametrize("size", [None, 0, 36 + 2 * RATE])
def test_chunks_behind_the_samples_are_no_samples(behind: bytes, size: int | None, tmp_path: Path) -> None:
    content = wav(chunk(b"fmt ", fmt()), chunk(b"data", pcm()), behind, size=size)
    assert accepted(tmp_path / "a.wav", content) == AudioInfo(RATE, RATE, 1)


@pytest.mark.parametrize(
    "behind",
    [
        b"\0",
        b"TAG" + bytes(125),
        b"\x01\x02\x03\x04\x08\0\0\0" + bytes(8),
        chunk(b"LIST", bytes(40), 400),
        chunk(b"LIST", bytes(40)) + b"junk",
        pcm(2000, seed=3),
        bytes(512),
    ],
)
def test_bytes_that_belong_to_no_chunk_are_refused(behind: bytes, tmp_path: Path) -> None:
    said = refused(tmp_path / "a.wav", made(pcm(), behind=behind))
    assert f"expected {2 * RATE} bytes of samples, as its header says, found {2 * RATE + len(behind)}" in said


def test_a_second_chunk_of_samples_is_refused(tmp_path: Path) -> None:
    said = refused(tmp_path / "a.wav", made(pcm(), behind=chunk(b"data", pcm(4000))))
    assert f"expected {2 * RATE} bytes of samples, as its header says, found {2 * RATE + 8008}" in said


@pytest.mark.parametrize("padding", [True, False])
@pytest.mark.parametrize("behind", [b"", chunk(b"LIST", b"INFO")])
def test_an_odd_number_of_bytes_may_lack_its_padding(padding: bool, behind: bytes, tmp_path: Path) -> None:
    samples = (noise(8001, level=20) + 128).astype(np.uint8).tobytes()
    content = wav(chunk(b"fmt ", fmt(bits=8)), chunk(b"data", samples, padding=padding), behind)
    assert accepted(tmp_path / "a.wav", content).num_samples == 8001


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ({"bits": 16, "block": 4}, "1 channels of 16 bits are 2 bytes, its header says 4"),
        ({"bits": 24, "block": 4}, "1 channels of 24 bits are 3 bytes, its header says 4"),
        ({"channels": 2, "block": 2}, "2 channels of 16 bits are 4 bytes, its header says 2"),
        ({"block": 0}, "its header says 0"),
        ({"channels": 0}, "0 channels of 16 bits are 0 bytes"),
        ({"bits": 0, "block": 0}, "1 channels of 0 bits are 0 bytes"),
        ({"tag": 0x55}, "found WAV of the kind 0x55, whose length cannot be checked"),
    ],
)
def test_a_format_that_contradicts_itself_is_refused(head: dict[str, int], words: str, tmp_path: Path) -> None:
    assert words in refused(tmp_path / "a.wav", made(pcm(), **head))


@pytest.mark.parametrize("length", [2 * RATE - 1, 2 * RATE - 3])
def test_half_a_sample_is_refused(length: int, tmp_path: Path) -> None:
    said = refused(tmp_path / "a.wav", made(pcm()[:length]))
    assert f"expected a multiple of 2 bytes, found {length}" in said


@pytest.mark.parametrize(
    ("count", "is_good"), [(RATE, True), (0, True), (0xFFFFFFFF, True), (RATE + 1, False), (9, False)]
)
def test_the_count_of_the_fact_chunk_must_be_that_of_the_samples(count: int, is_good: bool, tmp_path: Path) -> None:
    content = made(noise().tobytes(), before=chunk(b"fact", struct.pack("<I", count)), tag=3, bits=32)
    if is_good:
        assert accepted(tmp_path / "a.wav", content).num_samples == RATE
    else:
        assert f"expected {count} samples, as its header says, found {RATE}" in refused(tmp_path / "a.wav", content)


def test_some_writers_count_the_samples_of_all_channels(tmp_path: Path) -> None:
    count = chunk(b"fact", struct.pack("<I", RATE))
    content = made(noise().tobytes(), before=count, tag=3, bits=32, channels=2)
    assert accepted(tmp_path / "a.wav", content) == AudioInfo(RATE // 2, RATE, 2)


def rf64(samples: bytes, length: int, count: int = 0, field: int = 0xFFFFFFFF) -> bytes:
    wide = chunk(b"ds64", struct.pack("<QQQI", 0, length, count, 0))
    return wav(wide, chunk(b"fmt ", fmt()), chunk(b"data", samples, field), size=0xFFFFFFFF, form=b"RF64")


def test_the_wide_sizes_of_rf64_are_compared_too(tmp_path: Path) -> None:
    path, samples = tmp_path / "a.wav", pcm()
    assert accepted(path, rf64(samples, len(samples), RATE)) == AudioInfo(RATE, RATE, 1)
    assert "expected 16000 bytes of samples, as its header says, found 32000" in refused(path, rf64(samples, 16000))
    assert "truncated: expected 99998 bytes of samples, found 32000" in refused(path, rf64(samples, 99998))
    assert "expected 7 samples, as its header says, found 16000" in refused(path, rf64(samples, len(samples), 7))
    refused(path, rf64(samples, 0))  # nobody completed it


@pytest.mark.parametrize("form", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"])
@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("num_samples", [1600, 16001])
def test_what_libsndfile_writes_is_accepted(
    form: str, subtype: str, num_channels: int, num_samples: int, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([noise(num_samples)] * num_channels, 1), RATE, subtype, format=form)
    assert accepted(tmp_path / "a.wav") == AudioInfo(num_samples, RATE, num_channels)


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32"])
def test_kinds_whose_length_cannot_be_checked_get_the_command_that_converts(subtype: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", noise(8000), 8000, subtype)
    said = refused(tmp_path / "a.wav")
    assert "whose length cannot be checked" in said
    assert "`ffmpeg -i IN" in said


@pytest.mark.parametrize("form", ["AIFF", "W64", "CAF", "AU", "VOC", "MP3", "NIST", "PAF"])
def test_other_containers_under_the_name_of_one_are_refused(form: str, tmp_path: Path) -> None:
    content = io.BytesIO()
    soundfile.write(content, noise(), RATE, format=form)
    for name in ("a.wav", "a.flac", "a.ogg"):
        assert "is not audio of a kind that is read" in refused(tmp_path / name, content.getvalue())


@pytest.mark.parametrize(
    "content",
    [
        b"RIFF",
        b"RIFF\x24\0\0\0WAVE",
        b"RIFF\x24\0\0\0AVI LIST" + bytes(40),
        wav(chunk(b"data", pcm())),
        wav(chunk(b"fmt ", fmt()[:8]), chunk(b"data", pcm())),
        wav(chunk(b"fmt ", fmt())),
        wav(chunk(b"fmt ", fmt(), 0xFFFFFFF0), chunk(b"data", pcm())),
    ],
)
def test_headers_that_are_not_whole_are_refused(content: bytes, tmp_path: Path) -> None:
    refused(tmp_path / "a.wav", content)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    content = made(pcm(1700), behind=chunk(b"LIST", b"INFO" + bytes(20)))
    for size in (*range(1, 60), *range(60, len(content), 97), len(content) - 1):
        if size != 44 + 3400:  # all samples, and no chunk behind: whole
            refused(tmp_path / "a.wav", content[:size])
