"""Stage 3's work: decode every recording of a data directory once and pack it, or its filterbanks, into a store."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from ham.data.audio import read_audio
from ham.data.store import INT16_SCALE, ArrayStore, is_whole, read_meta, to_int16, write_store
from ham.errors import DataError

LOOKAHEAD = 8
"""Recordings that are decoded ahead for each thread: keeps all busy, and memory bounded."""


def files_fingerprint(wav: Mapping[str, Path]) -> str:
    """A digest of ids, paths, sizes and times of change: another one means that a store is out of date."""
    digest = hashlib.sha256()
    for utt in sorted(wav):
        stat = wav[utt].stat()
        digest.update(f"{utt} {wav[utt]} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def content_fingerprint(store: ArrayStore, utt2spk: Mapping[str, str] | None = None) -> str:
    """A digest of what a store holds (ids, lengths and, where they are given, speakers), wherever it lies."""
    digest = hashlib.sha256()
    for utt, length in zip(store.utts, store.lengths.tolist(), strict=True):
        digest.update(f"{utt} {length} {utt2spk[utt] if utt2spk else ''}\n".encode())
    return digest.hexdigest()


def is_current(path: Path, request: Mapping[str, Any]) -> bool:
    """Whether a complete store at ``path`` was made by this very request."""
    try:
        meta = read_meta(path)
    except DataError:
        return False
    return all(meta.get(key) == value for key, value in request.items()) and is_whole(path, meta)


def pack_audio(path: Path, wav: Mapping[str, Path], *, sample_rate: int, num_workers: int) -> bool:
    """Write an audio store of 16-bit samples, in the order of the ids.

    Args:
        path: the store's folder.
        wav: the recording of each utterance.
        sample_rate: Hz; other rates are converted.
        num_workers: decoding threads.

    Returns:
        False if the store was there already, made from the same files.

    Raises:
        DataError: if a recording cannot be read.
    """
    request = {"kind": "audio", "sample_rate": sample_rate, "files": files_fingerprint(wav)}
    if is_current(path, request):
        return False

    def _decode(utt: str) -> tuple[str, NDArray[np.int16]]:
        return utt, to_int16(read_audio(wav[utt], sample_rate))

    decoded = _ordered(_decode, sorted(wav), num_workers)
    write_store(path, tqdm(decoded, total=len(wav), desc=f"pack {path.name}", unit="utt", delay=2), request)
    return True


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
    request = {**described, "kind": "features", "sample_rate": audio.sample_rate, "files": audio.meta["files"]}
    if is_current(path, request):
        return False

    def _compute() -> Iterator[tuple[str, NDArray[np.float32]]]:
        for index, utt in enumerate(audio.utts):
            samples = torch.from_numpy(audio.read(index)).float() / INT16_SCALE
            with torch.inference_mode():
                yield utt, frontend(samples[None])[0].numpy()

    write_store(path, tqdm(_compute(), total=len(audio), desc=f"pack {path.name}", unit="utt", delay=2), request)
    return True


def _ordered(work: Callable[[str], Any], keys: Iterable[str], num_workers: int) -> Iterator[Any]:
    """Map in threads, keeping the order and at most ``LOOKAHEAD`` results a thread waiting."""
    keys = iter(keys)
    with ThreadPoolExecutor(num_workers) as pool:
        waiting: deque[Future[Any]] = deque(pool.submit(work, k) for k in islice(keys, num_workers * LOOKAHEAD))
        try:
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(work, k) for k in islice(keys, 1))
        finally:
            for future in waiting:
                future.cancel()
