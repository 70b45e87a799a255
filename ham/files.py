"""Files that are there whole or not at all: temporary file and rename, locks on folders, checksums."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
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
    """Compute the CRC-32 of a file, which tells whether it was changed by accident, and quickly.

    Args:
        path: the file.

    Returns:
        The checksum, as :func:`zlib.crc32` gives it.
    """
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


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name in the folder of ``path`` to write to; it becomes ``path`` when the block is done.

    Nobody ever sees half a file: an error or a kill leaves what was there before. The temporary name is always the
    same, ``.NAME.part``, so that the next run replaces what a kill left. The folder is made where needed.

    Args:
        path: the file.

    Yields:
        Where to write. A refusal of the operating system on the way names ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with naming(path):
            yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, see :func:`replacing`.

    Args:
        path: the file; its folder is made where needed.
        text: what to write, as UTF-8.
    """
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")
