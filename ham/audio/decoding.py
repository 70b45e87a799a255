"""Audio files to samples: WAV, FLAC, OGG, M4A and MP3 to float32 mono, and an inspection that finds damaged files."""

from __future__ import annotations

import io
import logging
import os
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray

from ham.audio import SAMPLE_RATE
from ham.audio.flac import check_flac
from ham.audio.m4a import Samples, open_m4a
from ham.audio.mp3 import is_mp3, open_mp3
from ham.audio.ogg import check_ogg
from ham.audio.riff import check_wav
from ham.errors import DataError
from ham.pool import in_order
from ham.words import count

logger = logging.getLogger(__name__)

EXTENSIONS = (".wav", ".flac", ".ogg", ".m4a")
"""The files of which corpora are made; upper case means the same."""

READABLE = (*EXTENSIONS, ".mp3")
"""The files that can be read."""

STDIN = Path("-")
"""In place of a file: standard input, which is read once and kept."""

CONVERT = "convert it with `ffmpeg -i IN -ac 1 -ar 16000 OUT.flac`"
"""The cure for audio of any other format."""

MIN_DURATION_S = 0.1
"""Shorter files are refused: 0.1 s holds eight frames of 25 ms, less says nothing about a voice."""

SILENCE_PEAK = 1e-4
"""A waveform whose swing around its mean level stays below is silent; it is three steps of 16-bit audio."""

LARGEST_PEAK = 8.0
"""18 dB above full scale: beyond, a float file does not hold samples in [-1, 1] but, most often, integers."""

RATES = (4000, 768_000)
"""Hz: below, there is no voice; beyond, no recorder. A header of 1 Hz makes hours of a second of speech."""

BLOCK_SAMPLES = 1 << 20
"""Samples decoded at a time, so that an hour of audio is inspected in 4 MiB."""

_BY_FFMPEG = {".m4a": open_m4a, ".mp3": open_mp3}
_KINDS = {stat.S_IFDIR: "directory", stat.S_IFIFO: "pipe", stat.S_IFSOCK: "socket"}


@dataclass(frozen=True)
class AudioInfo:
    """What decoding a whole file has shown; samples are counted at the file's own rate, for one channel."""

    num_samples: int
    sample_rate: int
    num_channels: int

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return self.num_samples / self.sample_rate


def read_audio(path: Path, sample_rate: int = SAMPLE_RATE) -> NDArray[np.float32]:
    """Decode a file to one channel at the rate asked for.

    Channels are averaged; another rate is converted by ``torchaudio.functional.resample``; what the conversion
    or a float file has beyond full scale is clipped.

    Args:
        path: a WAV, FLAC, OGG, M4A or MP3 file.
        sample_rate: rate of the result in Hz.

    Returns:
        Samples in [-1, 1], shape ``(N,)``.

    Raises:
        DataError: if the file is missing, empty, damaged, or not audio.
    """
    waveform, rate = decode_audio(path)
    return to_rate(waveform, rate, sample_rate)


def decode_audio(path: Path) -> tuple[NDArray[np.float32], int]:
    """Decode a file to one channel at its own rate.

    Args:
        path: a WAV, FLAC, OGG, M4A or MP3 file.

    Returns:
        Samples, shape ``(N,)``, and their rate in Hz.

    Raises:
        DataError: if the file is missing, empty, damaged, or not audio.
    """
    with _opened(path) as file:
        waveform = np.concatenate(list(_mono_blocks(path, file)) or [np.zeros(0, np.float32)])
        rate = file.sample_rate
    if not waveform.size:
        raise DataError(f"{path}: holds no samples; remove or replace it")
    return waveform, rate


def to_rate(waveform: NDArray[np.float32], rate: int, new_rate: int) -> NDArray[np.float32]:
    """Convert samples ``(N,)`` from one rate in Hz to another, and clip what is beyond full scale."""
    return np.clip(_resample(waveform, rate, new_rate), -1.0, 1.0)


def inspect_audio(path: Path) -> AudioInfo:
    """Decode a whole file and refuse what no recipe should learn from or be judged on.

    Args:
        path: a WAV, FLAC, OGG, M4A or MP3 file.

    Returns:
        Its length, rate and number of channels.

    Raises:
        DataError: if the file is missing, empty, not audio, truncated, damaged, silent, too short, or holds
            samples that are not numbers or far beyond full scale.
    """
    num_samples, low, high = 0, np.inf, -np.inf
    with _opened(path) as file:
        for block in _mono_blocks(path, file):
            num_samples += len(block)
            low, high = min(low, float(block.min())), max(high, float(block.max()))
        info = AudioInfo(num_samples, file.sample_rate, file.num_channels)
    _check_content(path, info, low, high)
    return info


