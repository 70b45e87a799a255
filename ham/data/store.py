"""A store of arrays of different lengths, packed so that any part of one is a single bounded read.

A store is a folder of NumPy's own files, each of which ``np.load(..., mmap_mode="r")`` opens too:

===================  =====================================================================================
file                 content
===================  =====================================================================================
``shard-00000.npy``  the rows of many utterances end to end: 16-bit samples ``(n,)`` or frames ``(n, F)``
``utts.npy``         ids ``(N,)``, UTF-8 of one width, in the order of the store
``places.npy``       int64 ``(3, N)``: the utterance's shard, its first row there, its number of rows
``sums.npy``         uint32 ``(N,)``: CRC-32 of the bytes of the utterance's rows
``meta.json``        what it holds, what was asked for, sizes of all files, CRC-32 of the index; written last
===================  =====================================================================================

The index files are memory-mapped: a million utterances open at once, and the processes of a loader share one
copy. The shards are read by ``preadv`` and not through a map, since a disk error or a file that was cut must
become an error that names the file; a map answers with SIGBUS, which kills the process.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ham.data import ownership
from ham.errors import DataError, summarise
from ham.files import crc32_of

SHARD_BYTES = 256 * 1024 * 1024
"""A shard is closed when it exceeds this: 256 MiB / (16000 samples x 2 bytes) = about 2.3 h of speech."""

INT16_SCALE = 32768.0
"""Full scale of 16-bit audio: soundfile divides by it when it reads a 16-bit file as float."""

OPEN_SHARDS = 256
"""Shards that one store keeps open: VoxCeleb2 has about 1,060 of them, a process often 1,024 files."""

INDEX_FILES = ("utts.npy", "places.npy", "sums.npy")
"""The index; ``meta.json`` holds their sizes and checksums."""

SAMPLE_BYTES = 1 << 30
"""Bytes that are compared with their checksums before a store is used: 9.3 h of speech, all of a smaller store; 1 s."""

_HEADER_BYTES = 128  # of every shard: NumPy wants a multiple of 64, and the shape is only known in the end
_HEADER = re.compile(rb"'(<[if][248])'.*'shape': [(](\d+,(?: \d+)?)[)]")
_DECODED = 4096  # ids that are decoded at a time


def to_int16(waveform: NDArray[np.float32]) -> NDArray[np.int16]:
    """Quantise samples in [-1, 1] to 16 bit; samples that came from a 16-bit file return to it unchanged."""
    scaled = np.rint(waveform * INT16_SCALE)
    clipped: NDArray[np.int16] = np.clip(scaled, -INT16_SCALE, INT16_SCALE - 1).astype(np.int16)
    return clipped


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
        for start in range(0, len(self), _DECODED):
            yield from map(bytes.decode, self._table[start : start + _DECODED].tolist())

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
        """Position of an id.

        Args:
            utt: the id.
            start: only from this position on.
            stop: only before this position.

        Raises:
            ValueError: if it is not there.
        """
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


class ArrayStore:
    """A store opened for reading; a shard is opened when it is first touched.

    A pickled store is its path: whoever gets it opens the files anew and shares the index with all others.

    Attributes:
        path: its folder.
        utts: utterance ids in the order of the store.
        lengths: number of rows (samples or frames) of each utterance, int64.
        sums: CRC-32 of the rows of each utterance, uint32.
        meta: what ``write_store`` was given as ``meta``, with the sizes of the files.

    Raises:
        DataError: if a file of the index is missing or damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.meta = read_meta(path)
        self.utts = Ids(_mapped(path / "utts.npy"))
        self._places: NDArray[np.int64] = _mapped(path / "places.npy")
        if self._places.shape != (3, len(self.utts)):
            found = f"{len(self.utts)} ids and places of shape {self._places.shape}"
            raise DataError(f"{path}: expected an index of (N,) ids and (3, N) places, found {found}; {_again(path)}")
        self.sums: NDArray[np.uint32] = _mapped(path / "sums.npy")
        if (crcs := _index_sums(path)) != (wanted := self.meta.get("index_crc32")):
            raise DataError(f"{path}: damaged index: expected the checksums {wanted}, found {crcs}; {_again(path)}")
        self.lengths: NDArray[np.int64] = self._places[2]
        self._shard = lru_cache(OPEN_SHARDS)(partial(_open_shard, path))

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.utts)

    def __reduce__(self) -> tuple[type[ArrayStore], tuple[Path]]:
        return ArrayStore, (self.path,)

    @property
    def sample_rate(self) -> int:
        """Samples a second of the audio that the store holds or was computed from."""
        return int(self.meta["sample_rate"])

    @cached_property
    def digests(self) -> tuple[str, str]:
        """SHA-256 of the ids, and of lengths and checksums of their rows: what the store holds, wherever it lies."""
        ids = hashlib.sha256()
        for start in range(0, len(self), _DECODED):
            ids.update("".join(f"{utt}\n" for utt in self.utts[start : start + _DECODED]).encode())
        rows = hashlib.sha256(self.lengths.tobytes() + self.sums.tobytes())
        return ids.hexdigest(), rows.hexdigest()

    @property
    def digest(self) -> str:
        """Of ids and rows together."""
        return hashlib.sha256("".join(self.digests).encode()).hexdigest()

    def read(self, index: int, start: int = 0, num_rows: int | None = None) -> NDArray[Any]:
        """Read rows ``start`` to ``start + num_rows`` of one utterance, ended by the utterance's own end.

        A whole utterance is compared with its checksum, which a part of one cannot be.

        Args:
            index: position of the utterance in ``utts``.
            start: first row, at least 0.
            num_rows: how many rows; all that follow if None.

        Returns:
            An array of its own: ``(n,)`` int16 samples or ``(n, F)`` frames.

        Raises:
            DataError: if the rows cannot be read or are damaged, naming the shard.
        """
        shard, base, length = self._places[:, index].tolist()
        stop = length if num_rows is None else min(length, start + num_rows)
        rows = self._shard(shard).read(base + start, max(0, stop - start))
        if len(rows) == length and (found := _crc32(rows)) != (expected := int(self.sums[index])):
            path = self.shard_path(index)
            said = f"expected CRC-32 {expected:08x} of {self.utts[index]}, found {found:08x}"
            raise DataError(f"{path}: damaged: {said}; {_mend(path)}")
        return rows

    def read_wrapped(self, index: int, start: int, num_rows: int) -> NDArray[Any]:
        """Read exactly ``num_rows`` rows from ``start``; speech that is shorter is wrapped around to its begin."""
        part = self.read(index, start, num_rows)
        if len(part) == num_rows:
            return part
        whole = self.read(index)
        return np.take(whole, np.arange(start, start + num_rows) % len(whole), axis=0)

    def shard_path(self, index: int) -> Path:
        """The file that holds an utterance.

        Args:
            index: position of the utterance in ``utts``.
        """
        return self.path / shard_name(int(self._places[0, index]))

    def shard_range(self, number: int) -> range:
        """Positions of the utterances of one shard.

        Args:
            number: the shard's.
        """
        return range(*np.searchsorted(self._places[0], [number, number + 1]).tolist())

    def check_shards(self, *, contents: bool = False) -> None:
        """Compare every shard with what the index says of it: size, header, checksums of its utterances.

        Args:
            contents: compare every checksum; otherwise those of ``SAMPLE_BYTES``, spread evenly over all shards, and
                of one utterance of each shard at least.

        Raises:
            DataError: naming the shards that are missing, cut or damaged.
        """
        sizes = self.meta.get("shard_bytes", [])
        share = 1.0 if contents else min(1.0, SAMPLE_BYTES / max(1, sum(sizes)))
        problems = [problem for number, size in enumerate(sizes) if (problem := self._problem(number, size, share))]
        if problems:
            raise DataError(summarise(problems))

    def _problem(self, number: int, size: int, share: float) -> str | None:
        """What is wrong with a shard, by its size and by a share of its utterances."""
        path, utts = self.path / shard_name(number), self.shard_range(number)
        if (found := _size(path)) != size:
            what = "is missing" if found < 0 else f"expected {size} bytes, found {found}"
            return f"{path}: {what}; {_mend(path)}"
        try:
            for index in np.linspace(utts.start, utts.stop - 1, max(1, int(share * len(utts)))).astype(int).tolist():
                self.read(index)
        except DataError as error:
            return str(error)
        return None


