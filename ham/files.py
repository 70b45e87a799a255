"""Files and folders that are there whole or not at all: temporary name and rename, locks on folders, checksums."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TextIO

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
def lock_folder(folder: Path, work: str, *, wait: bool = False) -> Iterator[None]:
    """Keep every other program that asks out of a folder; the lock ends with the process, however it ends.

    Args:
        folder: the folder. One that is not there or cannot be written to is not locked.
        work: what is done in it, for the sentence that the other program says: ``"download"``.
        wait: wait until the other program has ended, and say so, instead of giving up.

    Raises:
        DataError: if another program works there.
    """
    with ExitStack() as locks:
        try:
            locks.enter_context(_alone(folder / LOCK, folder, work, wait=wait))
        except OSError as error:
            if error.errno not in (*READ_ONLY, errno.ENOENT, errno.ENOTDIR):
                raise
        yield


@contextmanager
def lock_place(path: Path, work: str) -> Iterator[None]:
    """Keep every other program that asks from making the same folder; its parents are made.

    Args:
        path: the folder that will be made or replaced.
        work: as for :func:`lock_folder`.

    Raises:
        DataError: if another program makes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.with_name(f".{path.name}{LOCK}"), path, work):
        yield


@contextmanager
def _alone(lock: Path, place: Path, work: str = "", *, wait: bool = False) -> Iterator[None]:
    """Hold a file, made where needed, that one program at a time can hold; then it goes, unless it was renamed.

    Args:
        lock: the file.
        place: what it stands for, in messages.
        work: as for :func:`lock_folder`, to be written into the file; without it the file is
            left as it is, and another program is waited for in silence.
        wait: likewise.
    """
    while True:
        with lock.open("a+", encoding="utf-8", errors="replace") as file:
            _lock(file, place, work, wait)
            if not _is(file, lock):
                continue  # the program that held it has removed or renamed it
            try:
                if work:
                    file.truncate(0)
                    file.write(f"{work}, process {os.getpid()}")
                    file.flush()
                yield
            finally:
                if _is(file, lock):
                    lock.unlink(missing_ok=True)
            return


def _lock(file: TextIO, place: Path, work: str, wait: bool) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if work else 0))
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another program"
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        if work:
            logger.warning("%s: this file system knows no locks; do not start a second run on it", place)
        return
    else:
        return
    if not wait:
        busy = f"expected to be alone here, found at work: {holder}; wait until it has ended, or stop it"
        raise DataError(f"{place}: {busy}")
    logger.info("%s: waits until another program has ended: %s", place, holder)
    fcntl.flock(file, fcntl.LOCK_EX)


def _is(file: TextIO, path: Path) -> bool:
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def part_of(path: Path) -> Path:
    """The temporary name of a file or folder while it is being made: hidden, beside its place, always the same."""
    return path.with_name(f".{path.name}.part")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name in the folder of ``path`` to write to; it becomes ``path`` when the block is done.

    Nobody ever sees half a file: an error or a kill leaves what was there before, and the next run replaces what a
    kill left (see :func:`part_of`). A second program that writes the same file waits for the first; so each file is
    whole, and the last one stays. The folder is made where needed.

    Args:
        path: the file.

    Yields:
        Where to write. A refusal of the operating system on the way names ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
    with naming(path), _alone(part, path):
        yield part
        part.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text file as UTF-8, whole or not at all, see :func:`replacing`; its folder is made where needed."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder beside ``path`` to fill; it takes the place of ``path`` when the block is done.

    Its parents are made. An error leaves what was there before; whether that may be replaced, the caller checks.

    Raises:
        DataError: if another program makes the same folder.
    """
    part = part_of(path)
    with lock_place(path, "writing"):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
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
