"""A check that a WAV file (RIFF or RF64) is whole: its header must announce the bytes that follow it.

libsndfile reads what the size of the data chunk covers and leaves the rest without a word, so that a size that is too
small cuts the speech: every WAV file above 4 GiB is one, since its 32-bit size wraps. Here every byte behind the
samples must belong to a chunk, and every other number of the header that counts samples must say the same.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ham.errors import DataError

_WIDE, _ALAW, _MULAW, _PCM, _FLOAT = 0xFFFE, 6, 7, 1, 3  # format tags; _WIDE: the tag stands in the extension
_UNKNOWN = (0, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF)  # counts that a writer in a pipe could not complete
_CURE = "write it again, or, if all of it is speech: `ffmpeg -ignore_length 1 -i IN -ac 1 -ar 16000 OUT.flac`"


@dataclass(frozen=True)
class _Header:
    """The chunks up to the samples: format, counts of samples for each channel, place and announced size."""

    tag: int
    num_channels: int
    block_bytes: int
    bits: int
    counts: tuple[int, ...]
    start: int
    length: int


def check_wav(path: Path, stream: BinaryIO, size: int) -> tuple[int, bytes | None]:
    """Refuse a file whose header and content disagree; complete a header that its writer could not complete.

    Sizes that mean "until the end of the file" (0, and just below 2 or 4 GiB: sox, ffmpeg, Kaldi in a pipe) are taken
    so. Chunks behind the samples are no samples.

    Args:
        path: the file.
        stream: its content.
        size: its number of bytes.

    Returns:
        The number of samples of each channel, and the completed content where the header announces 0 bytes.

    Raises:
        DataError: with both sizes.
    """
    header = _read_header(path, stream)
    held = size - header.start
    length = header.length
    if _is_open_end(length, held) or (length == 0 and held and not _are_chunks(stream, header.start, size)):
        length = held
    elif length > held:
        raise DataError(f"{path}: is truncated: expected {length} bytes of samples, found {held}; copy it again")
    elif not any(_are_chunks(stream, header.start + length + pad, size) for pad in {0, length % 2}):
        raise DataError(f"{path}: expected {length} bytes of samples, as its header says, found {held}; {_CURE}")
    num_samples = _num_samples(path, header, length)
    return num_samples, _completed(stream, header, length) if header.length == 0 and length else None


def _is_open_end(length: int, held: int) -> bool:
    """Whether a size means "until the end": sox and ffmpeg write the largest that they can, less some bytes."""
    return length > held and (0x7FFFF000 <= length <= 0x80000000 or 0xFFFFF000 <= length <= 0xFFFFFFFF)


def _read_header(path: Path, stream: BinaryIO) -> _Header:
    """Read the chunks up to the samples."""
    stream.seek(8)
    if stream.read(4) != b"WAVE":
        raise DataError(f"{path}: is not audio (RIFF, but no WAVE); remove or replace it")
    chunks = {b"fmt ": b"", b"fact": b"", b"ds64": b""}
    while len(head := stream.read(8)) == 8:
        name, length = struct.unpack("<4sI", head)
        if name == b"data":
            return _parse(path, chunks, stream.tell(), length)
        end = stream.tell() + length + length % 2
        if name in chunks:
            chunks[name] = stream.read(min(length, 40))
        stream.seek(end)
    raise DataError(f"{path}: is truncated or damaged: expected a chunk of samples, found none; copy it again")


def _parse(path: Path, chunks: dict[bytes, bytes], start: int, length: int) -> _Header:
    if len(chunks[b"fmt "]) < 16:
        raise DataError(f"{path}: is damaged: expected 16 bytes that say its format, found {len(chunks[b'fmt '])}")
    tag, num_channels, block_bytes, bits = struct.unpack("<HH8xHH", chunks[b"fmt "][:16])
    if tag == _WIDE:
        tag = int.from_bytes(chunks[b"fmt "][24:26], "little")
    _, data_size, count = struct.unpack("<3Q", chunks[b"ds64"][:24].ljust(24, b"\0"))
    counts = (*struct.unpack("<I", chunks[b"fact"][:4].ljust(4, b"\0")), count)
    if length == 0xFFFFFFFF and data_size:
        length = data_size
    return _Header(tag, num_channels, block_bytes, bits, counts, start, length)


def _are_chunks(stream: BinaryIO, start: int, size: int) -> bool:
    """Whether chunks other than ``data`` fill the file from ``start`` on; the last may lack its byte of padding."""
    while start + 8 <= size:
        stream.seek(start)
        name, length = struct.unpack("<4sI", stream.read(8))
        if name == b"data" or not all(0x20 <= letter < 0x7F for letter in name):
            return False
        start += 8 + length
        if start < size:
            start += length % 2
    return start == size


def _num_samples(path: Path, header: _Header, length: int) -> int:
    """The samples of each channel in ``length`` bytes, on which all counts of the header agree."""
    if header.tag not in (_PCM, _FLOAT, _ALAW, _MULAW):
        raise DataError(
            f"{path}: expected PCM, float, A-law or mu-law, found WAV of the kind {header.tag:#x}, whose length cannot "
            "be checked; convert it with `ffmpeg -i IN -ac 1 -ar 16000 OUT.flac`"
        )
    width = header.num_channels * -(-header.bits // 8)
    if header.block_bytes != width or not width:
        raise DataError(
            f"{path}: is damaged: {header.num_channels} channels of {header.bits} bits are {width} bytes, its header "
            f"says {header.block_bytes}; write it again"
        )
    num_samples, rest = divmod(length, width)
    if rest:
        raise DataError(f"{path}: ends within a sample: expected a multiple of {width} bytes, found {length}; {_CURE}")
    for count in header.counts:
        # Some writers count the samples of all channels.
        if count not in (*_UNKNOWN, num_samples, num_samples * header.num_channels):
            raise DataError(f"{path}: expected {count} samples, as its header says, found {num_samples}; {_CURE}")
    return num_samples


def _completed(stream: BinaryIO, header: _Header, length: int) -> bytes:
    """The whole content with the sizes that its writer left at 0."""
    stream.seek(0)
    content = bytearray(stream.read())
    struct.pack_into("<I", content, 4, min(len(content) - 8, 0xFFFFFFFF))
    struct.pack_into("<I", content, header.start - 4, min(length, 0xFFFFFFFF))
    return bytes(content)
