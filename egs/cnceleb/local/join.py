"""Short recordings joined to longer ones: which with which, and the files that hold them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from ham.audio import SAMPLE_RATE
from ham.audio.decoding import inspect_header, read_audio
from ham.data.store import to_int16
from ham.errors import DataError
from ham.files import replacing
from ham.pool import in_order


@dataclass(frozen=True)
class Joint:
    """A file to make: ``parts`` end to end, ``num_samples`` together."""

    target: Path
    parts: tuple[Path, ...]
    num_samples: int


@dataclass(frozen=True)
class Made:
    """What became of a joint: the parts that its file holds (0: there is none), the errors of those left out."""

    num_parts: int
    is_new: bool
    errors: tuple[str, ...] = ()


def group_short(durations_s: Sequence[float], least_s: float) -> list[list[int]]:
    """Group recordings in their order until each group is long enough.

    What is left at the end and is too short goes to the last group; where there is none, it is a group of its own.

    Args:
        durations_s: length of each recording.
        least_s: length that a group should have.

    Returns:
        Positions of each group; every position once, in order.
    """
    groups: list[list[int]] = [[]]
    total_s = 0.0
    for position, duration_s in enumerate(durations_s):
        groups[-1].append(position)
        total_s += duration_s
        if total_s >= least_s:
            groups.append([])
            total_s = 0.0
    rest = groups.pop()
    if rest and groups:
        groups[-1].extend(rest)
    elif rest:
        groups.append(rest)
    return groups


def write_joints(joints: Sequence[Joint], num_workers: int) -> Iterator[Made]:
    """Make the files that are not there yet, on several threads; each appears under its name when it is complete.

    A part that cannot be decoded is left out of its file; it is tried again when this is called again.

    Args:
        joints: the files, FLAC of 16 bit.
        num_workers: threads.

    Yields:
        For each file, whether it was made now and what it lacks.

    Raises:
        DataError: if a part has another length than its header said.
    """
    with ThreadPoolExecutor(num_workers) as pool:
        yield from in_order(pool, _write, joints, 4 * num_workers)


def _write(joint: Joint) -> Made:
    if _is_current(joint, joint.num_samples):
        return Made(len(joint.parts), False)
    waveforms, errors = _decode(joint.parts)
    if not waveforms:
        return Made(0, False, errors)
    samples = np.concatenate(waveforms)
    if errors and _is_current(joint, len(samples)):
        return Made(len(waveforms), False, errors)
    if not errors and len(samples) != joint.num_samples:
        found = f"{len(samples)} samples in {len(joint.parts)} recordings from {joint.parts[0]} on"
        raise DataError(f"{joint.target}: expected {joint.num_samples}, found {found}; did they change? run it again")
    with replacing(joint.target) as part:
        soundfile.write(part, samples, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return Made(len(waveforms), True, errors)


def _decode(parts: Sequence[Path]) -> tuple[list[NDArray[np.int16]], tuple[str, ...]]:
    """The samples of the parts that can be decoded, and the errors of the others."""
    waveforms, errors = [], []
    for part in parts:
        try:
            waveforms.append(to_int16(read_audio(part, SAMPLE_RATE)))
        except DataError as error:
            errors.append(str(error))
    return waveforms, tuple(errors)


def _is_current(joint: Joint, num_samples: int) -> bool:
    """Whether the file is there, as long as it should be and no part has changed since (`cp -p` sets no ctime back)."""
    try:
        stats = [part.stat() for part in joint.parts]
        is_newer = joint.target.stat().st_ctime_ns >= max(max(one.st_mtime_ns, one.st_ctime_ns) for one in stats)
        return is_newer and inspect_header(joint.target).num_samples == num_samples
    except (OSError, DataError):
        return False
