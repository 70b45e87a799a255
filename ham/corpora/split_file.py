"""A file that was split into parts, read as one without joining them; parts can be removed on the way."""

from __future__ import annotations

import bisect
import io
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from ham.errors import DataError

_BUFFER = 1 << 20


class Parts:
    """Files that would be one if they were joined in order. Any number of threads may read.

    Args:
        paths: the parts.
        sizes: their sizes in bytes, for those that have been removed already; None where all are there.
    """

    def __init__(self, paths: Sequence[Path], sizes: Sequence[int] | None = None) -> None:
        self.paths = tuple(paths)
        self.sizes = tuple(sizes) if sizes is not None else tuple(path.stat().st_size for path in paths)
        self.starts = tuple(sum(self.sizes[:index]) for index in range(len(self.sizes)))
        """Where each part begins in the whole."""
        self.size = sum(self.sizes)
        """Bytes of the whole."""
        self._files: dict[int, int] = {}
        self._guard = threading.Lock()

    def __enter__(self) -> Parts:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self, offset: int, size: int) -> bytes:
        """Read from anywhere.

        Args:
            offset: place in the whole.
            size: bytes wanted.

        Returns:
            That many bytes, fewer at the end of the whole only.

        Raises:
            DataError: if a part is gone, or has become shorter.
        """
        pieces = []
        while size > 0 and offset < self.size:
            index = bisect.bisect_right(self.starts, offset) - 1
            inside = offset - self.starts[index]
            piece = os.pread(self._open(index), min(size, self.sizes[index] - inside), inside)
            if not piece:
                raise DataError(f"{self.paths[index]}: has become shorter while it was read; load it again")
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def as_file(self) -> BinaryIO:
        """The whole as a file object of its own, for one thread."""
        return io.BufferedReader(_Cursor(self), _BUFFER)

    def index(self, offset: int) -> int:
        """The part that holds a place of the whole.

        Args:
            offset: the place; its end counts as within the last part.

        Returns:
            The part's index.
        """
        return bisect.bisect_right(self.starts, offset) - 1

    def remove(self, index: int) -> None:
        """Delete a part from the disk; reading from it is an error from now on.

        Args:
            index: which part. It may be gone already.
        """
        with self._guard:
            descriptor = self._files.pop(index, None)
        if descriptor is not None:
            os.close(descriptor)
        self.paths[index].unlink(missing_ok=True)

    def close(self) -> None:
        """Close what is open."""
        with self._guard:
            files, self._files = self._files, {}
        for descriptor in files.values():
            os.close(descriptor)

    def _open(self, index: int) -> int:
        with self._guard:
            if index not in self._files:
                try:
                    self._files[index] = os.open(self.paths[index], os.O_RDONLY | os.O_CLOEXEC)
                except FileNotFoundError:
                    raise DataError(f"{self.paths[index]}: is needed, and gone; load it again") from None
            return self._files[index]


class _Cursor(io.RawIOBase):
    """A place in the whole, from which is read."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._place = parts, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The place."""
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, which may lie behind the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._parts.size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative place {base + offset}")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Read from the place on."""
        piece = self._parts.read(self._place, len(buffer))
        buffer[: len(piece)] = piece
        self._place += len(piece)
        return len(piece)
