"""Inspection of many audio files, each once: what is known of them is remembered in the data folder."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ham.audio.decoding import AudioInfo, inspect_audio, inspect_files, inspect_header
from ham.audio.inspection import AudioCache
from ham.errors import DataError

CHECKS = {"decode": (inspect_audio, ".audio_cache.json"), "header": (inspect_header, ".header_cache.json")}
"""How a file is inspected, and the name of the memory of inspected files in the data folder."""

SAVE_EVERY = 50_000
"""Files after which the memory is written: a run that is killed loses some minutes of decoding."""


def inspect(
    files: Sequence[Path], data_dir: Path, check: str, num_workers: int
) -> tuple[dict[Path, AudioInfo], dict[Path, DataError]]:
    """Inspect every file that the data folder's memory does not know; new ones are remembered, also when interrupted.

    Args:
        files: the files.
        data_dir: the data folder.
        check: one of ``CHECKS``.
        num_workers: threads.

    Returns:
        What is known of the good files, and the errors of the bad ones.
    """
    look, name = CHECKS[check]
    cache = AudioCache(data_dir / name)
    infos, bad = cache.find(files), dict[Path, DataError]()
    todo = [file for file in files if file not in infos]
    found = inspect_files(todo, num_workers, look)
    every_s = 0.5 if sys.stderr.isatty() else 30.0
    try:
        for file, info in tqdm(
            found, "inspecting audio", len(todo), unit=" files", delay=2.0, mininterval=every_s, maxinterval=60
        ):
            if isinstance(info, DataError):
                bad[file] = info
            else:
                infos[file] = info
                cache.add(file, info)
                if len(infos) % SAVE_EVERY == 0:
                    cache.save()
    finally:
        cache.save()
    return infos, bad
