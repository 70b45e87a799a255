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
copy. How one shard is written and read says :mod:`ham.data.shards`.
"""

from __future__ import annotations

import hashlib
import json
import math
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ham.data.ids import Ids, lines_digest
from ham.data.shards import crc32_of_rows, mend, open_shard, shard_name, writing_shard
from ham.data.text_lines import raise_all
from ham.errors import DataError
from ham.files import crc32_of, replacing_folder, write_text

SHARD_BYTES = 256 * 1024 * 1024
"""A shard is closed when it exceeds this: 256 MiB / (16000 samples x 2 bytes) = about 2.3 h of speech."""

INT16_SCALE = 32768.0
"""Full scale of 16-bit audio: soundfile divides by it when it reads a 16-bit file as float."""

OPEN_SHARDS = 256
"""Shards that one store keeps open: VoxCeleb2 has about 1,060 of them, a process often 1,024 files."""

INDEX_FILES = ("utts.npy", "places.npy", "sums.npy")
"""The index; ``meta.json`` holds their sizes and checksums."""

SAMPLE_BYTES = 1 << 30
"""Bytes that are compared with their checksums before a store is used, in 1 s: 9.3 h of speech."""

DURATION_SLACK_S = 2e-3
"""Durations in utt2dur are rounded, and resampling rounds to a sample."""


def to_int16(waveform: NDArray[np.float32]) -> NDArray[np.int16]:
    """Quantise samples in [-1, 1] to 16 bit; samples that came from a 16-bit file return to it unchanged."""
    scaled = np.rint(waveform * INT16_SCALE)
    clipped: NDArray[np.int16] = np.clip(scaled, -INT16_SCALE, INT16_SCALE - 1).astype(np.int16)
    return clipped


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
        self._shard = lru_cache(OPEN_SHARDS)(partial(open_shard, path))

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
        rows = hashlib.sha256(self.lengths.tobytes() + self.sums.tobytes())
        return lines_digest(self.utts), rows.hexdigest()

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
        if len(rows) == length and (found := crc32_of_rows(rows)) != (expected := int(self.sums[index])):
            path = self.shard_path(index)
            said = f"expected CRC-32 {expected:08x} of {self.utts[index]}, found {found:08x}"
            raise DataError(f"{path}: damaged: {said}; {mend(path)}")
        return rows

    def read_wrapped(self, index: int, start: int, num_rows: int) -> NDArray[Any]:
        """Read exactly ``num_rows`` rows from ``start``; speech that is shorter is wrapped around to its beginning."""
        part = self.read(index, start, num_rows)
        if len(part) == num_rows:
            return part
        whole = self.read(index)
        return np.take(whole, np.arange(start, start + num_rows) % len(whole), axis=0)

    def shard_path(self, index: int) -> Path:
        """The file that holds the utterance at a position of ``utts``."""
        return self.path / shard_name(int(self._places[0, index]))

    def shard_range(self, number: int) -> range:
        """The positions in ``utts`` of the utterances of one shard."""
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
        raise_all([problem for number, size in enumerate(sizes) if (problem := self._problem(number, size, share))])

    def _problem(self, number: int, size: int, share: float) -> str | None:
        """What is wrong with a shard, by its size and by a share of its utterances."""
        path, utts = self.path / shard_name(number), self.shard_range(number)
        if (found := file_size(path)) != size:
            what = "is missing" if found < 0 else f"expected {size} bytes, found {found}"
            return f"{path}: {what}; {mend(path)}"
        try:
            for index in np.linspace(utts.start, utts.stop - 1, max(1, int(share * len(utts)))).astype(int).tolist():
                self.read(index)
        except DataError as error:
            return str(error)
        return None


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
    sizes = [file_size(path / shard_name(number)) for number in range(len(wanted))]
    index = [file_size(path / name) for name in INDEX_FILES]
    return bool(sizes) and sizes == wanted and index == meta.get("index_bytes")


def file_size(path: Path) -> int:
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
    with replacing_folder(path) as part:
        write_index(part, *_write_shards(part, items))
        write_meta(part, meta)
        check_replaceable(path)  # perhaps hours later


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
        with writing_shard(folder / shard_name(len(sums))) as shard:
            while item is not None and shard.num_bytes <= SHARD_BYTES:
                utts.append(item[0])
                shard.add(item[1])
                item = next(source, None)
        lengths.append(shard.lengths)
        sums.append(shard.sums)
    return utts, lengths, sums


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
    """Write ``meta.json`` with the sizes of all files and the checksums of the index: the folder becomes a store.

    Args:
        folder: shards and index.
        meta: JSON values to keep.
    """
    sizes = {
        "shard_bytes": [path.stat().st_size for path in sorted(folder.glob("shard-*.npy"))],
        "index_bytes": [(folder / name).stat().st_size for name in INDEX_FILES],
        "index_crc32": _index_sums(folder),
    }
    write_text(folder / "meta.json", json.dumps({**meta, **sizes}, indent=1, sort_keys=True) + "\n")


def check_replaceable(path: Path) -> None:
    """Refuse to replace anything but a store, whole or damaged, or nothing.

    Raises:
        DataError: naming what else is there.
    """
    if path.exists() and not path.is_dir():
        raise DataError(f"{path}: expected a store to replace, but it is a file; move it away")
    ours = re.compile(r"shard-\d+\.npy|meta\.json|" + "|".join(map(re.escape, INDEX_FILES)))
    others = sorted(entry.name for entry in path.iterdir() if not ours.fullmatch(entry.name)) if path.exists() else []
    if others:
        raise DataError(f"{path}: expected a store to replace, but it also holds {others[0]!r}; move it away")


def check_current(store: ArrayStore, utt2dur: Mapping[str, float]) -> None:
    """Refuse a store that was made from other recordings than a data directory's now.

    Raises:
        DataError: if an utterance is missing, superfluous or of another duration.
    """
    seconds = store.lengths / store.sample_rate
    if len(store) == len(utt2dur) and all(map(operator.eq, store.utts, utt2dur)):
        durations = np.fromiter(utt2dur.values(), np.float64, len(utt2dur))
        if np.all(np.abs(seconds - durations) <= DURATION_SLACK_S):
            return  # the usual case, in which a million utterances need no tables of their own
    have = dict(zip(store.utts, seconds.tolist(), strict=True))
    differ = {utt for utt in utt2dur if abs(have.get(utt, -math.inf) - utt2dur[utt]) > DURATION_SLACK_S}
    if wrong := sorted(differ | (have.keys() - utt2dur.keys())):
        raise DataError(
            f"{store.path}: made from other recordings than the data directory names now: {len(wrong)} utterances are "
            f"missing, superfluous or of another duration, the first is {wrong[0]}; run stages 2 and 3"
        )
