"""Files and folders that are there whole or not at all: temporary name and rename, locks on folders, checksums."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ham.errors import DataError, naming

logger = logging.getLogger(__name__)

LOCK = ".lock"
"""Name of the file that keeps two programs from working in one folder at once."""

CHUNK_BYTES = 4 * 2**20
READ_ONLY = (errno.EACCES, errno.EROFS, errno.EPERM)
"""How the operating system refuses to write into a folder."""
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


def crc32_of(path: Path) -> int:
    """CRC-32 of a file, as :func:`zlib.crc32` gives it, which tells whether it was changed by accident, and quickly."""
    crc = 0
    with path.open("rb") as stream:
        while block := stream.read(CHUNK_BYTES):
            crc = zlib.crc32(block, crc)
    return crc


@contextmanager
def lock_folder(folder: Path, work: str) -> Iterator[None]:
    """Keep every other program that asks out of a folder; the lock ends with the process, however it ends.

    Args:
        folder: an existing folder. One that cannot be written to is not locked.
        work: what is done in it, for the sentence that the other program says: ``"download"``.

    Raises:
        DataError: if another program works there.
    """
    try:
        file = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        if error.errno not in READ_ONLY:
            raise
        yield
        return
    with file:
        _lock(file.fileno(), folder)
        file.truncate(0)
        file.write(f"{work}, process {os.getpid()}")
        file.flush()
        yield


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = (folder / LOCK).read_text(encoding="utf-8", errors="replace").strip() or "another program"
        busy = f"{folder}: expected to be alone here, found at work: {holder}; wait until it has ended, or stop it"
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        logger.warning("%s: this file system knows no locks; do not start a second run on it", folder)
        return
    else:
        return
    raise DataError(busy)


def part_of(path: Path) -> Path:
    """The temporary name of a file or folder while it is being made: hidden, beside its place, always the same."""
    return path.with_name(f".{path.name}.part")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name in the folder of ``path`` to write to; it becomes ``path`` when the block is done.

    Nobody ever sees half a file: an error or a kill leaves what was there before, and the next run replaces what a
    kill left (see :func:`part_of`). The folder is made where needed.

    Args:
        path: the file.

    Yields:
        Where to write. A refusal of the operating system on the way names ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    try:
        with naming(path):
            yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8, whole or not at all, see :func:`replacing`; its folder is made where needed."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside ``path`` to fill; it takes the place of ``path`` when the block is done.

    Its parents are made. An error leaves what was there before; whether that may be replaced, the caller checks.
    """
    part = part_of(path)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        yield part
        move_in(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def move_in(new: Path, place: Path) -> None:
    """Give a folder its name, on the same file system, in the place of an older one, which is never there in part."""
    old = place.with_name(f".{place.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    new.rename(place)
    shutil.rmtree(old, ignore_errors=True)
