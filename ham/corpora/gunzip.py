"""Decompression of a long gzip stream that can be continued in the middle, after what lies before has been deleted.

A deflate stream (RFC 1951) can be entered where one of its blocks begins, given the 32 KiB of output before it. zlib,
as Python offers it, does not tell where blocks begin; they are found again: every bit at which a block could begin is
tried, with the bytes read last, until one reproduces the very output that is known to come. So a wrong place cannot be
taken, and where none is found there is no :class:`Checkpoint` yet, which is harmless.

zlib enters a stream at a whole byte only. A block that begins within one is led up to by empty blocks of the
right number of bits (:func:`lead_in`).
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ham.errors import DataError

WINDOW = 1 << 15
"""Bytes of output that a deflate stream refers back to at most."""

MIN_PROOF = 1 << 17
"""Bytes of output that must agree before a place is believed; more than a stored block can hold (65,535)."""

_CHUNK = 1 << 17  # compressed bytes read at a time
_KEPT = 8  # chunks that are remembered for a search
_MAX_KEPT = 1 << 26  # bytes of output beyond which nothing is remembered: this is not speech
_OUT = 1 << 20  # bytes decompressed at a time
_RAW = -15  # zlib's name for deflate without a header
_TRAILER = 8  # CRC-32 and length, behind the deflate stream
_MAX_SYMBOLS = 29  # a block's header that announces more (HLIT or HDIST) is refused by zlib


@dataclass(frozen=True)
class Checkpoint:
    """A place where a gzip stream can be entered.

    ``offset`` is the place in the compressed bytes and ``bit`` the bit in that byte where a block begins; -1 for the
    length of a stored block, whose header lies before. ``position`` is the place in the output, ``window`` the output
    before it; ``start`` and ``crc`` are the place where the member's output began and its CRC-32 up to ``position``.
    """

    offset: int
    bit: int
    position: int
    window: bytes
    start: int
    crc: int


@dataclass(frozen=True)
class _Chunk:
    """Compressed bytes from ``offset`` on, the output that they gave from ``position`` on, the CRC-32 before it."""

    offset: int
    data: bytes
    position: int
    output: bytes
    crc: int


class GunzipStream:
    """The output of a gzip file, from its beginning or from a checkpoint, read once and in order.

    Every member's CRC-32 and length are verified, also when a checkpoint was used on the way.

    Args:
        name: what errors call the file.
        source: the compressed bytes, seekable.
        size: how many there are.
        checkpoint: where to begin; None for the beginning.
    """

    def __init__(self, name: str, source: BinaryIO, size: int, checkpoint: Checkpoint | None = None) -> None:
        self._name, self._source, self._size = name, source, size
        self._pending = bytearray()  # output that was not asked for yet
        self._kept: deque[_Chunk] = deque(maxlen=_KEPT)
        self.position = checkpoint.position if checkpoint else 0
        """Place in the output of what :meth:`read` returns next."""
        self.end_of_content = self.position
        """Place behind the last byte of output that is not zero."""
        self._ended = False
        if checkpoint is None:
            self._offset = self._made = 0
            source.seek(0)
            self._begin_member()
        else:
            self._enter(checkpoint)

    @property
    def consumed(self) -> int:
        """Compressed bytes that have been used."""
        return self._offset

    def read(self, size: int) -> bytes:
        """Read output.

        Args:
            size: bytes to return at most.

        Returns:
            ``size`` bytes; fewer at the end of the stream only.

        Raises:
            DataError: if the stream is damaged or truncated.
        """
        while len(self._pending) < size and not self._ended:
            self._advance()
        found = bytes(self._pending[:size])
        del self._pending[:size]
        self.position += len(found)
        return found

    def checkpoint(self, not_before: int) -> Checkpoint | None:
        """Find a place to continue from among the bytes read last.

        Args:
            not_before: offset in the compressed bytes; what lies before will not be needed.

        Returns:
            The place, None if there is none (yet).
        """
        chunks = [chunk for chunk in self._kept if chunk.offset >= not_before]
        if not chunks or self._decoder is None:
            return None
        first = chunks[0]
        before = b"".join(chunk.output for chunk in self._kept if chunk.offset < first.offset)[-WINDOW:]
        output = before + b"".join(chunk.output for chunk in chunks)
        found = find_block(b"".join(chunk.data for chunk in chunks), output)
        if found is None:
            return None
        byte, bit, length = found
        index = len(output) - length
        crc = zlib.crc32(output[len(before) : index], first.crc)
        window = output[index - WINDOW : index]
        return Checkpoint(first.offset + byte, bit, first.position + index - len(before), window, self._start, crc)

    def _begin_member(self) -> None:
        """Read a member's header (RFC 1952)."""
        header = self._exactly(10)
        if header[:3] != b"\x1f\x8b\x08":
            raise DataError(f"{self._name}: is not a gzip file, or damaged at byte {self._offset - 10}")
        if header[3] & 4:  # FEXTRA
            self._exactly(int.from_bytes(self._exactly(2), "little"))
        for flag in (8, 16):  # FNAME, FCOMMENT
            while header[3] & flag and self._exactly(1) != b"\0":
                pass
        if header[3] & 2:  # FHCRC
            self._exactly(2)
        self._decoder: zlib._Decompress | None = zlib.decompressobj(_RAW)
        self._start, self._crc = self._made, 0
        self._kept.clear()

    def _enter(self, checkpoint: Checkpoint) -> None:
        self._offset, self._made = checkpoint.offset, checkpoint.position
        self._start, self._crc = checkpoint.start, checkpoint.crc
        self._source.seek(checkpoint.offset)
        self._decoder = _decoder_at(checkpoint.bit, self._exactly(1), checkpoint.window)

    def _advance(self) -> None:
        """Use one chunk of compressed bytes."""
        assert self._decoder is not None
        offset, position, crc = self._offset, self._made, self._crc
        data = self._source.read(_CHUNK)
        if not data:
            raise DataError(f"{self._name}: is truncated: ends at byte {self._offset} within its data; load it again")
        self._offset += len(data)
        output = bytearray()
        try:
            for piece in _pieces(self._decoder, data):
                self._emit(piece)
                if len(output) < _MAX_KEPT:
                    output += piece
        except zlib.error as error:
            raise DataError(f"{self._name}: is damaged near byte {offset} ({error}); load it again") from error
        if self._decoder.eof:
            self._end_member(len(self._decoder.unused_data))
        elif len(output) < _MAX_KEPT:
            self._kept.append(_Chunk(offset, data, position, bytes(output), crc))
        else:
            self._kept.clear()

    def _emit(self, piece: bytes) -> None:
        if content := len(piece.rstrip(b"\0")):
            self.end_of_content = self._made + content
        self._crc = zlib.crc32(piece, self._crc)
        self._pending += piece
        self._made += len(piece)

    def _end_member(self, unused: int) -> None:
        self._decoder = None
        self._kept.clear()
        self._offset -= unused
        self._source.seek(self._offset)
        trailer = self._exactly(_TRAILER)
        expected = self._crc.to_bytes(4, "little") + ((self._made - self._start) & 0xFFFFFFFF).to_bytes(4, "little")
        if trailer != expected:
            raise DataError(f"{self._name}: is damaged: what it holds breaks its checksum; load it again")
        if self._is_padding():
            self._ended = True
        else:
            self._begin_member()

    def _is_padding(self) -> bool:
        """Whether only zeros follow, as tapes and some copies leave them."""
        rest = self._source.read(_CHUNK)
        is_padding = not rest.strip(b"\0")
        while is_padding and rest:
            rest = self._source.read(_CHUNK)
            is_padding = not rest.strip(b"\0")
        self._source.seek(self._offset)
        return is_padding

    def _exactly(self, size: int) -> bytes:
        found = self._source.read(size)
        if len(found) != size:
            raise DataError(f"{self._name}: is truncated: ends at byte {self._offset + len(found)}; load it again")
        self._offset += size
        return found


