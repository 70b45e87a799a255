"""Decoding against the encoded samples: length, alignment, level; every kind of damage must be found and named."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np
import pytest
import torch
import torchaudio
from numpy.typing import NDArray

from ham.audio.decoding import AudioInfo, inspect_audio, inspect_files, inspect_header, read_audio
from ham.audio.m4a import open_m4a
from ham.errors import DataError
from tests.packed import m4a, speech

FRAME = 1024


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def shift(source: NDArray[np.float32], decoded: NDArray[np.float32]) -> int:
    """Samples by which the decoded waveform comes late, by the best correlation."""
    size = 1 << 15
    spectrum = np.fft.rfft(decoded, size) * np.conj(np.fft.rfft(source, size))
    lag = int(np.argmax(np.fft.irfft(spectrum)))
    return lag - size if lag > size // 2 else lag


def problem(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_audio(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError):
        inspect_audio(path)
    return str(caught.value)


@pytest.mark.parametrize("num_samples", [1600, 16000, 16384, 12345])
def test_what_was_encoded_comes_back_in_its_place(num_samples: int, tmp_path: Path) -> None:
    source = speech(num_samples)
    decoded = read_audio(written(tmp_path / "a.m4a", m4a(source)))
    assert decoded.dtype == np.float32
    assert num_samples <= len(decoded) < num_samples + FRAME
    assert shift(source, decoded) == 0
    error = decoded[:num_samples] - source
    assert np.sqrt(np.mean(error**2)) < 0.1 * np.sqrt(np.mean(source**2))
    assert np.abs(decoded[num_samples + 64 :]).max(initial=0) < 0.1


def test_the_edit_list_is_followed_to_the_sample(tmp_path: Path) -> None:
    source, content = speech(), bytearray(m4a(speech()))
    place = content.index(b"elst") + 16
    assert struct.unpack_from(">i", content, place) == (FRAME,)
    for start in (2112, 1500, 500):
        struct.pack_into(">i", content, place, start)
        decoded = read_audio(written(tmp_path / "a.m4a", bytes(content)))
        assert shift(source, decoded) == FRAME - start


def test_without_an_edit_list_the_first_frame_stays(tmp_path: Path) -> None:
    source = speech()
    decoded = read_audio(written(tmp_path / "a.m4a", m4a(source, first=None)))
    assert (len(decoded), shift(source, decoded)) == (17 * FRAME, FRAME)


def test_other_rates_and_channels_are_converted(tmp_path: Path) -> None:
    left, right = speech(44100, seed=1), speech(44100, seed=2)
    path = written(tmp_path / "a.M4A", m4a(np.stack([left, right]), rate=44100))
    expected = torchaudio.functional.resample(torch.from_numpy((left + right) / 2), 44100, 16000).numpy()
    decoded = read_audio(path)
    assert shift(expected, decoded) == 0
    error = decoded[: len(expected)] - expected
    assert np.sqrt(np.mean(error**2)) < 0.2 * np.sqrt(np.mean(expected**2))
    info = inspect_audio(path)
    assert (info.sample_rate, info.num_channels) == (44100, 2)


def test_lossless_files_are_exact(tmp_path: Path) -> None:
    source = np.rint(speech() * 32768) / np.float32(32768)
    decoded = read_audio(written(tmp_path / "a.m4a", m4a(source, codec="alac")))
    np.testing.assert_allclose(decoded, source, atol=1e-6)


def test_long_files_come_in_blocks(tmp_path: Path) -> None:
    path = written(tmp_path / "a.m4a", m4a(speech(400_000)))
    with open_m4a(path) as samples:
        assert (samples.sample_rate, samples.num_channels, samples.num_samples) == (16000, 1, None)
        blocks = list(samples.blocks)
    assert len(blocks) > 2
    np.testing.assert_array_equal(np.concatenate(blocks)[:, 0], read_audio(path))


def test_the_inspections_count_the_samples_that_are_read(tmp_path: Path) -> None:
    path = written(tmp_path / "a.m4a", m4a(speech(12345)))
    info = AudioInfo(len(read_audio(path)), 16000, 1)
    assert inspect_audio(path) == inspect_header(path) == info
    assert list(inspect_files([path] * 3)) == [(path, info)] * 3


@pytest.mark.parametrize("options", [{}, {"movflags": "faststart"}])
@pytest.mark.parametrize("part", [0.999, 0.9, 0.5, 0.1, 0.001])
def test_truncation_is_found(part: float, options: dict[str, str], tmp_path: Path) -> None:
    content = m4a(speech(), **options)
    assert "is truncated" in problem(written(tmp_path / "a.m4a", content[: int(part * len(content))]))


def test_damage_inside_is_found(tmp_path: Path) -> None:
    content = bytearray(m4a(speech(40000)))
    middle = content.index(b"mdat") + 5000
    content[middle : middle + 300] = bytes(300)
    assert "cannot be decoded beyond sample" in problem(written(tmp_path / "a.m4a", bytes(content)))


def test_fewer_frames_than_announced_are_found(tmp_path: Path) -> None:
    content = bytearray(m4a(speech(40000)))
    place = content.index(b"stsz") + 12
    (number,) = struct.unpack_from(">I", content, place)
    struct.pack_into(">I", content, place, number // 2)
    problem(written(tmp_path / "a.m4a", bytes(content)))


def patched(content: bytes, box: bytes, place: int, form: str, change: float) -> bytes:
    """The same file with a number of a box multiplied."""
    changed = bytearray(content)
    where = content.index(box) + 4 + place
    (value,) = struct.unpack_from(form, changed, where)
    struct.pack_into(form, changed, where, int(value * change))
    return bytes(changed)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8, 1.3, 2.0])
@pytest.mark.parametrize(
    ("box", "place", "words"),
    [
        (b"mdhd", 16, "its header says"),
        (b"stts", 12, "its header says"),
        (b"stts", 8, "found the sizes of"),
        (b"stsz", 8, "found the sizes of"),
        (b"elst", 8, "its edit list says"),
    ],
)
def test_tables_that_contradict_each_other_are_refused(
    box: bytes, place: int, words: str, share: float, tmp_path: Path
) -> None:
    assert words in problem(written(tmp_path / "a.m4a", patched(m4a(speech(80_000)), box, place, ">I", share)))


def test_an_edit_list_that_begins_in_the_middle_hides_speech(tmp_path: Path) -> None:
    content = patched(m4a(speech(80_000)), b"elst", 12, ">i", 40)
    assert "is damaged: expected" in problem(written(tmp_path / "a.m4a", content))


def test_both_sizes_are_said(tmp_path: Path) -> None:
    said = problem(written(tmp_path / "a.m4a", patched(m4a(speech(80_000)), b"elst", 8, ">I", 0.5)))
    assert "expected 2.500 s, as its edit list says, found frames of 5.0" in said


@pytest.mark.parametrize("movflags", ["frag_keyframe+empty_moov", "frag_every_frame+empty_moov"])
def test_fragments_get_the_command_that_joins_them(movflags: str, tmp_path: Path) -> None:
    assert "is in fragments" in problem(written(tmp_path / "a.m4a", m4a(speech(), movflags=movflags)))


def test_a_second_track_of_sound_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.m4a"
    with av.open(str(path), "w", format="ipod") as container:
        for stream in [container.add_stream("aac", rate=16000, layout="mono") for _ in range(2)]:
            frame = av.AudioFrame.from_ndarray(speech()[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, 0
            for packet in (*stream.encode(frame), *stream.encode(None)):
                container.mux(packet)
    assert "expected one track of sound, found 2" in problem(path)


@pytest.mark.parametrize(
    "box", [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts", b"stsz", b"mdhd", b"mvhd", b"hdlr"]
)
def test_a_table_that_is_missing_is_refused(box: bytes, tmp_path: Path) -> None:
    content = m4a(speech()).replace(box, b"free", 1)
    assert "copy it again" in problem(written(tmp_path / "a.m4a", content))


@pytest.mark.parametrize("box", [b"trak", b"mdia", b"stbl", b"stts"])
@pytest.mark.parametrize("length", [0, 1, 2, 7, 0xFFFFFFFF])
def test_boxes_of_impossible_sizes_are_refused(box: bytes, length: int, tmp_path: Path) -> None:
    content = bytearray(m4a(speech()))
    struct.pack_into(">I", content, content.index(box) - 4, length)
    path = written(tmp_path / "a.m4a", bytes(content))
    assert outcome(path) in ("all of it", "refused")


def outcome(path: Path) -> str:
    try:
        return "all of it" if len(read_audio(path)) == 16384 else "a part of it"
    except DataError:
        return "refused"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "0 bytes"),
        (b"hello world\n" * 50, "is not M4A audio"),
        (b"RIFF\x24\0\0\0WAVEfmt " + bytes(100), "is not M4A audio"),
        (b"\0\0\0\x10ftypM4A \0\0\0\0", "is not M4A audio"),
        (b"\0\0\0\x02ftypM4A ", "is truncated"),
    ],
)
def test_files_that_are_not_m4a_are_named(content: bytes, words: str, tmp_path: Path) -> None:
    assert words in problem(written(tmp_path / "a.m4a", content))


def test_a_play_list_opens_no_other_file(tmp_path: Path) -> None:
    other = written(tmp_path / "other.m4a", m4a(speech()))
    path = written(tmp_path / "a.m4a", f"#EXTM3U\n#EXTINF:1,\n{other}\n#EXT-X-ENDLIST\n".encode())
    assert "is not M4A audio" in problem(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_audio(tmp_path / "a.m4a")
    (tmp_path / "b.m4a").mkdir()
    with pytest.raises(DataError, match="directory"):
        read_audio(tmp_path / "b.m4a")


def test_a_file_without_sound_is_named(tmp_path: Path) -> None:
    silent = written(tmp_path / "a.m4a", m4a(np.zeros(16000, np.float32)))
    with pytest.raises(DataError, match="silent"):
        inspect_audio(silent)


def test_odd_names_are_no_addresses(tmp_path: Path) -> None:
    folder = tmp_path / "http:"
    folder.mkdir()
    path = written(folder / "a b%20ü.m4a", m4a(speech()))
    assert len(read_audio(path)) == 16384
