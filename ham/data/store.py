"""A store of arrays of different lengths, packed so that any part of one is a single bounded read.

A store is a folder: shards ``shard-00000.npy`` (NumPy's own format, rows of all utterances end to end, opened
memory-mapped), ``index.npz`` (who lies where) and ``meta.json`` (what it holds and what was asked for). The
rows are 16-bit samples (an audio store) or frames of ``F`` values (a feature store).
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ham.errors import DataError

SHARD_BYTES = 256 * 1024 * 1024
"""A shard is closed when it exceeds this: 256 MiB x 1 shard in memory while writing, about 2.3 h of speech."""

INT16_SCALE = 32768.0
"""Full scale of 16-bit audio: soundfile divides by it when it reads a 16-bit file as float."""


def to_int16(waveform: NDArray[np.float32]) -> NDArray[np.int16]:
    """Quantise samples in [-1, 1] to 16 bit; samples that came from a 16-bit file return to it unchanged."""
    scaled = np.rint(waveform * INT16_SCALE)
    clipped: NDArray[np.int16] = np.clip(scaled, -INT16_SCALE, INT16_SCALE - 1).astype(np.int16)
    return clipped


class ArrayStore:
    """A store opened for reading; the shards are memory-mapped when first touched.

    Attributes:
        path: its folder.
        utts: utterance ids in the order of the store.
        lengths: number of rows (samples or frames) of each utterance, int64.
        meta: what ``write_store`` was given as ``meta``.

    Raises:
        DataError: if a file of the store is missing, damaged or not of the size that the index says.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.meta = read_meta(path)
        try:
            with np.load(path / "index.npz", allow_pickle=False) as index:
                self.utts = tuple(np.char.decode(index["utts"], "utf-8").tolist())
                self.lengths: NDArray[np.int64] = index["lengths"]
                self._shards: NDArray[np.int32] = index["shards"]
                self._offsets: NDArray[np.int64] = index["offsets"]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}/index.npz: cannot be read ({error}); delete {path} and run stage 3") from None
        self._open: dict[int, NDArray[Any]] = {}

    def __len__(self) -> int:
        """Number of utterances."""
        return len(self.utts)

    @property
    def sample_rate(self) -> int:
        """Samples a second of the audio that the store holds or was computed from."""
        return int(self.meta["sample_rate"])

    def __getstate__(self) -> dict[str, Any]:
        """Leave the memory maps out, so that a store sent to a loader's worker opens its own."""
        return {**self.__dict__, "_open": {}}

    def read(self, index: int, start: int = 0, num_rows: int | None = None) -> NDArray[Any]:
        """Read rows ``start`` to ``start + num_rows`` of one utterance, ended by the utterance's own end.

        Args:
            index: position of the utterance in ``utts``.
            start: first row, at least 0.
            num_rows: how many rows; all that follow if None.

        Returns:
            A copy: ``(n,)`` int16 samples or ``(n, F)`` frames.
        """
        length = int(self.lengths[index])
        stop = length if num_rows is None else min(length, start + num_rows)
        base = int(self._offsets[index])
        return np.array(self._shard(int(self._shards[index]))[base + start : base + stop])

    def read_wrapped(self, index: int, start: int, num_rows: int) -> NDArray[Any]:
        """Read exactly ``num_rows`` rows from ``start``; speech that is shorter is wrapped around to its begin."""
        part = self.read(index, start, num_rows)
        if len(part) == num_rows:
            return part
        whole = self.read(index)
        return np.take(whole, np.arange(start, start + num_rows) % len(whole), axis=0)

    def _shard(self, number: int) -> NDArray[Any]:
        """The memory map of a shard."""
        if number not in self._open:
            path = self.path / _shard_name(number)
            try:
                self._open[number] = np.load(path, mmap_mode="r", allow_pickle=False)
            except (OSError, ValueError) as error:
                raise DataError(f"{path}: damaged ({error}); delete {self.path} and run stage 3") from None
        return self._open[number]


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
        raise DataError(f"{path}/meta.json: damaged ({error}); delete {path} and run stage 3") from None
    if not isinstance(meta, dict):
        raise DataError(f"{path}/meta.json: expected a JSON object; delete {path} and run stage 3")
    return meta


def is_whole(path: Path, meta: Mapping[str, Any]) -> bool:
    """Whether the index and every shard that ``meta`` counts lie there in their full size."""
    shards = [path / _shard_name(number) for number in range(len(meta.get("shard_bytes", [])))]
    sizes = [shard.stat().st_size if shard.exists() else -1 for shard in shards]
    return bool(shards) and sizes == meta["shard_bytes"] and (path / "index.npz").exists()


def write_store(path: Path, items: Iterable[tuple[str, NDArray[Any]]], meta: Mapping[str, Any]) -> None:
    """Write a store; it appears under its name only when it is complete, and then replaces an older one.

    Args:
        path: the folder to make.
        items: utterance id and its rows, ``(n,)`` int16 or ``(n, F)`` float; all of one dtype and width.
        meta: JSON values to keep beside it; ``sample_rate`` (Hz) must be among them.

    Raises:
        DataError: if an id comes twice, there is no item, or the disk is full.
    """
    part = path.with_name(f".{path.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _write_parts(part, items)
        whole = {**meta, "shard_bytes": [p.stat().st_size for p in sorted(part.glob("shard-*.npy"))]}
        (part / "meta.json").write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        shutil.rmtree(path, ignore_errors=True)
        os.replace(part, path)  # noqa: PTH105 - the atomic move of a folder, named like that of a file
    except OSError as error:
        if error.errno is not None:
            raise
        raise DataError(f"{path}: cannot be written ({error}); is the disk full?") from None  # NumPy's short write
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write_parts(part: Path, items: Iterable[tuple[str, NDArray[Any]]]) -> None:
    """Write shards and index into an empty folder."""
    utts: list[str] = []
    lengths: list[int] = []
    shards: list[int] = []
    pending: list[NDArray[Any]] = []
    pending_bytes = number = 0
    for utt, rows in items:
        utts.append(utt)
        lengths.append(len(rows))
        shards.append(number)
        pending.append(rows)
        pending_bytes += rows.nbytes
        if pending_bytes > SHARD_BYTES:
            np.save(part / _shard_name(number), np.concatenate(pending))
            pending, pending_bytes, number = [], 0, number + 1
    if pending:
        np.save(part / _shard_name(number), np.concatenate(pending))
    _write_index(part, utts, np.array(lengths, np.int64), np.array(shards, np.int32))


def _write_index(part: Path, utts: list[str], lengths: NDArray[np.int64], shards: NDArray[np.int32]) -> None:
    """Write ``index.npz``; an utterance's offset is the number of rows before it in its shard."""
    if not utts:
        raise DataError(f"{part.parent}: nothing to store: the data directory holds no utterance")
    if len(set(utts)) != len(utts):
        twice = next(u for u in utts if utts.count(u) > 1)
        raise DataError(f"{part.parent}: utterance {twice} comes twice; ids must be unique")
    ends = np.cumsum(lengths)
    starts = ends - lengths
    first_of_shard = np.concatenate([[True], shards[1:] != shards[:-1]])
    base = np.maximum.accumulate(np.where(first_of_shard, starts, 0))
    np.savez(
        part / "index.npz",
        utts=np.char.encode(np.array(utts), "utf-8"),
        lengths=lengths,
        shards=shards,
        offsets=starts - base,
    )


def _shard_name(number: int) -> str:
    """File name of a shard."""
    return f"shard-{number:05d}.npy"