def inspect_header(path: Path) -> AudioInfo:
    """Take a file's length from its header, and refuse one whose header and content disagree, without decoding it.

    Damage that only decoding shows is not found, see :func:`inspect_audio`. The header of an M4A file does not say how
    many samples come out of it: such a file is decoded (2 ms for 8 s).

    Args:
        path: a WAV, FLAC, OGG, M4A or MP3 file.

    Returns:
        Its length, rate and number of channels.

    Raises:
        DataError: if the file is missing, empty, not audio, too short, or its header and content disagree.
    """
    with _opened(path) as file:
        num_samples = file.num_samples if file.num_samples is not None else sum(map(len, file.blocks))
        info = AudioInfo(num_samples, file.sample_rate, file.num_channels)
    _check_length(path, info)
    return info


def _check_length(path: Path, info: AudioInfo) -> None:
    if info.num_samples == 0:
        raise DataError(f"{path}: holds no samples; remove or replace it")
    if info.duration_s < MIN_DURATION_S:
        raise DataError(
            f"{path}: expected at least {MIN_DURATION_S} s, found {info.duration_s:.3f} s; remove or replace it"
        )


def _check_content(path: Path, info: AudioInfo, low: float, high: float) -> None:
    """Refuse by the number of samples and by the smallest and largest of them."""
    _check_length(path, info)
    if high - low < 2 * SILENCE_PEAK:
        mixed = f" once its {info.num_channels} channels are averaged" if info.num_channels > 1 else ""
        raise DataError(f"{path}: is silent{mixed}; remove or replace it")
    if max(high, -low) > LARGEST_PEAK:
        raise DataError(
            f"{path}: expected samples in [-1, 1], found {max(high, -low):g}; "
            "scale it (16-bit integers stored as floats: divide by 32768)"
        )


def inspect_files(
    paths: Sequence[Path], num_workers: int = 2, inspect: Callable[[Path], AudioInfo] = inspect_audio
) -> Iterator[tuple[Path, AudioInfo | DataError]]:
    """Inspect many files on several threads (libsndfile decodes outside the interpreter's lock).

    Args:
        paths: the files.
        num_workers: threads.
        inspect: :func:`inspect_audio` or :func:`inspect_header`.

    Yields:
        Each path, in the order given, with what ``inspect`` returned or raised.
    """
    chunks = (paths[start : start + 16] for start in range(0, len(paths), 16))

    def _inspect(chunk: Sequence[Path]) -> list[tuple[Path, AudioInfo | DataError]]:
        return [(path, _result_or_error(inspect, path)) for path in chunk]

    with ThreadPoolExecutor(num_workers) as pool, closing(in_order(pool, _inspect, chunks, 4 * num_workers)) as found:
        for results in found:
            yield from results


def report_conversions(infos: Sequence[AudioInfo], sample_rate: int) -> None:
    """Say once what reading will do to files that are not mono or have another rate."""
    rates = Counter(info.sample_rate for info in infos if info.sample_rate != sample_rate)
    if rates:
        counts = ", ".join(f"{number} at {rate} Hz" for rate, number in sorted(rates.items()))
        found = count(rates.total(), "file")
        logger.info("resampled to %d Hz when read: %s, %s", sample_rate, found, counts)
    if several := sum(info.num_channels > 1 for info in infos):
        logger.info("%s of more than one channel: the average of the channels is read", count(several, "file"))


def _result_or_error(inspect: Callable[[Path], AudioInfo], path: Path) -> AudioInfo | DataError:
    try:
        return inspect(path)
    except DataError as error:
        return error


@contextmanager
def _opened(path: Path) -> Iterator[Samples]:
    """Open a file whose container is whole and whose rate is one of sound."""
    if path == STDIN:
        with spooled(_content(sys.stdin.buffer)) as place:
            try:
                with _opened(place) as samples:
                    yield samples
            except DataError as error:
                raise DataError(str(error).replace(str(place), "standard input")) from None
        return
    if path.suffix.lower() not in READABLE:
        raise DataError(f"{path}: expected {', '.join(READABLE)}, found {path.suffix!r}; {CONVERT}")
    check_regular(path)
    try:
        if opened := _BY_FFMPEG.get(path.suffix.lower()):
            with opened(path) as samples:
                yield _checked_rate(path, samples)
        else:
            with _sound_file(path) as file:
                yield _checked_rate(path, Samples(file.samplerate, file.channels, _blocks(path, file), file.frames))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {_cure(path)}") from error


