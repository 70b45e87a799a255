"""Decoding of MP3 files by FFmpeg, once they are known to be whole: frame follows frame from begin to end.

Decoders skip what is not a frame and stop where a file was cut, without a word (and libsndfile, at half of a file that
has no table). MP3 is a chain of frames, each with
a header that says how long it is, so that a gap or a cut shows. The first frame of most files is no sound but a table
(``Xing`` or ``Info``) that says how many frames follow, and how many of their samples the encoder added at both ends.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ham.audio.m4a import Played, Samples, decoded, ffmpegs_reason
from ham.errors import DataError

# kbit/s by the header's index; the second row is for the lower rates of MPEG-2 and 2.5 (ISO 13818-3).
_BIT_RATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # by MPEG version
_TABLE_BYTES, _DELAY = 120, 21  # a table with all its fields; where delay and padding stand behind it
_CURE = "copy it again, or convert it with `ffmpeg -i IN -ac 1 -ar 16000 OUT.flac`"


def is_mp3(head: bytes) -> bool:
    """Whether a file begins as MP3 files do: with a tag, or a frame of layer III."""
    return head.startswith(b"ID3") or _frame(head) is not None


@contextmanager
def open_mp3(path: Path) -> Iterator[Samples]:
    """Open an MP3 file for decoding.

    Args:
        path: the file.

    Yields:
        Its rate, number of channels and samples.

    Raises:
        DataError: if it is truncated or damaged; also while samples are read.
        OSError: if it cannot be opened.
    """
    import av  # the 0.1 s and 100 MB of the FFmpeg libraries are for those who have such files

    content = path.read_bytes()
    if not content:
        raise DataError(f"{path}: is empty (0 bytes); remove or replace it")
    num_samples = check_mp3(path, content)
    try:
        with av.open(str(path), mode="r", format="mp3") as container:
            rate = container.streams.audio[0].codec_context.sample_rate
            yield decoded(path, container, Played(num_samples / rate, 1 / rate))
    except av.error.FFmpegError as error:
        raise DataError(f"{path}: is not MP3 audio, or damaged ({ffmpegs_reason(error)}); {_CURE}") from error


def check_mp3(path: Path, content: bytes) -> int:
    """Refuse content in which something else than frames lies between its tags.

    Args:
        path: the file.
        content: all of it.

    Returns:
        The number of samples of each channel.

    Raises:
        DataError: saying where it is damaged.
    """
    start = place = _tags_end(content)
    end, num_frames, samples = _sound_end(content), 0, 0
    while place < end:
        frame = _frame(content[place : place + 4])
        if frame is None:
            if not num_frames:
                raise DataError(f"{path}: is not MP3 audio (begins with {content[:10]!r}); {_CURE}")
            raise DataError(f"{path}: is damaged: found no frame at byte {place} of {end}; {_CURE}")
        if place + frame[0] > end:
            raise DataError(f"{path}: is truncated: expected {place + frame[0]} bytes, found {end}; {_CURE}")
        place, num_frames, samples = place + frame[0], num_frames + 1, samples + frame[1]
    if not num_frames:
        raise DataError(f"{path}: holds no samples; remove or replace it")
    length, each = _frame(content[start : start + 4]) or (0, 0)
    return _announced(path, content[start : start + length], num_frames - 1, each, samples)


def _announced(path: Path, first: bytes, others: int, each: int, samples: int) -> int:
    """Samples that are left once those are taken away that the table in the first frame says; all without a table."""
    table = max(first.find(b"Xing", 0, 64), first.find(b"Info", 0, 64))
    if table < 0:
        return samples
    if first[table + 7] & 1 and (said := int.from_bytes(first[table + 8 : table + 12], "big")) != others:
        raise DataError(f"{path}: expected {said} frames, as its first one says, found {others}; {_CURE}")
    trimmed = int.from_bytes(first[table + _TABLE_BYTES + _DELAY :][:3], "big")
    return samples - each - (trimmed >> 12) - (trimmed & 0xFFF)


def _tags_end(content: bytes) -> int:
    """Where the tags at the begin end (ID3v2: ten bytes, then a size of four times seven bits)."""
    place = 0
    while content[place : place + 3] == b"ID3":
        size = content[place + 6 : place + 10]
        place += 10 + sum((byte & 127) << 7 * (3 - index) for index, byte in enumerate(size))
    return place


def _sound_end(content: bytes) -> int:
    """Where the tags at the end begin (ID3v1: the last 128 bytes)."""
    return len(content) - 128 if content[-128:-125] == b"TAG" else len(content)


def _frame(head: bytes) -> tuple[int, int] | None:
    """Bytes and samples of a frame of layer III by its header (ISO 11172-3, 2.4.2.3); None if it is not one."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, bits, rate = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version not in _RATES or rate == 3 or bits in (0, 15):
        return None
    samples = 1152 if version == 3 else 576
    kbits = _BIT_RATES[version != 3][bits]
    return samples // 8 * 1000 * kbits // _RATES[version][rate] + (head[2] >> 1 & 1), samples
