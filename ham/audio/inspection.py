"""Inspection of many audio files, each once: a file in the data folder remembers which were inspected.

That file is JSON: ``{"version": 2, "files": {path: [size, mtime_ns, ctime_ns, samples, rate, channels]}}``. Only files
that passed the inspection are in it.

A file is taken for unchanged while its size, its time of modification and its time of change (``ctime``) are. The last
is the one that counts: ``cp -p``, ``rsync -t`` and ``touch -r`` set the time of modification to whatever they like,
and the samples of another recording may have the same size, but nothing sets the time of change back. What changes it
and not the content (``chmod``, a copy of the whole folder) costs an inspection, no more.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from ham.audio.decoding import AudioInfo, inspect_audio, inspect_files, inspect_header
from ham.errors import DataError
from ham.files import write_text

logger = logging.getLogger(__name__)

VERSION = 2
"""Raised whenever :func:`ham.audio.decoding.inspect_audio` comes to refuse what it used to accept."""

CHECKS = {"decode": (inspect_audio, ".audio_cache.json"), "header": (inspect_header, ".header_cache.json")}
"""How a file is inspected, and the name of the memory of inspected files in the data folder."""

SAVE_EVERY = 50_000
"""Files after which the memory is written: a run that is killed loses some minutes of decoding."""


def inspect(
    files: Sequence[Path], data_dir: Path, check: str, num_workers: int
) -> tuple[dict[Path, AudioInfo], dict[Path, DataError]]:
    """Inspect every file that the data folder's memory does not know; new ones are remembered, also when interrupted.

    Args:
        files: the files.
        data_dir: the data folder.
        check: one of ``CHECKS``.
        num_workers: threads.

    Returns:
        What is known of the good files, and the errors of the bad ones.
    """
    look, name = CHECKS[check]
    cache = AudioCache(data_dir / name)
    infos, bad = cache.find(files), dict[Path, DataError]()
    todo = [file for file in files if file not in infos]
    found = inspect_files(todo, num_workers, look)
    every_s = 0.5 if sys.stderr.isatty() else 30.0
    try:
        for file, info in tqdm(
            found, "inspecting audio", len(todo), unit=" files", delay=2.0, mininterval=every_s, maxinterval=60
        ):
            if isinstance(info, DataError):
                bad[file] = info
            else:
                infos[file] = info
                cache.add(file, info)
                if len(infos) % SAVE_EVERY == 0:
                    cache.save()
    finally:
        cache.save()
    return infos, bad


class AudioCache:
    """The inspected files, known by path, size and times.

    A cache that is missing, damaged or of another version is an empty one: it only costs time.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[str, list[int]] = _read(path)
        self._seen: dict[Path, list[int]] = {}
        self._changed = False

    def find(self, files: Iterable[Path]) -> dict[Path, AudioInfo]:
        """What is known of those files that are unchanged since their inspection."""
        known = {}
        for file in files:
            entry, stamp = self._files.get(str(file)), _stamp(file)
            if entry and entry[:3] == stamp:
                known[file] = AudioInfo(*entry[3:])
            else:
                self._seen[file] = stamp
        return known

    def add(self, file: Path, info: AudioInfo) -> None:
        """Remember a file as :meth:`find` saw it: one that changes during its inspection stays unknown."""
        stamp = self._seen.pop(file, None) or _stamp(file)
        self._files[str(file)] = [*stamp, info.num_samples, info.sample_rate, info.num_channels]
        self._changed = True

    def save(self) -> None:
        """Write what was added, if anything, in one step."""
        if self._changed:
            write_text(self.path, json.dumps({"version": VERSION, "files": self._files}))
            self._changed = False


def file_stamp(status: os.stat_result) -> list[int]:
    """Size, time of modification and time of change: another stamp says that the file may hold something else."""
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _stamp(file: Path) -> list[int]:
    """The stamp of a file; one that is gone gets a stamp that no file has."""
    try:
        return file_stamp(file.stat())
    except OSError:
        return [-1, -1, -1]


def _read(path: Path) -> dict[str, list[int]]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not _is_valid(content):
        logger.info("%s: damaged or of another version, every audio file is inspected again", path)
        return {}
    files: dict[str, list[int]] = content["files"]
    return files


def _is_valid(content: object) -> bool:
    if not (isinstance(content, dict) and content.get("version") == VERSION):
        return False
    files = content.get("files")
    return isinstance(files, dict) and all(
        isinstance(entry, list) and len(entry) == 6 and all(isinstance(number, int) for number in entry)
        for entry in files.values()
    )
