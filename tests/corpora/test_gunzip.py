"""Streams against the gzip module: from the beginning, from every checkpoint, damaged, truncated, in members."""

from __future__ import annotations

import gzip
import io
import struct
import zlib

import numpy as np
import pytest

from ham.corpora.gunzip import MIN_PROOF, WINDOW, Checkpoint, GunzipStream, find_block, lead_in
from ham.errors import DataError

RNG = np.random.default_rng(0)
RAW = {
    "speech": (RNG.standard_normal(500_000) * 300).astype(np.int16).tobytes(),
    "text": b" ".join(b"%d" % number for number in RNG.integers(0, 10**6, 300_000)),
    "random": RNG.bytes(1_200_000),
    "mixed": b"".join(RNG.bytes(30_000) + bytes(4000) + b"speaker %d" % number for number in range(40)),
}


class Behind(io.BytesIO):
    """Bytes of which those before a place are gone."""

    first = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert self.tell() >= self.first
        return super().read(size)


def opened(content: bytes, checkpoint: Checkpoint | None = None) -> GunzipStream:
    source = Behind(content)
    source.first = checkpoint.offset if checkpoint else 0
    return GunzipStream("a.tar.gz", source, len(content), checkpoint)


def rest(stream: GunzipStream, size: int = 100_000) -> bytes:
    pieces = []
    while piece := stream.read(size):
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize(("kind", "level"), [("speech", 1), ("speech", 9), ("text", 6), ("random", 6), ("mixed", 6)])
def test_every_checkpoint_leads_to_the_same_rest(kind: str, level: int) -> None:
    raw = RAW[kind]
    content = gzip.compress(raw, level)
    stream, found = opened(content), []
    position = 0
    while piece := stream.read(150_000):
        assert piece == raw[position : position + len(piece)]
        position += len(piece)
        assert stream.position == position
        not_before = stream.consumed - 400_000
        if len(found) < 2 and (checkpoint := stream.checkpoint(not_before)):
            assert max(0, not_before) <= checkpoint.offset < stream.consumed
            found.append(checkpoint)
    assert position == len(raw)
    assert found
    for checkpoint in found:
        assert checkpoint.window == raw[checkpoint.position - WINDOW : checkpoint.position]
        assert rest(opened(content, checkpoint)) == raw[checkpoint.position :]


@pytest.mark.parametrize("bit", range(8))
def test_a_block_may_begin_at_any_bit(bit: int) -> None:
    """Whatever stands in the lower bits of the byte, the block in the upper ones is decoded."""
    raw = b"hello hello hello " * 20
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = packer.compress(raw) + packer.flush()
    bits = np.unpackbits(np.frombuffer(packed, np.uint8), bitorder="little")
    shifted = np.packbits(np.concatenate([np.ones(bit, np.uint8), bits]), bitorder="little").tobytes()
    decoder = zlib.decompressobj(-15)
    assert decoder.decompress(lead_in(bit, shifted[0]) + shifted[1:]) == raw
    assert decoder.eof


def test_no_place_is_found_without_proof() -> None:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    packed = packer.compress(RAW["speech"][:400_000])
    output = zlib.decompressobj(-15).decompress(packed)
    assert find_block(packed, bytes(WINDOW) + output) is not None
    assert find_block(packed, bytes(WINDOW) + output[:-1] + bytes([output[-1] ^ 1])) is None
    assert find_block(packed, output[-MIN_PROOF + 1 :]) is None
    assert find_block(b"", output) is None
    assert find_block(RNG.bytes(5000), output) is None


def test_there_is_no_checkpoint_before_its_time() -> None:
    stream = opened(gzip.compress(RAW["speech"]))
    stream.read(1000)
    assert stream.checkpoint(stream.consumed) is None
    rest(stream)
    assert stream.checkpoint(0) is None


def test_the_checksum_is_verified_behind_a_checkpoint_too() -> None:
    content = gzip.compress(RAW["speech"])
    stream = opened(content)
    stream.read(600_000)
    checkpoint = stream.checkpoint(0)
    assert checkpoint is not None
    for place in (-8, -4):
        wrong = bytearray(content)
        wrong[place] ^= 1
        with pytest.raises(DataError, match="breaks its checksum"):
            rest(opened(bytes(wrong), checkpoint))
        with pytest.raises(DataError, match="breaks its checksum"):
            rest(opened(bytes(wrong)))


def test_damage_and_truncation_are_found() -> None:
    content = gzip.compress(RAW["mixed"])
    for size in (5, 100, len(content) // 2, len(content) - 9, len(content) - 3):
        with pytest.raises(DataError, match="is truncated"):
            rest(opened(content[:size]))
    damaged = bytearray(content)
    damaged[len(content) // 2 :] = RNG.bytes(len(content) - len(content) // 2)
    with pytest.raises(DataError, match="is damaged"):
        rest(opened(bytes(damaged)))
    with pytest.raises(DataError, match="is not a gzip file"):
        opened(b"hello world, this is text")


def test_members_extra_fields_and_padding() -> None:
    one, other = RAW["text"], RAW["random"]
    header = b"\x1f\x8b\x08" + bytes([2 | 4 | 8 | 16]) + bytes(6)
    header += struct.pack("<H", 5) + b"extra" + b"name\0" + b"comment\0" + b"hc"
    content = header + gzip.compress(one, mtime=0)[10:] + gzip.compress(other) + bytes(10_000)
    stream = opened(content)
    assert rest(stream) == one + other
    assert stream.consumed == len(content) - 10_000
    with pytest.raises(DataError, match="is not a gzip file"):
        rest(opened(gzip.compress(one) + b"junk that follows"))
    with pytest.raises(DataError, match="is truncated"):
        opened(b"")


def test_a_checkpoint_in_a_later_member() -> None:
    raw = [RAW["random"], RAW["speech"]]
    content = b"".join(map(gzip.compress, raw))
    stream, found = opened(content), None
    while found is None or found.position < len(raw[0]):
        assert stream.read(100_000)
        found = stream.checkpoint(len(content) - 900_000)
    assert found.start == len(raw[0])
    assert rest(opened(content, found)) == b"".join(raw)[found.position :]


def test_a_bomb_stays_small_in_memory_and_the_end_of_content_is_known() -> None:
    content = gzip.compress(b"x" * 1000 + bytes(30 << 20))
    stream = opened(content)
    assert len(rest(stream, 1 << 16)) == 1000 + (30 << 20)
    assert stream.end_of_content == 1000
