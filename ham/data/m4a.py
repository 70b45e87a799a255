"""Decoding of M4A files (AAC in an MP4 container, VoxCeleb2's format) by the FFmpeg libraries that PyAV brings.

What comes out is what ``ffmpeg -i IN.m4a`` hears, sample by sample:

- An AAC encoder puts samples of its own before the first true one (FFmpeg's 1,024, Apple's 2,112). The container's
  edit list says how many; they are dropped, exactly, so that sample 0 here is sample 0 of the recording. A file
  without an edit list keeps them: nothing says how many there are.
- The last frame (1,024 samples, 64 ms at 16 kHz) is kept whole, so that a recording can be up to one frame longer
  than its source. FFmpeg's command does the same.

The decoder runs inside the process: 2 ms for 8 s of speech, where starting a command alone costs ten times that, and
one version of one decoder for everybody who has the versions of requirements.txt. So a system's ``ffmpeg`` is not used.
"""

from __future__ import annotations

import os
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
_SLACK_FRAMES = 2  # an edit list and a damaged file differ by more


@dataclass(frozen=True)
class Samples:
    """An opened recording: ``blocks`` yields float32 samples of shape ``(n, channels)`` until its end.

    ``num_samples`` is what its header says, None where only decoding tells.
    """

    sample_rate: int
    num_channels: int
    blocks: Iterator[NDArray[np.float32]]
    num_samples: int | None = None


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
        try:
            with av.open(file, mode="r", format="mp4") as container:
                yield _samples(path, container)
        except av.error.FFmpegError as error:
            raise DataError(f"{path}: is not M4A audio, or damaged ({_reason(error)}); copy it again") from error


def _check_boxes(path: Path, file: BinaryIO) -> None:
    """Compare the sizes of the container's outermost boxes with the bytes there are."""
    size, start = os.fstat(file.fileno()).st_size, 0
    if size == 0:
        raise DataError(f"{path}: is empty (0 bytes); remove or replace it")
    while start < size:
        file.seek(start)
        header = file.read(16)
        length = int.from_bytes(header[:4], "big")
        if length == 1:  # the size did not fit and stands behind the name
            length = int.from_bytes(header[8:16], "big")
        elif length == 0:  # up to the end of the file
            break
        if start == 0 and header[4:8] != b"ftyp":
            raise DataError(f"{path}: is not M4A audio (found no file type at its start); remove or replace it")
        if length < 8 or start + length > size:
            raise DataError(f"{path}: is truncated: expected at least {start + length} bytes, found {size}")
        start += length
    file.seek(0)


def _samples(path: Path, container: InputContainer) -> Samples:
    if not container.streams.audio:
        raise DataError(f"{path}: holds no audio stream; remove or replace it")
    stream = container.streams.audio[0]
    stream.codec_context.thread_count = 1
    frames = _frames(path, container, stream)
    first = next(frames, None)
    if first is None:
        return Samples(stream.codec_context.sample_rate, stream.codec_context.channels, iter(()))
    return Samples(first.sample_rate, first.layout.nb_channels, _blocks(first, frames))


def _frames(path: Path, container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """Decode to the end; refuse another rate on the way, and fewer samples than the container announces."""
    import av

    decoded, rate = 0, 0
    try:
        for frame in container.decode(stream):
            rate = rate or frame.sample_rate
            if frame.sample_rate != rate:
                raise DataError(f"{path}: changes from {rate} to {frame.sample_rate} Hz; remove or replace it")
            decoded += frame.samples
            yield frame
    except av.error.FFmpegError as error:
        raise DataError(
            f"{path}: cannot be decoded beyond sample {decoded} ({_reason(error)}); copy it again"
        ) from error
    if stream.duration is not None and stream.time_base is not None:
        expected = int(stream.duration * stream.time_base * rate)
        if decoded < expected - _SLACK_FRAMES * (stream.codec_context.frame_size or 1024):
            raise DataError(f"{path}: is damaged: expected {expected} samples, found {decoded}; copy it again")


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


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)
