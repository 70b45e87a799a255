"""A check that a FLAC file is whole: its header's number of samples must be the one at which its last frame ends.

A decoder stops after as many samples as STREAMINFO announces, and a file that was cut shows it only when it is decoded.
The last frame of a whole file ends with the file, its checksum proves it, and its header says at which sample it
begins (RFC 9639, section 9.1): the two numbers are compared without decoding anything. Zeros behind the last frame
are no frame and change no checksum; they are accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ham.errors import DataError

_LARGEST_FRAME = 1 << 20  # bytes to search where the header does not say how large a frame can be
_ROW = 256  # bytes of a checksum that are taken at once


@dataclass(frozen=True)
class _StreamInfo:
    """What the header says: samples of a block and bytes of a frame, at most; samples in all, 0 if unknown."""

    block_samples: int
    frame_bytes: int
    num_samples: int


def check_flac(path: Path, stream: BinaryIO, start: int, size: int) -> int | None:
    """Compare the header's number of samples with the last frame's.

    Args:
        path: the file, for messages.
        stream: its content.
        start: the byte at which ``fLaC`` stands.
        size: number of bytes of the file.

    Returns:
        The number of samples on which header and frames agree; None where the header says none.

    Raises:
        DataError: with both numbers.
    """
    info, first = _read_metadata(path, stream, start)
    if info.num_samples == 0:
        return None
    stream.seek(first)
    head = stream.read(16)
    if _frame_end(head, 0, info) is None or head[4:5] != b"\0":
        raise DataError(f"{path}: is damaged: expected its first frame at byte {first}, found none; copy it again")
    last = min(size - first, info.frame_bytes or _LARGEST_FRAME)
    stream.seek(size - last)
    found = _last_sample(stream.read(last), info)
    if found is None:
        raise DataError(
            f"{path}: expected {info.num_samples} samples and a frame that ends with the file, found none in the last "
            f"{last} bytes: it is truncated, damaged, or something was appended; copy it again"
        )
    if found != info.num_samples:
        raise DataError(
            f"{path}: expected {info.num_samples} samples, as its header says, found {found}; write it again with "
            "`flac -d` and `flac`, or copy it again"
        )
    return found


def _read_metadata(path: Path, stream: BinaryIO, start: int) -> tuple[_StreamInfo, int]:
    """What STREAMINFO says, and where the first frame is."""
    stream.seek(start + 4)
    info = b""
    while len(head := stream.read(4)) == 4:
        end = stream.tell() + int.from_bytes(head[1:], "big")
        if not info:
            info = stream.read(18)
        stream.seek(end)
        if head[0] & 0x80:  # the last block of metadata
            break
    if len(info) < 18:
        raise DataError(f"{path}: is truncated: expected a header of 42 bytes, found fewer; copy it again")
    number = int.from_bytes(info[10:18], "big") & ((1 << 36) - 1)
    return _StreamInfo(int.from_bytes(info[2:4], "big"), int.from_bytes(info[7:10], "big"), number), stream.tell()


def _last_sample(tail: bytes, info: _StreamInfo) -> int | None:
    """The sample at which the frame that fills the end of ``tail`` ends, None if none does."""
    place = len(tail)
    while (place := tail.rfind(b"\xff", 0, place)) >= 0:
        end = _frame_end(tail, place, info)
        if end is not None and _crc16(tail[place:]) == 0:
            return end
    return None


def _frame_end(data: bytes, place: int, info: _StreamInfo) -> int | None:
    """The sample at which the frame at ``place`` ends, by its header; None if there is none, by its checksum."""
    head = data[place : place + 16]
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xFE != 0xF8 or head[2] >> 4 == 0 or head[3] & 1:
        return None
    ones = 8 - (head[4] ^ 0xFF).bit_length()  # the number is coded as UTF-8 codes a letter, in up to 7 bytes
    width = max(1, ones)
    number = head[4] & (0x7F >> ones)
    for byte in head[5 : 4 + width]:
        number = number << 6 | byte & 0x3F
    place = 4 + width
    size_code, rate_code = head[2] >> 4, head[2] & 15
    size_bytes, rate_bytes = {6: 1, 7: 2}.get(size_code, 0), {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    samples = int.from_bytes(head[place : place + size_bytes], "big") + 1
    if not size_bytes:
        samples = 192 if size_code == 1 else 576 << size_code - 2 if size_code < 6 else 256 << size_code - 8
    place += size_bytes + rate_bytes
    if _crc8(head[: place + 1]):
        return None
    is_variable = head[1] & 1
    return (number if is_variable else number * info.block_samples) + samples


def _crc8(data: bytes) -> int:
    """CRC-8 with the polynomial 0x07 from 0; it is 0 over data that ends with its own."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc << 1 ^ (0x107 if crc & 0x80 else 0)
    return crc


def _crc16(data: bytes) -> int:
    """CRC-16 with the polynomial 0x8005 from 0, a row of bytes at a time; 0 over data that ends with its own."""
    tables = _crc16_tables()
    padded = bytes(-len(data) % _ROW) + data  # zeros in front change nothing
    rows = np.frombuffer(padded, np.uint8).reshape(-1, _ROW)
    crc = 0
    for row in np.bitwise_xor.reduce(tables[np.arange(_ROW), rows], axis=1).tolist():
        crc = row ^ int(tables[0, crc >> 8]) ^ int(tables[1, crc & 0xFF])
    return crc


@cache
def _crc16_tables() -> NDArray[np.uint16]:
    """What a byte adds to the checksum, by its place in a row and its value, shape ``(256, 256)``."""
    single = np.arange(256, dtype=np.uint16) << 8
    for _ in range(8):
        single = single << 1 ^ np.where(single & 0x8000, 0x8005, 0).astype(np.uint16)
    places = [single]
    for _ in range(_ROW - 1):
        places.append(places[-1] << 8 ^ single[places[-1] >> 8])
    return np.stack(places[::-1])