@contextmanager
def spooled(content: bytes) -> Iterator[Path]:
    """The bytes of an audio file as a file, for as long as it is read: a header is compared with what follows it."""
    suffix = ".m4a" if content[4:8] == b"ftyp" else ".mp3" if is_mp3(content) else ".wav"  # libsndfile knows the rest
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        file.write(content)
        file.flush()
        yield Path(file.name)


@lru_cache(maxsize=1)
def _content(stream: BinaryIO) -> bytes:
    """All of a stream; whoever asks again gets the same."""
    return stream.read()


def check_regular(path: Path) -> os.stat_result:
    """Refuse what is no file before it is opened: opening a pipe that nobody writes to never returns.

    Returns:
        What the system says of the file that the path leads to.

    Raises:
        DataError: if it is anything but a regular file: nothing, a link that leads nowhere, a folder, a pipe.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - a million times
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); {_cure(path)}") from error
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "device")
        raise DataError(f"{path}: expected a file, found a {kind}; remove or rename it")
    return status


def _checked_rate(path: Path, samples: Samples) -> Samples:
    if not RATES[0] <= samples.sample_rate <= RATES[1]:
        raise DataError(
            f"{path}: expected a sample rate of {RATES[0]:,} to {RATES[1]:,} Hz, found {samples.sample_rate:,} Hz; "
            "write it again with its true rate"
        )
    return samples


def _sound_file(path: Path) -> soundfile.SoundFile:
    """Open a file, and hold libsndfile's number of samples against the container's."""
    source, expected = _whole_container(path)
    try:
        file = soundfile.SoundFile(source)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path}: is not audio, or damaged ({_reason(error)}); {CONVERT}, or remove it") from error
    if expected is None:
        raise DataError(f"{path}: its header does not say how long it is; {CONVERT}")
    if file.frames != expected:
        raise DataError(f"{path}: expected {expected} samples, by its bytes, found {file.frames}; {CONVERT}")
    return file


def _cure(path: Path) -> str:
    if path.is_symlink():
        return f"the link points to {path.readlink()}: mend it or remove it"
    return "give yourself permission to read it" if path.exists() else "is the path right? Else take it off the list"


def _reason(error: soundfile.LibsndfileError) -> str:
    return str(error.error_string).removeprefix("Error : ").strip().rstrip(".")


def _mono_blocks(path: Path, file: Samples) -> Iterator[NDArray[np.float32]]:
    """Decode to the end, channels averaged; samples that are not numbers are refused."""
    for block in file.blocks:
        if not np.isfinite(block).all():
            raise DataError(f"{path}: holds samples that are infinite or not a number; write it again")
        yield block.mean(axis=1, dtype=np.float32)


def _blocks(path: Path, file: soundfile.SoundFile) -> Iterator[NDArray[np.float32]]:
    """Decode to the end, and compare the number of samples with the header's."""
    decoded = 0
    while decoded < file.frames:
        try:
            block = file.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise DataError(
                f"{path}: cannot be decoded beyond sample {decoded} ({_reason(error)}); copy it again"
            ) from error
        if not len(block):
            raise DataError(f"{path}: is damaged: expected {file.frames} samples, found {decoded}; copy it again")
        decoded += len(block)
        yield block


def _resample(waveform: NDArray[np.float32], rate: int, new_rate: int) -> NDArray[np.float32]:
    """Convert the rate; torchaudio is loaded here because inspecting a corpus never needs its two seconds."""
    if rate == new_rate:
        return waveform
    import torch
    import torchaudio

    resampled: NDArray[np.float32] = torchaudio.functional.resample(torch.from_numpy(waveform), rate, new_rate).numpy()
    return resampled


def _whole_container(path: Path) -> tuple[Path | io.BytesIO, int | None]:
    """The file, or its mended content, and the number of samples by its container; None if it says none.

    libsndfile reads what it can of a file that is cut, or announces less than it holds, without a word, so that
    header and content are compared here. Containers that nobody compares are not accepted.
    """
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        if size == 0:
            raise DataError(f"{path}: is empty (0 bytes); remove or replace it")
        magic = stream.read(10)
        if magic.startswith((b"RIFF", b"RF64")):
            num_samples, mended = check_wav(path, stream, size)
            return path if mended is None else io.BytesIO(mended), num_samples
        if magic.startswith(b"OggS"):
            return path, check_ogg(path, magic + stream.read())
        if magic.startswith(b"fLaC"):
            return path, check_flac(path, stream, 0, size)
    raise DataError(f"{path}: is not audio of a kind that is read (begins with {magic!r}); {CONVERT}")