class _Shard:
    """One open shard, read row-wise at any place by any number of threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_RDONLY)
        with open(self._file, "rb", closefd=False) as stream:
            shape, self._dtype = _read_header(stream)
            self._start = stream.tell()
        self._width = shape[1:]
        self._row_bytes = int(np.prod(self._width, dtype=np.int64)) * self._dtype.itemsize
        size, found = self._start + shape[0] * self._row_bytes, os.fstat(self._file).st_size
        if found != size:
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
                raise DataError(f"{self.path}: byte {place + done}: {error.strerror}; {_mend(self.path)}") from error
            if not got:
                raise DataError(f"{self.path}: was cut before byte {place + done} while in use; {_mend(self.path)}")
            done += got


def _crc32(rows: NDArray[Any]) -> int:
    """CRC-32 of the bytes of rows."""
    return zlib.crc32(np.ascontiguousarray(rows).data.cast("B") if rows.size else b"")


def _open_shard(folder: Path, number: int) -> _Shard:
    path = folder / shard_name(number)
    try:
        return _Shard(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot be read or damaged ({reason}); {_mend(path)}") from None


def _mapped(path: Path) -> NDArray[Any]:
    """An index file, memory-mapped; as a plain array, whose elements are faster to take than a memmap's."""
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read ({error}); {_again(path.parent)}") from None


