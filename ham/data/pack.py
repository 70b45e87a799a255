"""Stage 3's work: decode every recording of a data directory once and pack it, or its filterbanks, into a store.

An audio store is made shard by shard. Which utterances a shard holds is decided beforehand, from the list of files
alone. A finished shard gets its name, and a note beside it (``shard-00000.json``) says which files it was made from: a
run that was stopped, by ``kill -9`` or otherwise, goes on after its last finished shard. Where a store is there already
but lacks a shard, or some of its files have changed, a new one is made beside it; shards that are still right are not
packed again but become hard links to the old ones. The bytes in the end are the same whatever happened on the way and
however many threads decoded.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from array import array
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ham.audio.decoding import check_regular
from ham.audio.inspection import file_stamp
from ham.data import store as stores
from ham.data.kaldi_dir import Segment
from ham.data.segments import reader
from ham.data.shards import shard_name, writing_shard
from ham.data.store import INT16_SCALE, ArrayStore, file_size, is_whole, read_meta, to_int16
from ham.errors import DataError
from ham.files import lock_place, move_in, part_of, write_text
from ham.pool import in_order

logger = logging.getLogger(__name__)

LOOKAHEAD = 8
"""Recordings that are decoded ahead for each thread: keeps all busy."""

LOOKAHEAD_BYTES = 256 * 1024 * 1024
"""Decoded samples that may wait to be written: bounds the memory where recordings are long."""

FILE_FACTOR: Mapping[str, float] = {".wav": 1.0, ".flac": 1.8, ".ogg": 6.0, ".m4a": 3.5}
"""Bytes of 16-bit samples for each byte of a file, about, where its duration is not known. m4a: VoxCeleb2's 77.5 GB
hold 2,360 h x 3600 s x 32000 bytes = 272 GB."""


@dataclass(frozen=True)
class _Planned:
    """A shard to be: its utterances in order, their expected bytes, and a digest of the files behind them."""

    utts: list[str] = field(default_factory=list)
    num_bytes: array[int] = field(default_factory=lambda: array("q"))
    files: str = ""


@dataclass(frozen=True)
class _Note:
    """What is written beside a finished shard: the digest of its files, and what index and ``meta.json`` need."""

    files: str
    num_bytes: int
    lengths: list[int]
    sums: list[int]


def is_current(path: Path, request: Mapping[str, Any]) -> bool:
    """Whether a complete store at ``path`` was made by this very request."""
    try:
        meta = read_meta(path)
    except DataError:
        return False
    return all(meta.get(key) == value for key, value in request.items()) and is_whole(path, meta)


def pack_audio(
    path: Path,
    wav: Mapping[str, Path],
    *,
    sample_rate: int,
    num_workers: int,
    durations: Mapping[str, float] | None = None,
    segments: Mapping[str, Segment] | None = None,
) -> bool:
    """Write an audio store of 16-bit samples, in the order of the ids.

    Args:
        path: the store's folder.
        wav: the recording of each utterance.
        sample_rate: Hz; other rates are converted.
        num_workers: decoding threads.
        durations: seconds of the utterances, where known: the space needed is computed from them, otherwise it is
            estimated from the sizes of the files.
        segments: the part of its file that an utterance is; one that is not named here is its whole file.

    Returns:
        False if the store was there already, made from the same files.

    Raises:
        DataError: if a recording cannot be read, if the disk is too small, or if another process packs this store.
    """
    segments = segments or {}
    shards, files = _divide(wav, sample_rate, durations or {}, segments)
    request = {"kind": "audio", "sample_rate": sample_rate, "files": files}
    if is_current(path, request):
        return False
    stores.check_replaceable(path)
    part = part_of(path)
    with lock_place(path, "packing"):
        part.mkdir(exist_ok=True)
        if not is_current(part, request):
            notes = _reuse(path, part, shards)
            _check_space(path, shards, notes, sample_rate)
            read = reader(wav, segments, sample_rate)
            _pack(part, shards, notes, lambda utt: to_int16(read(utt)), num_workers)
            _complete(part, shards, notes, request)
        for note in part.glob("shard-*.json"):
            note.unlink()
        stores.check_replaceable(path)  # perhaps hours later
        move_in(part, path)
    return True


def _divide(
    wav: Mapping[str, Path], sample_rate: int, durations: Mapping[str, float], segments: Mapping[str, Segment]
) -> tuple[list[_Planned], str]:
    """Divide the utterances into shards by their expected bytes; also a digest of all files."""
    whole = hashlib.sha256()
    shards: list[_Planned] = []
    shard, own, total = _Planned(), hashlib.sha256(), 0
    utts = sorted(wav)
    for number, utt in enumerate(utts, 1):
        status = check_regular(wav[utt])
        part = " {:.6f} {:.6f}".format(*segments[utt]) if utt in segments else ""
        line = f"{utt} {wav[utt]}{part} {file_stamp(status)}\n".encode()
        whole.update(line)
        own.update(line)
        shard.utts.append(utt)
        shard.num_bytes.append(_expected_bytes(str(wav[utt]), status.st_size, durations.get(utt), sample_rate))
        total += shard.num_bytes[-1]
        if total > stores.SHARD_BYTES or number == len(utts):
            shards.append(replace(shard, files=f"{sample_rate} {own.hexdigest()}"))
            shard, own, total = _Planned(), hashlib.sha256(), 0
    return shards, whole.hexdigest()


def _expected_bytes(path: str, size: int, duration_s: float | None, sample_rate: int) -> int:
    """Bytes of 16-bit samples of a recording; an estimate where its duration is not known."""
    if duration_s is not None:
        return 2 * round(duration_s * sample_rate)
    return int(size * FILE_FACTOR.get(os.path.splitext(path)[1].lower(), 1.0))  # noqa: PTH122 - a million times


def _reuse(path: Path, part: Path, shards: Sequence[_Planned]) -> dict[int, _Note]:
    """The shards that need no packing: those of a run that was stopped, and the unchanged ones of the old store."""
    notes = {}
    for number, shard in enumerate(shards):
        note = _read_note(part, number)
        if note and note.files == shard.files and file_size(part / shard_name(number)) == note.num_bytes:
            notes[number] = note
    kept = {name for number in notes for name in (shard_name(number), _note_path(part, number).name)}
    for file in part.iterdir():
        if file.name not in kept:
            file.unlink()
    _link_old(path, part, {shard.files: number for number, shard in enumerate(shards) if number not in notes}, notes)
    if notes:
        logger.info("%s: %d of %d shards are there already", path, len(notes), len(shards))
    return notes


def _link_old(path: Path, part: Path, wanted: Mapping[str, int], notes: dict[int, _Note]) -> None:
    """Link those shards of the old store that are wanted; a file system without links costs their packing."""
    try:
        store = ArrayStore(path)
    except DataError:
        return
    meta = store.meta
    for old, files in enumerate(meta.get("shard_files", [])):
        new = wanted.get(files, -1)
        if new >= 0 and file_size(path / shard_name(old)) == meta["shard_bytes"][old]:
            try:
                os.link(path / shard_name(old), part / shard_name(new))
            except OSError:
                return
            utts = store.shard_range(old)
            lengths, sums = (rows[utts.start : utts.stop].tolist() for rows in (store.lengths, store.sums))
            notes[new] = _Note(files, meta["shard_bytes"][old], lengths, sums)
            _write_note(part, new, notes[new])


def _read_note(part: Path, number: int) -> _Note | None:
    """The note beside a shard, if there is a whole one."""
    try:
        return _Note(**json.loads(_note_path(part, number).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write_note(part: Path, number: int, note: _Note) -> None:
    """Say that a shard is finished."""
    write_text(_note_path(part, number), json.dumps(asdict(note)))


def _note_path(part: Path, number: int) -> Path:
    return (part / shard_name(number)).with_suffix(".json")


def _check_space(path: Path, shards: Sequence[_Planned], notes: Mapping[int, _Note], sample_rate: int) -> None:
    """Refuse to begin what cannot fit on the disk, with the arithmetic."""
    total = sum(sum(shard.num_bytes) for shard in shards)
    done = sum(note.num_bytes for note in notes.values())
    free = shutil.disk_usage(path.parent).free
    if total - done > free:
        hours = total / (2 * sample_rate * 3600)
        raise DataError(
            f"{path}: {hours:,.1f} h x 3600 s x {sample_rate} samples x 2 bytes = {total / 1e9:,.1f} GB, of which "
            f"{done / 1e9:,.1f} GB are there; expected {(total - done) / 1e9:,.1f} GB free on that disk, found "
            f"{free / 1e9:,.1f} GB; free {(total - done - free) / 1e9:,.1f} GB more, or choose another --data_dir"
        )


def _pack(
    part: Path,
    shards: Sequence[_Planned],
    notes: dict[int, _Note],
    decode: Callable[[str], NDArray[np.int16]],
    num_workers: int,
) -> None:
    """Pack the shards that have no note yet, one after the other; the recordings are decoded in threads."""
    todo = [number for number in range(len(shards)) if number not in notes]
    total, done = sum(len(shard.utts) for shard in shards), sum(len(note.lengths) for note in notes.values())
    with (
        tqdm(total=total, initial=done, desc=f"pack {part.name[1:-5]}", unit="utt", delay=2) as bar,
        ThreadPoolExecutor(num_workers) as pool,
        closing(_decoded(pool, [shards[number] for number in todo], decode, num_workers)) as decoded,
    ):
        for number in todo:
            with writing_shard(part / shard_name(number)) as shard:
                for rows in islice(decoded, len(shards[number].utts)):
                    shard.add(rows)
                    bar.update()
            size = (part / shard_name(number)).stat().st_size
            notes[number] = _Note(shards[number].files, size, shard.lengths, shard.sums)
            _write_note(part, number, notes[number])


def _decoded(
    pool: ThreadPoolExecutor, shards: Sequence[_Planned], decode: Callable[[str], NDArray[np.int16]], num_workers: int
) -> Generator[NDArray[np.int16], None, None]:
    """The samples of all utterances of some shards, in order; what waits to be written is bounded in bytes."""
    return in_order(
        pool,
        lambda utt: decode(utt[0]),
        (utt for shard in shards for utt in zip(shard.utts, shard.num_bytes, strict=True)),
        LOOKAHEAD * num_workers,
        weigh=itemgetter(1),
        max_weight=LOOKAHEAD_BYTES,
        num_busy=num_workers,
    )


def _complete(part: Path, shards: Sequence[_Planned], notes: Mapping[int, _Note], request: Mapping[str, Any]) -> None:
    """Write index and ``meta.json`` of a folder that has all its shards."""
    ordered = [notes[number] for number in range(len(shards))]
    utts = [utt for shard in shards for utt in shard.utts]
    stores.write_index(part, utts, [note.lengths for note in ordered], [note.sums for note in ordered])
    stores.write_meta(part, {**request, "shard_files": [note.files for note in ordered]})


def pack_features(
    path: Path, audio: ArrayStore, frontend: Callable[[torch.Tensor], torch.Tensor], described: Mapping[str, Any]
) -> bool:
    """Write a store of float32 filterbanks of every utterance of an audio store.

    Args:
        path: the store's folder.
        audio: the samples.
        frontend: ``(1, N)`` samples in [-1, 1] to ``(1, T, F)`` features.
        described: the front end's settings, kept beside the features; others make a store out of date.

    Returns:
        False if the store was there already, made from the same samples and settings.
    """
    request = {**described, "kind": "features", "sample_rate": audio.sample_rate, "audio": audio.digest}
    if is_current(path, request):
        return False

    def _compute() -> Iterator[tuple[str, NDArray[np.float32]]]:
        for index, utt in enumerate(audio.utts):
            samples = torch.from_numpy(audio.read(index)).float() / INT16_SCALE
            with torch.inference_mode():
                yield utt, frontend(samples[None])[0].numpy()

    stores.write_store(path, tqdm(_compute(), total=len(audio), desc=f"pack {path.name}", unit="utt", delay=2), request)
    return True
