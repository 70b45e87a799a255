"""Decoding of M4A files (AAC in an MP4 container, VoxCeleb2's format) by the FFmpeg libraries that PyAV brings.

What comes out is what ``ffmpeg -i IN.m4a`` hears, sample by sample:

- An AAC encoder puts samples of its own before the first true one (FFmpeg's 1,024, Apple's 2,112). The container's
  edit list says how many; they are dropped, exactly, so that sample 0 here is sample 0 of the recording. A file
  without an edit list keeps them: nothing says how many there are.
- The last frame (1,024 samples, 64 ms at 16 kHz) is kept whole, so that a recording can be up to one frame longer
  than its source. FFmpeg's command does the same.

Whether all of it is heard is settled before that: the tables of the container (how many frames there are, how long each
is, how long all are together, which part the edit list plays) must agree, and what is decoded must be what they say.

The decoder runs inside the process: 2 ms for 8 s of speech, where starting a command alone costs ten times that, and
one version of one decoder for everybody who has the versions of requirements.txt. So a system's ``ffmpeg`` is not used.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ham.errors import DataError

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer

_BLOCK = 1 << 17  # samples handed on at a time
_SLACK_FRAMES = 2  # decoders keep the last frame whole, lengths are rounded to the container's clock
_HIDDEN_FRAMES = 4  # an encoder's delay (at most 2,112 samples of frames of 1,024) and the filled-up last frame


@dataclass(frozen=True)
class Samples:
    """An opened recording: ``blocks`` yields float32 samples of shape ``(n, channels)`` until its end.

    ``num_samples`` is what its header says, None where only decoding tells.
    """

    sample_rate: int
    num_channels: int
    blocks: Iterator[NDArray[np.float32]]
    num_samples: int | None = None


@dataclass(frozen=True)
class Played:
    """What the tables announce: seconds in all, and of one frame."""

    duration_s: float
    frame_s: float


@contextmanager
def open_m4a(path: Path) -> Iterator[Samples]:
    """Open an M4A file for decoding.

    Only the MP4 demuxer is let near it: FFmpeg's others include play lists, which name further files.

    Args:
        path: the file.

    Yields:
        Its rate, number of channels and samples.

    Raises:
        DataError: if it is truncated, damaged, or holds no audio that can be decoded; also while samples are read.
        OSError: if it cannot be opened.
    """
    # Loaded here: the 0.1 s and 100 MB of the FFmpeg libraries are for those who have such files.
    import av

    with path.open("rb") as file:
        _check_boxes(path, file)
        played = _played(path, file)
        file.seek(0)
        try:
            with av.open(file, mode="r", format="mp4") as container:
                yield decoded(path, container, played)
        except av.error.FFmpegError as error:
            raise DataError(f"{path}: is not M4A audio, or damaged ({ffmpegs_reason(error)}); copy it again") from error


def _check_boxes(path: Path, file: BinaryIO) -> None:
    """Compare the sizes of the container's outermost boxes with the bytes there are."""
    size, start = os.fstat(file.fileno()).st_size, 0
    if size == 0:
        raise DataError(f"{path}: is empty (0 bytes); remove or replace it")
    while start < size:
        file.seek(start)
        name, length, _ = _box(file.read(16), size - start)
        if start == 0 and name != b"ftyp":
            raise DataError(f"{path}: is not M4A audio (found no file type at its start); remove or replace it")
        if length < 8 or start + length > size:
            raise DataError(f"{path}: is truncated: expected at least {start + length} bytes, found {size}")
        start += length


def _box(head: bytes, rest: int) -> tuple[bytes, int, int]:
    """Name and length of a box, and where its content begins; ``rest`` is what is left of what it lies in."""
    length = int.from_bytes(head[:4], "big")
    if length == 1:  # the size did not fit and stands behind the name
        return head[4:8], int.from_bytes(head[8:16], "big"), 16
    return head[4:8], length or rest, 8  # 0: up to the end


def _boxes(content: bytes, *names: bytes) -> Iterator[bytes]:
    """The contents of all boxes that lie at a path of names."""
    start = 0
    while names and start + 8 <= len(content):
        name, length, begin = _box(content[start : start + 16], len(content) - start)
        if length < begin:
            return
        if name == names[0]:
            yield from _boxes(content[start + begin : start + length], *names[1:])
        start += length
    if not names:
        yield content


def _played(path: Path, file: BinaryIO) -> Played:
    """What the tables of the only track of sound say, once they agree."""
    file.seek(0)
    size = os.fstat(file.fileno()).st_size
    moov, start = b"", 0
    while start < size:
        file.seek(start)
        name, length, begin = _box(file.read(16), size - start)
        if name == b"moof":
            raise DataError(f"{path}: is in fragments, whose lengths are not checked; copy it with `ffmpeg -c copy`")
        if name == b"moov":
            file.seek(start + begin)
            moov = file.read(length - begin)
        start += length
    tracks = [track for track in _boxes(moov, b"trak") if _is_sound(track)]
    if not tracks:
        raise DataError(f"{path}: is not M4A audio, or damaged (no track of sound); copy it again")
    if len(tracks) > 1:
        raise DataError(f"{path}: expected one track of sound, found {len(tracks)}; write each to its own file")
    try:
        return _checked_tables(path, moov, tracks[0])
    except (struct.error, StopIteration):
        raise DataError(f"{path}: is damaged: the tables of its frames are not whole; copy it again") from None