def _pieces(decoder: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """The output of some input, all of it but never much at once."""
    while data and not decoder.eof:
        yield decoder.decompress(data, _OUT)
        data = decoder.unconsumed_tail
    # With all input used, output may still be waiting inside.
    while not decoder.eof and (piece := decoder.decompress(b"", _OUT)):
        yield piece


def _decoder_at(bit: int, first: bytes, window: bytes) -> zlib._Decompress:
    """A decoder that goes on behind the byte ``first``, at whose bit ``bit`` a block begins."""
    decoder = zlib.decompressobj(_RAW, zdict=window)
    decoder.decompress(b"\0" + first if bit < 0 else lead_in(bit, first[0]))
    return decoder


def lead_in(bit: int, byte: int) -> bytes:
    """Whole bytes that end in the last ``8 - bit`` bits of a byte, before which they hold empty blocks only.

    An empty block of the fixed code has 10 bits, one of a code of its own 95: together any number modulo 8.

    Args:
        bit: 0 to 7, counted from the lowest.
        byte: the byte.

    Returns:
        The bytes, the lowest bit first as deflate has them.
    """
    bits = [] if bit % 2 == 0 else list(_EMPTY_DYNAMIC)
    while len(bits) % 8 != bit:
        bits += _EMPTY_FIXED
    bits += [(byte >> place) & 1 for place in range(bit, 8)]
    return np.packbits(np.array(bits, np.uint8), bitorder="little").tobytes()


def _number(value: int, length: int) -> list[int]:
    return [(value >> place) & 1 for place in range(length)]


_EMPTY_FIXED = [0, 1, 0, *[0] * 7]  # not the last; fixed code; end of block
# Not the last; own code; 257 literal and 1 distance lengths; all 19 lengths of the code that these are written in:
# "18" (many zeros) has 1 bit, "0" and "1" have 2. Then 138 + 118 zeros, one 1 (the end of the block), one 0; the end.
_CODE_LENGTHS = {18: 1, 0: 2, 1: 2}
# The order in which a block's header gives those lengths (RFC 1951, 3.2.7)
_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
_EMPTY_DYNAMIC = [
    *(0, 0, 1, *_number(0, 5), *_number(0, 5), *_number(15, 4)),
    *(place for symbol in _ORDER for place in _number(_CODE_LENGTHS.get(symbol, 0), 3)),
    *(0, *_number(138 - 11, 7), 0, *_number(118 - 11, 7), 1, 1, 1, 0, 0),
]


def find_block(data: bytes, output: bytes) -> tuple[int, int, int] | None:
    """Find the first block that begins in ``data``.

    Args:
        data: part of a deflate stream.
        output: what came out up to its end, from 32 KiB or more before what ``data`` gave.

    Returns:
        The byte and the bit where the block begins (bit -1: the byte where a stored block's length stands), and how
        many bytes of output come from there on; None if no place can be proved.
    """
    for byte, bit in _candidates(np.frombuffer(data, np.uint8)):
        length = _length_from(data, byte, bit)
        begin = len(output) - length
        if length < MIN_PROOF or begin < WINDOW:
            continue
        decoder = _decoder_at(bit, data[byte : byte + 1], output[begin - WINDOW : begin])
        if decoder.decompress(data[byte + 1 :]) == output[begin:]:
            return byte, bit, length
    return None


def _length_from(data: bytes, byte: int, bit: int) -> int:
    """How much output comes from a place on, whatever it refers back to; 0 where no block begins."""
    try:
        decoder = _decoder_at(bit, data[byte : byte + 1], bytes(WINDOW))
        output = decoder.decompress(data[byte + 1 :], _MAX_KEPT)
    except zlib.error:
        return 0
    return 0 if decoder.eof or decoder.unconsumed_tail else len(output)


def _candidates(data: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """The places where a block could begin, by its header, in order."""
    if len(data) < 4:
        return
    lengths = data[:-1].astype(np.int32) | data[1:].astype(np.int32) << 8
    stored = np.flatnonzero((lengths[:-2] ^ lengths[2:]) == 0xFFFF) * 8 - 1
    bits = np.unpackbits(data, bitorder="little")
    places = np.sort(np.concatenate([_own_codes(bits), stored[stored >= 0]]))
    known = set(stored.tolist())
    for place in places.tolist():
        yield ((place + 1) // 8, -1) if place in known else divmod(place, 8)


def _own_codes(bits: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The bits where a block with a code of its own could begin: its header must be one that zlib accepts."""
    usable = len(bits) - 17 - 3 * len(_ORDER)
    if usable <= 0:
        return np.zeros(0, np.int64)
    places: NDArray[np.int64] = np.flatnonzero(
        (bits[:usable] == 0) & (bits[1 : usable + 1] == 0) & (bits[2 : usable + 2] == 1)
    )

    def _field(start: int, length: int) -> NDArray[np.int64]:
        """The number in some bits of each header."""
        number = np.zeros(len(places), np.int64)
        for index in range(length):
            number |= bits[places + start + index].astype(np.int64) << index
        return number

    places = places[_field(3, 5) <= _MAX_SYMBOLS]
    places = places[_field(8, 5) <= _MAX_SYMBOLS]
    given = _field(13, 4) + 4
    used = np.zeros(len(places), np.int64)
    for index in range(len(_ORDER)):
        length = np.where(index < given, _field(17 + 3 * index, 3), 0)
        used += np.where(length > 0, 128 >> length, 0)
    complete: NDArray[np.int64] = places[used == 128]
    return complete
