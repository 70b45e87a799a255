"""Utterances that are a part of a file: where they lie in it, and which of them are of no use."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from ham.audio.decoding import AudioInfo
from ham.data.kaldi_dir import Segment, read_data_dir
from ham.data.segments import OVERSHOOT_S, is_beyond, place, silent
from ham.errors import DataError
from ham.pool import in_order
from ham.prepare.partition import Partition

logger = logging.getLogger(__name__)


def place_parts(
    partition: Partition, infos: Mapping[Path, AudioInfo], bad: Mapping[Path, DataError]
) -> tuple[dict[str, Segment], dict[str, str]]:
    """Find where the utterances that are a part of a file lie, and which utterances cannot be used.

    Args:
        partition: what is trained on and tested.
        infos: what is known of the good files.
        bad: the errors of the others.

    Returns:
        A segment for every utterance of the subsets in which some are parts of files, and the errors by utterance.
    """
    segments, errors, beyond = dict[str, Segment](), dict[str, str](), 0
    for subset in partition.folders.values():
        for utt, file in subset.wav.items():
            if file in bad:
                errors[utt] = str(bad[file])
            elif subset.spans and utt not in segments:
                span, info = subset.spans.get(utt), infos[file]
                try:
                    segments[utt] = place(span, info, f"{file}, {utt}")
                except DataError as error:
                    errors[utt] = str(error)
                else:
                    beyond += is_beyond(span, info)
    if beyond:
        cut = "1 part of a file ends" if beyond == 1 else f"{beyond} parts of files end"
        logger.warning(
            "%s up to %g s behind the file and %s cut there", cut, OVERSHOOT_S, "is" if beyond == 1 else "are"
        )
    return segments, errors


def find_silent(
    partition: Partition, segments: Mapping[str, Segment], data_dir: Path, num_workers: int
) -> dict[str, str]:
    """Say which utterances that are a part of a file are silent, but for those that the data folder has already.

    Args:
        partition: what is trained on and tested.
        segments: where the parts lie.
        data_dir: the data folder.
        num_workers: threads.

    Returns:
        The errors by utterance.
    """
    if not segments:
        return {}
    known = {utt: part for name in partition.folders for utt, part in _known_segments(data_dir / name).items()}
    todo: dict[Path, dict[str, Segment]] = {}
    for subset in partition.folders.values():
        for utt, file in subset.wav.items():
            if utt in segments and known.get(utt) != (file, segments[utt]):
                todo.setdefault(file, {})[utt] = segments[utt]
    with ThreadPoolExecutor(num_workers) as pool:
        found = in_order(pool, lambda part: silent(*part), todo.items(), 4 * num_workers)
        bar = tqdm(found, "looking for silence", len(todo), unit=" files", delay=2.0)
        return {utt: error for errors in bar for utt, error in errors.items()}


def _known_segments(folder: Path) -> dict[str, tuple[Path, Segment]]:
    """The parts of files in a directory of an earlier run, of files that have not changed since."""
    try:
        old = read_data_dir(folder)
    except DataError:
        return {}
    written_ns = (folder / "utt2spk").stat().st_mtime_ns
    unchanged = {file for file in set(old.wav.values()) if file.exists() and file.stat().st_mtime_ns < written_ns}
    return {utt: (old.wav[utt], part) for utt, part in old.segments.items() if old.wav[utt] in unchanged}
