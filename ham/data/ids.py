"""The ids of a million utterances in little memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import overload

import numpy as np
from numpy.typing import NDArray

_AT_A_TIME = 4096  # ids that are strings of Python at the same time


class Ids(Sequence[str]):
    """Many ids as one table of bytes: 25 bytes an id of VoxCeleb instead of 80 as a string of Python.

    Equal to any sequence of the same strings. ``index`` and ``in`` search by bisection.

    Args:
        table: shape ``(N,)``, UTF-8.
    """

    def __init__(self, table: NDArray[np.bytes_]) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...

    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(Ids(self._table[index]))
        return bytes(self._table[index]).decode("utf-8")

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _AT_A_TIME):
            yield from map(bytes.decode, self._table[start : start + _AT_A_TIME].tolist())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ids):
            return np.array_equal(self._table, other._table)
        if not isinstance(other, Sequence) or len(other) != len(self):
            return False
        return all(mine == its for mine, its in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Ids({len(self)} ids)"

    def __contains__(self, utt: object) -> bool:
        return isinstance(utt, str) and self._find(utt) is not None

    def index(self, utt: str, start: int = 0, stop: int | None = None) -> int:
        """Position of an id, from ``start`` on and before ``stop``; ``ValueError`` if it is not there."""
        found = self._find(utt)
        if found is None or found not in range(*slice(start, stop).indices(len(self))):
            raise ValueError(f"{utt!r} is not among the {len(self)} ids")
        return found

    def _find(self, utt: str) -> int | None:
        """Position of an id by bisection, None if it is not there."""
        key = utt.encode("utf-8")
        if not len(self) or len(key) > self._table.dtype.itemsize or key.endswith(b"\0"):
            return None
        rank = int(np.searchsorted(self._table, np.bytes_(key), sorter=self._order))
        if rank == len(self):
            return None
        place = rank if self._order is None else int(self._order[rank])
        return place if self._table[place] == key else None

    @cached_property
    def _order(self) -> NDArray[np.int64] | None:
        """The permutation that sorts the ids; None where they are sorted already."""
        if bool(np.all(self._table[1:] > self._table[:-1])):
            return None
        return np.argsort(self._table, kind="stable").astype(np.int64)


def lines_digest(lines: Iterable[str]) -> str:
    """SHA-256 of lines, each ended by a line feed."""
    digest, lines = hashlib.sha256(), iter(lines)
    while part := "".join(f"{line}\n" for line in islice(lines, _AT_A_TIME)):
        digest.update(part.encode())
    return digest.hexdigest()
