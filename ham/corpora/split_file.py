"""A file that was split into parts, read as one without joining them on the disk."""

from __future__ import annotations

import bisect
import io
import os
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import accumulate
from pathlib import Path

from ham.errors import DataError


class SplitFile(io.RawIOBase):
    """Files that would be one if they were joined in order, as a file object; a read crosses from part to part.

    Args:
        paths: the parts; all are held open.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self._paths = tuple(paths)
        self._ends = tuple(accumulate(path.stat().st_size for path in paths))
        self._place = 0
        self._opened = ExitStack()
        self._files = [self._opened.enter_context(path.open("rb", buffering=0)) for path in paths]

    @property
    def name(self) -> str:
        """What errors call the file: its last part."""
        return str(self._paths[-1])

    @property
    def size(self) -> int:
        """Bytes of all parts together."""
        return self._ends[-1]

    def close(self) -> None:
        """Close all parts."""
        self._opened.close()
        super().close()

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
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"negative place {base + offset}")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill a buffer from the place on; fewer bytes at the end of the last part only.

        Raises:
            DataError: if a part has become shorter.
        """
        view, done = memoryview(buffer), 0
        while done < len(view) and self._place < self.size:
            index = bisect.bisect_right(self._ends, self._place)
            start = self._ends[index - 1] if index else 0
            self._files[index].seek(self._place - start)
            found = self._files[index].readinto(view[done : done + self._ends[index] - self._place])
            if not found:
                raise DataError(f"{self._paths[index]}: has become shorter while it was read; load it again")
            done, self._place = done + found, self._place + found
        return done
