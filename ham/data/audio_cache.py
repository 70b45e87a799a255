"""A memory of inspected audio files, so that preparing a corpus again does not decode it again.

The file is JSON: ``{"version": 1, "files": {path: [size, mtime_ns, num_samples, sample_rate, num_channels]}}``.
Only files that passed the inspection are in it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path

from ham.data.audio import AudioInfo

logger = logging.getLogger(__name__)

VERSION = 1
"""Raised whenever :func:`ham.data.audio.inspect_audio` comes to refuse what it used to accept."""


class AudioCache:
    """The inspected files, known by path, size and time of change.

    A cache that is missing, damaged or of another version is an empty one: it only costs time.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files: dict[str, list[int]] = _read(path)
        self._changed = False

    def find(self, files: Iterable[Path]) -> dict[Path, AudioInfo]:
        """Look files up.

        Args:
            files: the files.

        Returns:
            What is known of those that are unchanged since their inspection.
        """
        known = {}
        for file in files:
            entry = self._files.get(str(file))
            if entry and entry[:2] == _stamp(file):
                known[file] = AudioInfo(*entry[2:])
        return known

    def add(self, file: Path, info: AudioInfo) -> None:
        """Remember a file.

        Args:
            file: the file, as it is now.
            info: what its inspection has shown.
        """
        self._files[str(file)] = [*_stamp(file), info.num_samples, info.sample_rate, info.num_channels]
        self._changed = True

    def save(self) -> None:
        """Write what was added, if anything, in one step."""
        if not self._changed:
            return
        temporary = self.path.with_name(self.path.name + ".new")
        temporary.write_text(json.dumps({"version": VERSION, "files": self._files}), encoding="utf-8")
        temporary.replace(self.path)
        self._changed = False


def _stamp(file: Path) -> list[int]:
    """Size and time of change; a file that is gone has a stamp that none has."""
    try:
        status = file.stat()
    except OSError:
        return [-1, -1]
    return [status.st_size, status.st_mtime_ns]


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
        isinstance(entry, list) and len(entry) == 5 and all(isinstance(number, int) for number in entry)
        for entry in files.values()
    )
