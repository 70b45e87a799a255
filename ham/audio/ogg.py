"""A check that an Ogg file (Vorbis, Opus) is whole: its pages, their checksums, and the end of its only stream.

The granule position of the last page says where the sound ends (RFC 3533, section 6), and a decoder drops what its
packets hold beyond. An encoder fills its last packet up, so that the two differ by less than that packet; a larger
difference, a page that is missing and a second stream behind the first would each cut speech without a word.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ham.errors import DataError

_FIRST, _LAST = 0x02, 0x04  # bits of the header type: begin and end of a stream
_NOWHERE = (1 << 64) - 1  # granule position of a page on which no packet ends
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))  # the bits of a byte, backwards
_OPUS_RATE = 48000  # Hz of the positions, whatever the rate of the source (RFC 7845, section 4)
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)  # Hz at which it can be decoded


@dataclass(frozen=True)
class _Page:
    """One page: its position, and the packets that end on it."""

    granule: int
    packets: list[bytes]


def check_ogg(path: Path, content: bytes) -> int:
    """Refuse a file with a damaged or missing page, a second stream, or another end than its packets have.

    Args:
        path: the file.
        content: all of it.

    Returns:
        The number of samples of each channel, for Opus at the rate at which libsndfile decodes it.

    Raises:
        DataError: with both sizes where they disagree.
    """
    pages = list(_pages(path, content))
    packets = [packet for page in pages for packet in page.packets]
    if packets and packets[0].startswith(b"\x01vorbis") and len(packets) > 2:
        lengths, skipped, headers = _vorbis_lengths(packets), 0, 3
    elif packets and packets[0].startswith(b"OpusHead") and len(packets[0]) >= 19:
        lengths, skipped, headers = _opus_lengths(packets), int.from_bytes(packets[0][10:12], "little"), 2
    else:
        raise DataError(f"{path}: expected Vorbis or Opus in Ogg; convert it with `ffmpeg -i IN -ac 1 OUT.flac`")
    num_samples = _announced(path, pages, lengths, headers) - skipped
    if packets[0].startswith(b"OpusHead"):
        wanted = int.from_bytes(packets[0][12:16], "little")
        return num_samples * (wanted if wanted in _OPUS_RATES else _OPUS_RATE) // _OPUS_RATE
    return num_samples


def _pages(path: Path, content: bytes) -> Iterator[_Page]:
    """The pages of the only stream; anything else, and anything behind its end, is refused."""
    start, number, serial, flags, open_packet = 0, 0, b"", 0, b""
    while start < len(content) and not flags & _LAST:
        head = content[start : start + 27]
        num_segments = head[26] if len(head) == 27 else 0
        lacing = content[start + 27 : start + 27 + num_segments]
        end = start + 27 + num_segments + sum(lacing)
        if not head.startswith(b"OggS") or end > len(content):
            break
        if page_checksum(content[start:end]) != int.from_bytes(head[22:26], "little"):
            raise DataError(f"{path}: is damaged: the page at byte {start} breaks its checksum; copy it again")
        flags, serial = head[5], serial or head[14:18]
        if serial != head[14:18] or (number > 0 and flags & _FIRST):
            raise DataError(f"{path}: expected one stream, found another at byte {start}; write each to its own file")
        if (found := int.from_bytes(head[18:22], "little")) != number:
            raise DataError(f"{path}: is damaged: expected page {number} at byte {start}, found {found}; copy it again")
        *packets, open_packet = _split(open_packet, content, start + 27 + num_segments, lacing)
        yield _Page(int.from_bytes(head[6:14], "little"), packets)
        start, number = end, number + 1
    if not flags & _LAST:
        raise DataError(
            f"{path}: is truncated: expected a page that ends the stream, found none up to byte {len(content)}; "
            "copy it again"
        )
    if start < len(content):
        kind = "another stream" if content.startswith(b"OggS", start) else "no page"
        raise DataError(
            f"{path}: expected {start} bytes, up to the end of its stream, found {len(content)}: {kind} behind; "
            "write each stream to its own file"
        )


def _split(open_packet: bytes, content: bytes, place: int, lacing: bytes) -> list[bytes]:
    """The packets that end on a page, and the begin of one that goes on; a segment of 255 bytes is followed by more."""
    packets, begin = [], place
    for segment in lacing:
        place += segment
        if segment < 255:
            packets.append(open_packet + content[begin:place])
            open_packet, begin = b"", place
    return [*packets, open_packet + content[begin:place]]


def _announced(path: Path, pages: list[_Page], lengths: list[int], headers: int) -> int:
    """Samples between the first page's begin and the last page's position, held against those of the packets."""
    held, begin, last, number = 0, None, 0, 0
    for page in pages:
        held += sum(lengths[number : number + len(page.packets)])
        number += len(page.packets)
        if page.granule == _NOWHERE or number <= headers:
            continue
        if begin is None:  # a stream that was cut out of a longer one begins later than at 0
            begin = max(0, page.granule - held) if page is not pages[-1] else 0
        last = page.granule
    found = last - (begin or 0)
    if held and not held - lengths[-1] < found <= held:
        raise DataError(
            f"{path}: expected {found} samples, as its last page says, found packets of {held}; write it again"
        )
    return found


def _vorbis_lengths(packets: list[bytes]) -> list[int]:
    """Samples that each packet brings: a quarter of its own block and of the one before (Vorbis I, section 1.3.2)."""
    sizes = (1 << (packets[0][28] & 15), 1 << (packets[0][28] >> 4))
    modes = _vorbis_modes(packets[2])
    mask = (1 << (len(modes) - 1).bit_length()) - 1
    lengths, before = [0, 0, 0], 0
    for packet in packets[3:]:
        if not packet or packet[0] & 1:  # holds no sound
            lengths.append(0)
            continue
        mode = packet[0] >> 1 & mask
        block = sizes[modes[mode]] if mode < len(modes) else 0
        lengths.append((before + block) // 4 if before else 0)
        before = block
    return lengths


def _vorbis_modes(setup: bytes) -> list[int]:
    """Whether each mode has long blocks; they stand at the end of the setup header, before a single bit.

    A mode is a bit, two fields of 16 bits that are 0, and 8 bits; 6 bits before the first say how many there are.
    They are read from the end, since what comes before (the codebooks) has no length of its own.
    """
    bits = int.from_bytes(setup, "little")
    end, found = bits.bit_length() - 1, [0]
    modes: list[int] = []
    while end - 41 * (len(modes) + 1) >= 6 and len(modes) < 64:
        place = end - 41 * (len(modes) + 1)
        if bits >> place + 1 & 0xFFFFFFFF:
            break
        modes.insert(0, bits >> place & 1)
        if bits >> place - 6 & 63 == len(modes) - 1:
            found = list(modes)
    return found


def _opus_lengths(packets: list[bytes]) -> list[int]:
    """Samples of each packet at 48 kHz, by its first bytes (RFC 6716, section 3.1)."""
    return [0, 0, *(_opus_length(packet) for packet in packets[2:])]


def _opus_length(packet: bytes) -> int:
    if not packet:
        return 0
    config, code = packet[0] >> 3, packet[0] & 3
    if config < 12:
        frame = (480, 960, 1920, 2880)[config & 3]
    elif config < 16:
        frame = (480, 960)[config & 1]
    else:
        frame = (120, 240, 480, 960)[config & 3]
    return frame * (1 if code == 0 else 2 if code < 3 else packet[1] & 63 if len(packet) > 1 else 0)


def page_checksum(page: bytes) -> int:
    """CRC-32 of RFC 3533, section 6: zlib's polynomial, but bits in the other order, from 0 and not inverted."""
    without = page[:22] + bytes(4) + page[26:]
    reflected = zlib.crc32(without.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)
