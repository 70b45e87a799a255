"""Recordings that occur under two speakers, or in training and in a test: the same file, or files of the same bytes.

Only files of one size and one length can be the same. Of these a piece from the middle is compared, and all bytes only
where the pieces agree, so that a corpus costs a look at each file and few are read.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ham.audio.decoding import AudioInfo
from ham.errors import DataError, summarise
from ham.files import crc32_of
from ham.prepare.partition import Partition

logger = logging.getLogger(__name__)

_PIECE = 4096

Speakers = Mapping[Path, str]
"""The speaker of each file."""


def check_same_audio(partition: Partition, infos: Mapping[Path, AudioInfo]) -> None:
    """Warn of recordings that occur under two speakers, and refuse a file that is trained on and tested.

    Raises:
        DataError: if a test file is, by a link or another name, a training file. Copies are logged: a corpus may hold
            some that its user cannot change.
    """
    subsets = partition.folders.values()
    speakers = {file: subset.utt2spk[utt] for subset in subsets for utt, file in subset.wav.items()}
    found = same_audio(speakers, infos)
    trained = frozenset(partition.train.wav.values()) if partition.train else frozenset[Path]()
    both = [(one, other) for one, other in found if (one in trained) != (other in trained)]
    if same := [f"{one} is {other}" for one, other in both if one.samefile(other)]:
        raise DataError(f"trained on and tested, under two speakers' names: {summarise(same)}; leave one of each out")
    if found:
        pairs = summarise([f"{one} is {other}" for one, other in found])
        logger.warning(
            "%d recordings are there under two speakers' names, %d of them trained on and tested: %s",
            len(found),
            len(both),
            pairs,
        )


def same_audio(speakers: Speakers, infos: Mapping[Path, AudioInfo]) -> list[tuple[Path, Path]]:
    """Find equal recordings of different speakers.

    Returns:
        The first file of each kind and a later one of another speaker, in the order of ``speakers``.
    """
    first: dict[tuple[int, ...], list[Path]] = {}
    for file in speakers:
        info = infos[file]
        first.setdefault((file.stat().st_size, info.num_samples, info.sample_rate, info.num_channels), []).append(file)
    groups = [group for group in first.values() if len({speakers[file] for file in group}) > 1]
    return [pair for group in groups for pair in _equal(group, speakers)]


def _equal(group: Sequence[Path], speakers: Speakers) -> Iterator[tuple[Path, Path]]:
    """Pairs of a group of files of one size: by a piece of each, then by all bytes."""
    pieces: dict[int, list[Path]] = {}
    for file in group:
        pieces.setdefault(_piece(file), []).append(file)
    for alike in pieces.values():
        if len({speakers[file] for file in alike}) < 2:
            continue
        seen: dict[int, Path] = {}
        for file in alike:
            earlier = seen.setdefault(crc32_of(file), file)
            if speakers[earlier] != speakers[file]:
                yield earlier, file


def _piece(file: Path) -> int:
    with file.open("rb") as stream:
        stream.seek(file.stat().st_size // 2)
        return zlib.crc32(stream.read(_PIECE))