def _is_sound(track: bytes) -> bool:
    return any(handler[8:12] == b"soun" for handler in _boxes(track, b"mdia", b"hdlr"))


def _checked_tables(path: Path, moov: bytes, track: bytes) -> Played:
    """Compare the tables of a track with each other; lengths are in units of its own clock."""
    rate, announced = _clock(next(_boxes(track, b"mdia", b"mdhd")))
    times = next(_boxes(track, b"mdia", b"minf", b"stbl", b"stts"))
    runs = [struct.unpack_from(">II", times, 8 + 8 * i) for i in range(struct.unpack_from(">I", times, 4)[0])]
    num_frames, held, frame = sum(n for n, _ in runs), sum(n * d for n, d in runs), max((d for _, d in runs), default=0)
    (sizes,) = struct.unpack_from(">I", next(_boxes(track, b"mdia", b"minf", b"stbl", b"stsz")), 8)
    if sizes != num_frames:
        raise DataError(f"{path}: is damaged: expected {num_frames} frames, found the sizes of {sizes}; copy it again")
    played = _edited(track, _clock(next(_boxes(moov, b"mvhd")))[0], rate)
    for what, length, most in (("header", announced, _SLACK_FRAMES), ("edit list", played, _HIDDEN_FRAMES)):
        if length is not None and not -_SLACK_FRAMES * frame <= held - length <= most * frame:
            raise DataError(
                f"{path}: expected {length / max(rate, 1):.3f} s, as its {what} says, found frames of "
                f"{held / max(rate, 1):.3f} s; write it again, all of it: `ffmpeg -ignore_editlist 1 -i IN OUT.flac`"
            )
    return Played((held if played is None else played) / max(rate, 1), frame / max(rate, 1))


def _clock(header: bytes) -> tuple[int, int]:
    """Units a second and length in units, of a ``mvhd`` or ``mdhd`` box; version 1 has 64-bit times."""
    place, form = (20, ">IQ") if header[:1] == b"\1" else (12, ">II")
    rate, length = struct.unpack_from(form, header, place)
    return rate, length


def _edited(track: bytes, movie_rate: int, rate: int) -> float | None:
    """Units of the track's clock that its edit list plays; None if it plays all."""
    lists = list(_boxes(track, b"edts", b"elst"))
    if not lists:
        return None
    form = ">QqI" if lists[0][:1] == b"\1" else ">IiI"
    (number,) = struct.unpack_from(">I", lists[0], 4)
    entries = [struct.unpack_from(form, lists[0], 8 + struct.calcsize(form) * i) for i in range(number)]
    units: int = sum(length for length, begin, _ in entries if begin >= 0)
    return units * rate / max(movie_rate, 1) or None  # 0: all there is


def decoded(path: Path, container: InputContainer, played: Played) -> Samples:
    """Decode the sound of a container that FFmpeg has opened; its errors are for the caller.

    Raises:
        DataError: while samples are read, if they are damaged or not as many as announced.
    """
    stream = container.streams.audio[0]
    stream.codec_context.thread_count = 1
    frames = _frames(path, container, stream, played)
    first = next(frames, None)
    if first is None:
        return Samples(stream.codec_context.sample_rate, stream.codec_context.channels, iter(()))
    return Samples(first.sample_rate, first.layout.nb_channels, _blocks(first, frames))


def _frames(path: Path, container: InputContainer, stream: AudioStream, played: Played) -> Iterator[AudioFrame]:
    """Decode to the end; refuse another rate on the way, and another number of samples than the tables say."""
    import av

    found, rate = 0, 0
    try:
        for frame in container.decode(stream):
            rate = rate or frame.sample_rate
            if frame.sample_rate != rate:
                raise DataError(f"{path}: changes from {rate} to {frame.sample_rate} Hz; remove or replace it")
            found += frame.samples
            yield frame
    except av.error.FFmpegError as error:
        raise DataError(
            f"{path}: cannot be decoded beyond sample {found} ({ffmpegs_reason(error)}); copy it again"
        ) from error
    if abs(found - played.duration_s * rate) > _SLACK_FRAMES * played.frame_s * rate:
        expected = round(played.duration_s * rate)
        raise DataError(f"{path}: is damaged: expected {expected} samples, found {found}; copy it again")


def _blocks(first: AudioFrame, frames: Iterator[AudioFrame]) -> Iterator[NDArray[np.float32]]:
    """Gather frames of 1,024 samples into blocks."""
    block, length = [_array(first)], first.samples
    for frame in frames:
        array = _array(frame)
        if length >= _BLOCK or array.shape[1] != block[0].shape[1]:
            yield np.concatenate(block)
            block, length = [], 0
        block.append(array)
        length += len(array)
    yield np.concatenate(block)


def _array(frame: AudioFrame) -> NDArray[np.float32]:
    """Samples of a frame as float32, shape ``(n, channels)``; integers (lossless ALAC) become [-1, 1)."""
    array: NDArray[Any] = frame.to_ndarray()
    array = array.T if frame.format.is_planar else array.reshape(frame.samples, -1)
    if array.dtype.kind == "i":
        array = array / 2.0 ** (8 * array.itemsize - 1)
    samples: NDArray[np.float32] = array.astype(np.float32, copy=False)
    return samples


def ffmpegs_reason(error: Exception) -> str:
    """What FFmpeg says of an error."""
    return str(getattr(error, "strerror", None) or error)