def _index_sums(store: Path) -> list[int]:
    """CRC-32 of the index files; they are read, since pages of a map would count as the process's own."""
    return [crc32_of(store / name) for name in INDEX_FILES]


def _again(store: Path) -> str:
    return f"delete {store} and run stage 3"


def _mend(shard: Path) -> str:
    return f"delete {shard} and run stage 3, which packs again what is missing"


def read_meta(path: Path) -> dict[str, Any]:
    """Read what a store holds and what it was asked for.

    Raises:
        DataError: if there is no complete store at ``path``.
    """
    try:
        meta = json.loads((path / "meta.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: no store here; run stage 3 first") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}/meta.json: damaged ({error}); {_again(path)}") from None
    if not isinstance(meta, dict):
        raise DataError(f"{path}/meta.json: expected a JSON object; {_again(path)}")
    return meta


def is_whole(path: Path, meta: Mapping[str, Any]) -> bool:
    """Whether the index and every shard that ``meta`` counts lie there in their full size."""
    wanted = meta.get("shard_bytes", [])
    sizes = [_size(path / shard_name(number)) for number in range(len(wanted))]
    index = [_size(path / name) for name in INDEX_FILES]
    return bool(sizes) and sizes == wanted and index == meta.get("index_bytes")


def _size(path: Path) -> int:
    """Size of a file, -1 without one."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def write_store(path: Path, items: Iterable[tuple[str, NDArray[Any]]], meta: Mapping[str, Any]) -> None:
    """Write a store; it appears under its name only when it is complete, and then replaces an older one.

    Args:
        path: the folder to make.
        items: utterance id and its rows, ``(n,)`` int16 or ``(n, F)`` float; all of one dtype and width.
        meta: JSON values to keep beside it; ``sample_rate`` (Hz) must be among them.

    Raises:
        DataError: if an id comes twice, or there is no item.
    """
    check_replaceable(path)
    part = part_folder(path)
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        write_index(part, *_write_shards(part, items))
        write_meta(part, meta)
        move_in(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_shards(
    folder: Path, items: Iterable[tuple[str, NDArray[Any]]]
) -> tuple[list[str], list[list[int]], list[list[int]]]:
    """Write all rows; returns the ids, and shard by shard the lengths and the checksums of its utterances."""
    utts: list[str] = []
    lengths: list[list[int]] = []
    sums: list[list[int]] = []
    source = iter(items)
    item = next(source, None)
    while item is not None:
        with ShardWriter(folder / shard_name(len(sums))) as shard:
            while item is not None and shard.num_bytes <= SHARD_BYTES:
                utts.append(item[0])
                shard.add(item[1])
                item = next(source, None)
        lengths.append(shard.lengths)
        sums.append(shard.sums)
    return utts, lengths, sums


class ShardWriter:
    """Writes one shard row by row; the file has its name only when it is complete and on the disk.

    A context manager: leaving it normally completes the file, leaving it by an exception removes what there is.

    Attributes:
        num_bytes: bytes of the rows so far.
        lengths: number of rows of each utterance so far.
        sums: CRC-32 of the rows of each utterance so far.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_bytes = 0
        self.lengths: list[int] = []
        self.sums: list[int] = []
        self._part = path.with_name(f".{path.name}.part")
        self._kind: tuple[np.dtype[Any], tuple[int, ...]] | None = None

    def __enter__(self) -> ShardWriter:
        self._stream = self._part.open("wb")
        self._stream.write(bytes(_HEADER_BYTES))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            with self._stream:
                if error is None:
                    self._complete()
            if error is None:
                os.replace(self._part, self.path)  # noqa: PTH105 - the pair to the temporary name above
        finally:
            self._part.unlink(missing_ok=True)

    def add(self, rows: NDArray[Any]) -> None:
        """Append an utterance.

        Args:
            rows: ``(n,)`` or ``(n, F)``, of the dtype and width of the first ones.
        """
        self._kind = self._kind or (rows.dtype, rows.shape[1:])
        if self._kind != (rows.dtype, rows.shape[1:]):
            raise DataError(f"{self.path}: expected rows of {self._kind}, found {(rows.dtype, rows.shape[1:])}")
        self._stream.write(np.ascontiguousarray(rows).data.cast("B") if rows.size else b"")
        self.sums.append(_crc32(rows))
        self.lengths.append(len(rows))
        self.num_bytes += rows.nbytes

    def _complete(self) -> None:
        """Put the header in its place and wait for the disk."""
        if self._kind is None:
            raise DataError(f"{self.path}: nothing to store: the data directory holds no utterance")
        self._stream.seek(0)
        self._stream.write(shard_header((sum(self.lengths), *self._kind[1]), self._kind[0]))
        self._stream.flush()
        os.fsync(self._stream.fileno())


