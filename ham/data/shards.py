"""One file of a store: many rows in NumPy's format, written one utterance after the other and read at any place.

Shards are read by ``preadv`` and not through a memory map, since a disk error or a file that was cut must become an
error that names the file; a map answers with SIGBUS, which kills the process.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ham.errors import DataError
from ham.files import replacing

_HEADER_BYTES = 128  # of every shard: NumPy wants a multiple of 64, and the shape is only known in the end
_HEADER = re.compile(rb"'(<[if][248])'.*'shape': [(](\d+,(?: \d+)?)[)]")


class Shard:
    """One open shard, read row-wise at any place by any number of threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY)
        with open(self._file, "rb", closefd=False) as stream:
            shape, self._dtype = _read_header(stream)
            self._start = stream.tell()
        self._width = shape[1:]
        self._row_bytes = int(np.prod(self._width, dtype=np.int64)) * self._dtype.itemsize
        size = self._start + shape[0] * self._row_bytes
        if (found := os.fstat(self._file).st_size) != size:
            raise ValueError(f"expected {size} bytes, found {found}")

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def read(self, first: int, num_rows: int) -> NDArray[Any]:
        """Rows ``first`` to ``first + num_rows``, one bounded read."""
        rows = np.empty((num_rows, *self._width), self._dtype)
        if rows.nbytes:
            self._fill(rows.data.cast("B"), self._start + first * self._row_bytes)
        return rows

    def _fill(self, buffer: memoryview, place: int) -> None:
        """Read until the buffer is full; the system gives at most 2 GiB at a time."""
        done = 0
        while done < len(buffer):
            try:
                got = os.preadv(self._file, [buffer[done:]], place + done)
            except OSError as error:
                raise DataError(f"{self.path}: byte {place + done}: {error.strerror}; {mend(self.path)}") from error
            if not got:
                raise DataError(f"{self.path}: was cut before byte {place + done} while in use; {mend(self.path)}")
            done += got


def crc32_of_rows(rows: NDArray[Any]) -> int:
    """CRC-32 of the bytes of rows."""
    return zlib.crc32(_bytes_of(rows))


def _bytes_of(rows: NDArray[Any]) -> memoryview | bytes:
    return np.ascontiguousarray(rows).data.cast("B") if rows.size else b""


def open_shard(folder: Path, number: int) -> Shard:
    """Open a shard of a store.

    Raises:
        DataError: if it is missing, cut, or has another header than a shard.
    """
    path = folder / shard_name(number)
    try:
        return Shard(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot be read or damaged ({reason}); {mend(path)}") from None


def mend(shard: Path) -> str:
    """The cure for a shard that is missing or damaged."""
    return f"delete {shard} and run stage 3, which packs again what is missing"


class ShardWriter:
    """What :func:`writing_shard` gives to write to.

    Attributes:
        num_bytes: bytes of the rows so far.
        lengths: number of rows of each utterance so far.
        sums: CRC-32 of the rows of each utterance so far.
    """

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self.path = path
        self.num_bytes = 0
        self.lengths: list[int] = []
        self.sums: list[int] = []
        self._stream = stream
        self._stream.write(bytes(_HEADER_BYTES))
        self._kind: tuple[np.dtype[Any], tuple[int, ...]] | None = None

    def add(self, rows: NDArray[Any]) -> None:
        """Append an utterance.

        Args:
            rows: ``(n,)`` or ``(n, F)``, of the dtype and width of the first ones.

        Raises:
            DataError: if dtype or width are others.
        """
        self._kind = self._kind or (rows.dtype, rows.shape[1:])
        if self._kind != (rows.dtype, rows.shape[1:]):
            raise DataError(f"{self.path}: expected rows of {self._kind}, found {(rows.dtype, rows.shape[1:])}")
        self._stream.write(_bytes_of(rows))
        self.sums.append(crc32_of_rows(rows))
        self.lengths.append(len(rows))
        self.num_bytes += rows.nbytes

    def complete(self) -> None:
        """Put the header in its place and wait for the disk."""
        if self._kind is None:
            raise DataError(f"{self.path}: nothing to store: the data directory holds no utterance")
        self._stream.seek(0)
        self._stream.write(shard_header((sum(self.lengths), *self._kind[1]), self._kind[0]))
        self._stream.flush()
        os.fsync(self._stream.fileno())


@contextmanager
def writing_shard(path: Path) -> Iterator[ShardWriter]:
    """Write a shard; the file has its name only when the block is done and all of it is on the disk."""
    with replacing(path) as part, part.open("wb") as stream:
        shard = ShardWriter(path, stream)
        yield shard
        shard.complete()


def shard_header(shape: tuple[int, ...], dtype: DTypeLike) -> bytes:
    """The first bytes of a shard, for rows of a shape and dtype: NumPy's header of format 1.0, filled up."""
    entries = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    fixed = b"\x93NUMPY\x01\x00" + (_HEADER_BYTES - 10).to_bytes(2, "little")
    return (fixed + repr(entries).encode("ascii")).ljust(_HEADER_BYTES - 1) + b"\n"


def _read_header(stream: BinaryIO) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of a shard; the stream then stands at its first row. Any other byte than ours is damage."""
    header = stream.read(_HEADER_BYTES)
    if match := _HEADER.search(header):
        shape, dtype = tuple(int(number) for number in match[2].split(b",") if number), np.dtype(match[1].decode())
        if header == shard_header(shape, dtype):
            return shape, dtype
    raise ValueError("expected the header of a shard, found another")


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.npy"
