"""Checksums of large files that are read once and remembered, and the folder for files that proved wrong."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path

from ham.files import CHUNK_BYTES, READ_ONLY, write_text

logger = logging.getLogger(__name__)

BOOK = "checksums.json"
"""Name of the file that remembers checksums, in the folder of the files."""
BAD = "bad"
"""Folder for files whose checksum is wrong."""


def md5_of(path: Path, advance: Callable[[int], None] | None = None) -> str:
    """Compute the md5 of a file.

    Args:
        path: the file.
        advance: called with the number of bytes of each piece that has been read; what it raises ends the reading.

    Returns:
        32 hexadecimal digits.
    """
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb", buffering=0) as file:
        while piece := file.read(CHUNK_BYTES):
            digest.update(piece)
            if advance is not None:
                advance(len(piece))
    return digest.hexdigest()


class ChecksumBook:
    """What is known of the files of a folder, in ``checksums.json``: md5 with the size and time it was true for.

    A file that is still as large and as old has the md5 that it had; nothing is read again. Several threads may use
    one book. Where the folder cannot be written to, the book forgets when the program ends, and says so once.

    Args:
        folder: where the files and the book are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / BOOK
        self._guard = threading.Lock()
        self._entries = self._read()
        self._writable = True

    def known(self, name: str) -> str | None:
        """The md5 of a file, if it was computed before and the file has not changed since.

        Args:
            name: the file's name in the folder.

        Returns:
            The md5, or None where it must be computed.
        """
        with self._guard:
            entry = self._entries.get(name)
        try:
            stat = (self._folder / name).stat()
        except FileNotFoundError:
            return None
        if not isinstance(entry, dict) or (entry.get("size"), entry.get("mtime_ns")) != (
            stat.st_size,
            stat.st_mtime_ns,
        ):
            return None
        md5 = entry.get("md5")
        return md5 if isinstance(md5, str) else None

    def remember(self, name: str, path: Path, md5: str) -> None:
        """Note the md5 of a file.

        Args:
            name: the name that the file has or will have in the folder.
            path: where it is now; moving it afterwards changes neither size nor time.
            md5: its md5.
        """
        stat = path.stat()
        with self._guard:
            self._entries[name] = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "md5": md5}
            self._write()

    def forget(self, name: str) -> None:
        """Strike a file out.

        Args:
            name: the file's name in the folder.
        """
        with self._guard:
            if self._entries.pop(name, None) is not None:
                self._write()

    def _read(self) -> dict[str, object]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            content = None
        if not isinstance(content, dict):
            logger.warning("%s: expected a JSON object; taken as empty, so the files are read once more", self._path)
            return {}
        return content

    def _write(self) -> None:
        if not self._writable:
            return
        try:
            write_text(self._path, json.dumps(self._entries, indent=1, sort_keys=True) + "\n")
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            self._writable = False
            logger.warning("%s: cannot be written, so the next run has to read the files again", self._path)


def set_aside(path: Path, name: str) -> Path:
    """Move a wrong file into the folder ``bad`` beside it; an earlier one of that name is replaced.

    Args:
        path: the file.
        name: the name that it gets there.

    Returns:
        Where it is now.
    """
    target = path.parent / BAD / name
    target.parent.mkdir(exist_ok=True)
    return path.replace(target)
