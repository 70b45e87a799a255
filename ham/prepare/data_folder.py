"""The data folder as a whole: directories are written where their content changed, and old ones removed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from pathlib import Path

from ham.audio.decoding import AudioInfo
from ham.data.kaldi_dir import DataDir, Segment, read_data_dir, remove_data_dir, write_data_dir
from ham.data.segments import duration
from ham.errors import DataError
from ham.prepare.partition import Subset
from ham.words import count

logger = logging.getLogger(__name__)


def find_others(data_dir: Path, names: Collection[str]) -> list[str]:
    """Find the data directories that were not asked for; hidden ones are left aside.

    Args:
        data_dir: the data folder.
        names: the directories that are asked for, ``train`` and ``test/<root>/<list>``.

    Returns:
        Names of the same kind, sorted.
    """
    found = [*data_dir.glob("train"), *data_dir.glob("test/*/*")]
    others = (path.relative_to(data_dir).as_posix() for path in found if not path.name.startswith("."))
    return sorted(name for name in others if name not in names)


def remove_others(data_dir: Path, names: Collection[str]) -> list[str]:
    """Remove what :func:`find_others` finds, so that no later stage goes on with an earlier request.

    Returns:
        The names of what was removed.

    Raises:
        DataError: if one of them is not as stage 2 wrote it.
    """
    others = find_others(data_dir, names)
    for name in others:
        remove_data_dir(data_dir / name, name)
        logger.info("%s: removed, it was not asked for this time", data_dir / name)
    for root in data_dir.glob("test/*"):
        if root.is_dir() and not any(root.iterdir()):
            root.rmdir()
    return others


def write_subset(
    data_dir: Path, name: str, subset: Subset, infos: Mapping[Path, AudioInfo], segments: Mapping[str, Segment]
) -> bool:
    """Write a data directory unless it is there with the same content.

    Args:
        data_dir: the data folder.
        name: ``train`` or ``test/<root>/<list>``.
        subset: its utterances.
        infos: what is known of their files.
        segments: where those that are parts of files lie, as :func:`~ham.prepare.segments.place_parts` finds it.

    Returns:
        Whether it was written.
    """
    own = {utt: segments[utt] for utt in subset.wav} if subset.spans else {}
    utt2dur = {utt: round(_seconds(infos[file], own.get(utt)), 6) for utt, file in subset.wav.items()}
    new = DataDir(data_dir / name, subset.wav, subset.utt2spk, utt2dur, subset.trials, own, subset.sessions)
    same = _is_there(new)
    if not same:
        write_data_dir(new.path, new.wav, new.utt2spk, new.utt2dur, new.trials, name, new.segments, new.sessions)
    logger.info("%s: %s%s", new.path, _describe(new), " (unchanged)" if same else "")
    return not same


def _seconds(info: AudioInfo, segment: Segment | None) -> float:
    return duration(segment, info.sample_rate) if segment else info.duration_s


def _is_there(new: DataDir) -> bool:
    try:
        old = read_data_dir(new.path)
    except DataError:
        return False
    tables = [(one.wav, one.utt2spk, one.utt2dur, one.segments, one.sessions) for one in (old, new)]
    return tables[0] == tables[1] and (old.trials.equal(new.trials) if old.trials else new.trials is None)


def _describe(content: DataDir) -> str:
    hours = sum(content.utt2dur.values()) / 3600
    text = f"{count(len(content.wav), 'utterance')} of {count(len(content.spk2utt), 'speaker')}, {hours:.2f} h"
    if content.trials is None:
        return text
    models = f", {count(len(content.trials.models), 'model')}" if content.trials.models else ""
    return f"{text}{models}, {content.trials.num_target} target and {content.trials.num_nontarget} non-target trials"