def shard_header(shape: tuple[int, ...], dtype: DTypeLike) -> bytes:
    """The first bytes of a shard: NumPy's header of format 1.0, filled up to a size of its own.

    Args:
        shape: of the rows that follow.
        dtype: of the rows that follow.
    """
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


def write_index(
    folder: Path, utts: Sequence[str], lengths: Sequence[Sequence[int]], sums: Sequence[Sequence[int]]
) -> None:
    """Write ``utts.npy``, ``places.npy`` and ``sums.npy``.

    Args:
        folder: the store that is being made.
        utts: the ids in the order of the store.
        lengths: number of rows of each utterance, shard by shard.
        sums: CRC-32 of the rows of each utterance, shard by shard.

    Raises:
        DataError: if there is no utterance, or an id comes twice.
    """
    if not utts:
        raise DataError(f"{folder.parent}: nothing to store: the data directory holds no utterance")
    width = max(len(utt.encode("utf-8")) for utt in utts)
    table = np.fromiter((utt.encode("utf-8") for utt in utts), np.dtype(f"S{width}"), len(utts))
    ordered = np.sort(table)
    if len(twice := np.flatnonzero(ordered[1:] == ordered[:-1])):
        utt = bytes(ordered[twice[0]]).decode("utf-8")
        raise DataError(f"{folder.parent}: utterance {utt} comes twice; ids must be unique")
    places, checksums = np.empty((3, len(table)), np.int64), np.empty(len(table), np.uint32)
    end = 0
    for number, (shard, own_sums) in enumerate(zip(lengths, sums, strict=True)):
        start, end = end, end + len(shard)
        checksums[start:end] = own_sums
        places[0, start:end] = number
        places[2, start:end] = shard
        places[1, start:end] = np.cumsum(places[2, start:end]) - places[2, start:end]
    if end != len(table):
        raise ValueError(f"{len(table)} ids, but {end} lengths")
    arrays: tuple[NDArray[Any], ...] = (table, places, checksums)
    try:
        for name, array in zip(INDEX_FILES, arrays, strict=True):
            np.save(folder / name, array)
    except OSError as error:
        if error.errno is not None:
            raise
        raise DataError(f"{folder}: cannot be written ({error}); is the disk full?") from None  # NumPy's short write


def write_meta(folder: Path, meta: Mapping[str, Any]) -> None:
    """Write ``meta.json`` with the sizes of all files and the checksums of the index, in one move.

    From here on the folder is a store.

    Args:
        folder: shards and index.
        meta: JSON values to keep.
    """
    sizes = {
        "shard_bytes": [path.stat().st_size for path in sorted(folder.glob("shard-*.npy"))],
        "index_bytes": [(folder / name).stat().st_size for name in INDEX_FILES],
        "index_crc32": _index_sums(folder),
    }
    part = folder / ".meta.json.part"
    part.write_text(json.dumps({**meta, **sizes}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    part.replace(folder / "meta.json")


def part_folder(path: Path) -> Path:
    """Where a store is made before it has its name."""
    return path.with_name(f".{path.name}.part")


def move_in(part: Path, path: Path) -> None:
    """Give a complete store its name, in the place of an older one.

    Args:
        part: the store.
        path: its name.

    Raises:
        DataError: as :func:`check_replaceable`.
    """
    check_replaceable(path)
    ownership.move_in(part, path)


def check_replaceable(path: Path) -> None:
    """Refuse to replace anything but a store, whole or damaged.

    Args:
        path: its folder; there need not be one.

    Raises:
        DataError: naming what else is there.
    """
    if path.exists() and not path.is_dir():
        raise DataError(f"{path}: expected a store to replace, but it is a file; move it away")
    ours = re.compile(r"shard-\d+\.npy|meta\.json|" + "|".join(map(re.escape, INDEX_FILES)))
    others = sorted(entry.name for entry in path.iterdir() if not ours.fullmatch(entry.name)) if path.exists() else []
    if others:
        raise DataError(f"{path}: expected a store to replace, but it also holds {others[0]!r}; move it away")


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.npy"
