"""Conversion of a folder of M4A files to 16 kHz, one channel, 16 bit, as WAV or FLAC, in several processes.

A file gets its name when it is complete, so that a conversion that was stopped goes on where it was. The samples
are those that :func:`ham.audio.decoding.read_audio` returns, rounded as an audio store rounds them: training from
converted files and training from M4A files that were only packed into a store see the same numbers. The bytes depend on
nothing but the source (on one kind of machine: the decoder computes in floating point).
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import soundfile
from tqdm import tqdm

from ham.audio import SAMPLE_RATE
from ham.audio.decoding import read_audio
from ham.data.store import to_int16
from ham.errors import ConfigError, DataError, summarise
from ham.files import lock_folder, replacing, write_text
from ham.pool import in_order
from ham.words import count

logger = logging.getLogger(__name__)

FORMATS = ("wav", "flac")
"""What can be written."""


DURATIONS = "durations"
"""Suffix of the file beside the target that has a line ``<path> <seconds>`` for each of its files, sorted."""

RECORD = "converted.json"
"""Suffix of the file beside the target that says what was made, and which files could not be."""

_BATCH = 16  # files that a process takes at a time: 50 ms of work
_AHEAD = 4  # batches that are waiting for each process


@dataclass(frozen=True)
class Converted:
    """What was made: the content of ``<target>.converted.json``; ``bad`` has the reason for each file left out."""

    format: str
    num_files: int
    hours: float
    bad: dict[str, str]
    complete: bool


def convert(source: Path, target: Path, audio_format: str, *, num_workers: int = 2, max_bad: int = 0) -> Converted:
    """Convert every M4A file below a folder that has not been converted yet.

    Args:
        source: the folder; hidden files are not looked at.
        target: where to, in the same folders under the same names but for the extension.
        audio_format: ``wav`` or ``flac``.
        num_workers: processes.
        max_bad: files that may be left out because they cannot be decoded.

    Returns:
        What there is now.

    Raises:
        ConfigError: if there is no such folder or format, unless all of it was converted before.
        DataError: if there is nothing to convert, more files are bad, or the target has another format.
    """
    if audio_format not in FORMATS:
        raise ConfigError(f"--format: expected {' or '.join(FORMATS)}, found {audio_format!r}")
    files = sorted(_names(source, ".m4a"))
    if not files and is_converted(target):
        return _without_source(source, target, audio_format, max_bad)
    if not source.is_dir():
        raise ConfigError(f"--source {source}: no such folder; unpack the archive first (stage 1)")
    if not files:
        raise DataError(f"{source}: expected M4A files below it, found none")
    _check_names(source, files)
    target.mkdir(parents=True, exist_ok=True)
    with lock_folder(target, "converting"):
        if not holds_files(target):
            _forget(target)
        _check_format(target, audio_format)
        return _convert_all(source, target, files, audio_format, num_workers, max_bad)


def is_converted(target: Path) -> bool:
    """Whether a conversion into a folder is complete, so that its M4A files are not needed any more.

    Args:
        target: the folder that was converted into.

    Returns:
        True if its record says so and it still holds files.

    Raises:
        DataError: if the record cannot be read.
    """
    if not holds_files(target):
        return False
    made = _read_record(target)
    return made is not None and made.complete


def holds_files(folder: Path) -> bool:
    """Whether there is any file below a folder, but for hidden ones such as a lock.

    Args:
        folder: the folder, which need not be there.

    Returns:
        True at the first one found.
    """
    return next(_names(folder, ""), None) is not None


def _without_source(source: Path, target: Path, audio_format: str, max_bad: int) -> Converted:
    """What was converted before the M4A files were removed, if all of it is still there."""
    _check_format(target, audio_format)
    made = _read_record(target)
    assert made is not None
    _check_budget(made.bad, max_bad)
    num_files = sum(1 for _ in _names(target, f".{audio_format}"))
    if num_files < made.num_files:
        record = source.parent.with_name(f"{source.parent.name}.unpacked.json")
        raise DataError(
            f"{target}: expected {made.num_files} files, found {num_files}, and the M4A files are gone; "
            f"remove {record} to load them again (stage 1)"
        )
    logger.info("%s: %s, %.2f h, was already converted", target, count(made.num_files, "file"), made.hours)
    return made


def _forget(target: Path) -> None:
    for suffix in (RECORD, DURATIONS):
        _beside(target, suffix).unlink(missing_ok=True)


def _convert_all(
    source: Path, target: Path, files: Sequence[str], audio_format: str, num_workers: int, max_bad: int
) -> Converted:
    there = set(_names(target, f".{audio_format}"))
    known = _read_durations(target)
    todo = [file for file in files if (name := _renamed(file, audio_format)) not in there or name not in known]
    durations = {name: known[name] for file in files if (name := _renamed(file, audio_format)) in there & known.keys()}
    bad: dict[str, str] = {}
    if todo:
        _write_record(target, Converted(audio_format, 0, 0.0, {}, complete=False))
        for file, result in _converted(source, target, todo, audio_format, num_workers):
            if isinstance(result, str):
                bad[file] = result
                _check_budget(bad, max_bad)
            else:
                durations[_renamed(file, audio_format)] = result
    hours = sum(sorted(durations.values())) / SAMPLE_RATE / 3600
    made = Converted(audio_format, len(durations), round(hours, 6), bad, complete=True)
    if bad:
        logger.warning("%s: %d of %d files are left out: %s", source, len(bad), len(files), summarise([*bad.values()]))
    lines = (f"{name} {durations[name] / SAMPLE_RATE:.6f}\n" for name in sorted(durations))
    _write(target, DURATIONS, "".join(lines))
    _write_record(target, made)
    done = f"{len(todo) - len(bad)} converted now" if todo else "was already converted"
    logger.info("%s: %s, %.2f h, %s", target, count(made.num_files, "file"), made.hours, done)
    return made


def _check_budget(bad: dict[str, str], max_bad: int) -> None:
    if len(bad) > max_bad:
        cure = "load them again, or leave them out with a larger --max_missing_files"
        said = f"cannot convert {count(len(bad), 'file')}, and --max_missing_files allows {max_bad}"
        raise DataError(f"{said}: {summarise([*bad.values()])}; {cure}")


def _names(folder: Path, extension: str) -> Iterator[str]:
    """The paths relative to a folder of all files with an extension, in any case of letters."""
    start = len(str(folder)) + 1
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        above = place[start:] + "/" if len(place) > start else ""
        yield from (above + name for name in files if name.lower().endswith(extension) and not name.startswith("."))


def _renamed(file: str, audio_format: str) -> str:
    return f"{file.rpartition('.')[0]}.{audio_format}"


def _check_names(source: Path, files: Sequence[str]) -> None:
    """Refuse two files that would become one (``1.m4a`` and ``1.M4A``), and names that no list can hold."""
    stems = [file.rpartition(".")[0] for file in files]
    if len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        raise DataError(f"{source}: expected one file of each name, found {twice} in other letters too; rename one")
    odd = next((file for file in files if not file.isprintable()), None)
    if odd is not None:
        raise DataError(f"{source}: {odd!a}: expected a name in UTF-8 without line ends; rename it")


def _check_format(target: Path, audio_format: str) -> None:
    """Refuse a target that was made, or begun, in the other format: its files would be there twice."""
    made = _read_record(target)
    if made is not None and made.format != audio_format:
        cure = f"choose {made.format}, or remove this folder to convert again"
        raise DataError(f"{target}: expected {audio_format} files, found {made.format}; {cure}")


def _read_record(target: Path) -> Converted | None:
    try:
        return Converted(**json.loads(_beside(target, RECORD).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError) as error:
        raise DataError(f"{_beside(target, RECORD)}: is not a record of a conversion; remove it") from error


def _read_durations(target: Path) -> dict[str, int]:
    """Numbers of samples by name, as they were written when all was done; whatever is not there costs a look."""
    try:
        lines = _beside(target, DURATIONS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    rows = (line.rpartition(" ") for line in lines)
    return {name: round(float(seconds) * SAMPLE_RATE) for name, _, seconds in rows}


def _converted(
    source: Path, target: Path, files: Sequence[str], audio_format: str, num_workers: int
) -> Iterator[tuple[str, int | str]]:
    """Each file with its number of samples, or with what is wrong with it."""
    rest = iter(files)
    batches = iter(lambda: list(islice(rest, _BATCH)), [])
    work = _Conversion(source, target, audio_format)
    bar = tqdm(total=len(files), desc=f"convert {target.parent.name}", unit=" files", delay=2)
    try:
        with bar, _pool(min(num_workers, -(-len(files) // _BATCH))) as pool:
            for results in in_order(pool, work, batches, _AHEAD * num_workers):
                yield from results
                bar.update(len(results))
    except BrokenProcessPool as error:
        raise DataError(
            f"{target}: a converting process was stopped, perhaps for want of memory; start again with fewer workers"
        ) from error


@dataclass(frozen=True)
class _Conversion:
    """What a process does with a batch of files."""

    source: Path
    target: Path
    audio_format: str

    def __call__(self, files: Sequence[str]) -> list[tuple[str, int | str]]:
        return [(file, self._one(file)) for file in files]

    def _one(self, file: str) -> int | str:
        path = self.target / _renamed(file, self.audio_format)
        # What somebody else has damaged is written again.
        with suppress(soundfile.LibsndfileError):
            if path.exists():
                return int(soundfile.info(path).frames)
        try:
            samples = to_int16(read_audio(self.source / file, SAMPLE_RATE))
        except DataError as error:
            return str(error)
        with replacing(path) as part:
            soundfile.write(part, samples, SAMPLE_RATE, subtype="PCM_16", format=self.audio_format.upper())
        return len(samples)


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(f"{target.name}.{suffix}")


def _write_record(target: Path, record: Converted) -> None:
    _write(target, RECORD, json.dumps(asdict(record), indent=1, sort_keys=True) + "\n")


def _write(target: Path, suffix: str, text: str) -> None:
    """Write unless the file says so already."""
    path = _beside(target, suffix)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


@contextmanager
def _pool(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    """Fresh processes of one thread each, which end when this one does, however it ends."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "1"  # read when a process loads its libraries
    pool = ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn"), initializer=_watch_parent)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before


def _watch_parent() -> None:
    """Leave when the parent is killed: a worker would wait for its next batch for ever. Ctrl-C is the parent's."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def _wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=_wait, daemon=True).start()
