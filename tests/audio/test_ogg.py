"""Ogg files whose pages, packets and announced end disagree are refused; what encoders write is read to its end."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from ham.audio import ogg
from ham.audio.decoding import AudioInfo
from tests.data.broken import RATE, accepted, noise, refused


def encoded(num_samples: int = 3 * RATE, subtype: str = "VORBIS", rate: int = RATE, seed: int = 0) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, noise(num_samples, seed), rate, format="OGG", subtype=subtype)
    return file.getvalue()


def pages(content: bytes) -> list[bytearray]:
    """The pages one by one, by the lengths of their segments."""
    found, start = [], 0
    while start < len(content):
        count = content[start + 26]
        end = start + 27 + count + sum(content[start + 27 : start + 27 + count])
        found.append(bytearray(content[start:end]))
        start = end
    return found


def naive_checksum(page: bytes) -> int:
    """Bit by bit, from the polynomial."""
    crc = 0
    for byte in page[:22] + bytes(4) + page[26:]:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1) ^ (0x104C11DB7 if crc & 0x80000000 else 0)
    return crc


def signed(page: bytes | bytearray, **fields: int) -> bytes:
    """A page with other fields and a checksum that fits."""
    page = bytearray(page)
    for name, (form, place) in {
        "flags": ("B", 5),
        "granule": ("<Q", 6),
        "serial": ("<I", 14),
        "number": ("<I", 18),
    }.items():
        if name in fields:
            struct.pack_into(form, page, place, fields[name])
    struct.pack_into("<I", page, 22, naive_checksum(bytes(page)))
    return bytes(page)


def granule(page: bytes | bytearray) -> int:
    return int(struct.unpack_from("<Q", page, 6)[0])


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8, 1.5, 100.0])
@pytest.mark.parametrize("num_samples", [5 * 1600, 3 * RATE])
def test_another_end_than_that_of_the_packets_is_refused_with_both(
    subtype: str, share: float, num_samples: int, tmp_path: Path
) -> None:
    parts = pages(encoded(num_samples, subtype))
    parts[-1] = signed(parts[-1], granule=int(share * granule(parts[-1])))
    said = refused(tmp_path / "a.ogg", b"".join(parts))
    assert "samples, as its last page says, found packets of" in said


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
def test_what_libsndfile_writes_is_accepted(subtype: str, rate: int, tmp_path: Path) -> None:
    for num_samples in (rate // 10, rate // 10 + 1, 7777, 16000, 47_113):
        content = encoded(num_samples, subtype, rate)
        assert accepted(tmp_path / "a.ogg", content) == AudioInfo(num_samples, rate, 1)


@pytest.mark.parametrize(("codec", "form", "num_channels"), [("libopus", "flt", 1), ("vorbis", "fltp", 2)])
@pytest.mark.parametrize("num_samples", [4801, 48000, 200_000])
def test_what_ffmpeg_writes_is_accepted(
    codec: str, form: str, num_channels: int, num_samples: int, tmp_path: Path
) -> None:
    path, layout = tmp_path / "a.ogg", "stereo" if num_channels == 2 else "mono"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48000, layout=layout)
        stream.codec_context.options = {"strict": "-2"}
        samples = np.stack([noise(num_samples, seed) for seed in range(num_channels)])
        frame = av.AudioFrame.from_ndarray(samples, format=form, layout=layout)
        frame.sample_rate, frame.pts = 48000, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    assert 0 <= accepted(path).num_samples - num_samples < 128  # FFmpeg's Vorbis fills its last block


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_stream_that_begins_later_is_as_long_as_its_packets(subtype: str, tmp_path: Path) -> None:
    parts = pages(encoded(3 * RATE, subtype))
    later = [signed(page, granule=granule(page) + 480_000) if granule(page) else page for page in parts]
    assert accepted(tmp_path / "a.ogg", b"".join(later)).num_samples == 3 * RATE


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_chained_and_multiplexed_streams_are_refused(subtype: str, tmp_path: Path) -> None:
    first, second = encoded(RATE, subtype, seed=1), encoded(RATE, subtype, seed=2)
    said = refused(tmp_path / "a.ogg", first + second)
    assert f"expected {len(first)} bytes, up to the end of its stream, found {len(first) + len(second)}" in said
    one, other = ([signed(page, serial=serial) for page in pages(c)] for serial, c in ((1, first), (2, second)))
    mixed = b"".join(page for pair in zip(one, other, strict=False) for page in pair)
    assert "expected one stream, found another" in refused(tmp_path / "a.ogg", mixed)


@pytest.mark.parametrize("behind", [b"\0", b"junk" * 50, b"TAG" + bytes(125), b"OggS"])
def test_what_is_appended_is_refused(behind: bytes, tmp_path: Path) -> None:
    content = encoded(RATE)
    assert f"expected {len(content)} bytes" in refused(tmp_path / "a.ogg", content + behind)


def test_a_missing_page_is_refused(tmp_path: Path) -> None:
    parts = pages(encoded(10 * RATE))
    for number in range(1, len(parts) - 1):
        said = refused(tmp_path / "a.ogg", b"".join(parts[:number] + parts[number + 1 :]))
        assert f"expected page {number} " in said


def test_pages_that_were_numbered_anew_do_not_hide_a_gap(tmp_path: Path) -> None:
    parts = pages(encoded(10 * RATE))
    middle = len(parts) // 2
    kept = parts[:middle] + parts[middle + 1 :]
    content = b"".join(signed(page, number=number) for number, page in enumerate(kept))
    assert "as its last page says, found packets of" in refused(tmp_path / "a.ogg", content)


@pytest.mark.parametrize("cut", ["last", "half", "byte"])
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_truncation_is_refused(cut: str, subtype: str, tmp_path: Path) -> None:
    parts = pages(encoded(10 * RATE, subtype))
    whole = b"".join(parts)
    content = {"last": b"".join(parts[:-1]), "half": whole[: len(whole) // 2], "byte": whole[:-1]}[cut]
    assert "is truncated: expected a page that ends the stream" in refused(tmp_path / "a.ogg", content)


def test_every_flipped_byte_of_a_page_is_found(tmp_path: Path) -> None:
    parts = pages(encoded(RATE))
    for place in range(0, len(parts[-1]), 37):
        page = bytearray(parts[-1])
        page[place] ^= 4
        refused(tmp_path / "a.ogg", b"".join([*parts[:-1], page]))


def test_other_codecs_in_ogg_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ogg"
    with av.open(str(path), "w", format="ogg") as container:
        stream = container.add_stream("flac", rate=RATE, layout="mono")
        samples = (noise() * 32768).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts = RATE, 0
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    assert "expected Vorbis or Opus in Ogg" in refused(path)
    assert "expected Vorbis or Opus in Ogg" in refused(path, signed(pages(encoded())[0], flags=6))


def test_the_checksum_is_that_of_the_bitwise_rule() -> None:
    for page in pages(encoded(RATE)):
        assert ogg.page_checksum(bytes(page)) == naive_checksum(bytes(page)) == struct.unpack_from("<I", page, 22)[0]
