"""The arithmetic of disk space, before anything is fetched: what is still to come, and what unpacking will add."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ham.corpora.catalogue import ArchiveSet
from ham.errors import DownloadError, summarise

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpacePlan:
    """What will be done with the archives.

    ``corpora`` is the folder to unpack into, ``audio_format`` that of the copy of m4a speech: ``wav``, ``flac`` or
    ``store`` for none; without ``keep_archives`` unpacking removes each archive that it has read. ``store`` is the
    folder of the audio stores that stage 3 packs of ``stored``; None where nothing is packed. ``made_share`` is what
    stage 1 will make of the unpacked files, as a share of their size. ``packs_now``: stage 3 belongs to what is asked
    for. ``saving`` is a choice of the caller that needs less.
    """

    corpora: Path
    audio_format: str = "wav"
    keep_archives: bool = True
    store: Path | None = None
    stored: Sequence[ArchiveSet] = ()
    made_share: float = 0.0
    packs_now: bool = True
    saving: str = ""

    @property
    def store_bytes(self) -> int:
        """Bytes of the stores that are still to be packed: the speech is in ``train`` and ``test``."""
        if self.store is None:
            return 0
        there = {name for name in ("train", "musan", "rirs") if (self.store / name).exists()}
        names = {one.name: one.name if one.name in ("musan", "rirs") else "train" for one in self.stored}
        return sum(one.store_bytes for one in self.stored if names[one.name] not in there)


def gigabytes(num_bytes: float) -> str:
    """Write a size as the pages of the owners do, in powers of ten.

    Args:
        num_bytes: the size.

    Returns:
        ``"10.7 GB"``; smaller units for small sizes.
    """
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if num_bytes >= 0.95 * unit:
            return f"{num_bytes / unit:.1f} {name}"
    return f"{num_bytes:.0f} B"


@dataclass(frozen=True)
class Need:
    """What a disk must have room for, named by the first folder on it: at the worst moment of stage 1, and till 3."""

    folder: Path
    stage_1: int
    stage_3: int

    @property
    def words(self) -> str:
        """Both, or one where they are the same."""
        more = f" by the end of stage 3 ({gigabytes(self.stage_1)} in stage 1)" if self.stage_3 > self.stage_1 else ""
        return gigabytes(self.stage_3) + more


def check_space(archives: Path, missing: Mapping[str, int], sets: Sequence[ArchiveSet], plan: SpacePlan) -> None:
    """Add up the disk space, log the sum line by line, and stop if there is not enough.

    What is there already needs nothing: with no file missing and no set to unpack, nothing is said. Room that only the
    stores lack is a warning where they are not packed now.

    Args:
        archives: where files will be fetched to.
        missing: bytes still to fetch, by the name of the file.
        sets: the sets that are to be unpacked.
        plan: where to, and how.

    Raises:
        DownloadError: if it is not enough, with the sum and ways to need less.
    """
    if not missing and not sets:
        return
    for line in _arithmetic(missing, sets, plan):
        logger.info("disk space: %s", line)
    short = []
    for need in needs(archives, sum(missing.values()), sets, plan):
        free = shutil.disk_usage(need.folder).free
        logger.info("disk space: in %s: needed %s, free %s", need.folder, need.words, gigabytes(free))
        lack = f"{need.folder}: expected {need.words} of free disk space, found {gigabytes(free)}"
        if (need.stage_3 if plan.packs_now else need.stage_1) > free:
            short.append(lack)
        elif need.stage_3 > free:
            logger.warning("%s: stage 3 will refuse", lack)
    if short:
        places = f"free some, choose other places with --archives{' and' if plan.store is None else ','} --corpora_dir"
        places += "" if plan.store is None else " and --data_dir"
        savings = [word for word in ("--keep_archives false" * plan.keep_archives, plan.saving) if word]
        less = f", or need less: {', '.join(savings)}" if savings else ""
        raise DownloadError(f"{summarise(short)}; {places}{less}")


def _arithmetic(missing: Mapping[str, int], sets: Sequence[ArchiveSet], plan: SpacePlan) -> Iterator[str]:
    """The sum, a line for each set and one for all other files."""
    of_sets = 0
    for one in sets:
        fetch = sum(missing.get(name, 0) for name in {one.joined_name, *(part.name for part in one.parts)})
        of_sets += fetch
        copy = one.converted_bytes(plan.audio_format)
        copied = f" + {gigabytes(copy)} as {plan.audio_format}" if copy else ""
        later = "" if plan.keep_archives else f", {gigabytes(one.archive_bytes)} less when its archive is removed"
        yield f"{one.name}: {gigabytes(fetch)} to fetch + {gigabytes(one.unpacked_bytes)} unpacked{copied}{later}"
    if sum(missing.values()) > of_sets:
        yield f"trial lists: {gigabytes(sum(missing.values()) - of_sets)} to fetch"
    if plan.made_share and sets:
        yield f"to be made of them: {gigabytes(_made_bytes(sets, plan))}"
    if plan.store_bytes:
        yield f"audio stores of stage 3, 16-bit samples: {gigabytes(plan.store_bytes)}"


def needs(archives: Path, fetch: int, sets: Sequence[ArchiveSet], plan: SpacePlan) -> list[Need]:
    """The most bytes that each disk will have to take at any time.

    All is fetched; then set after set is unpacked (and converted), and its archive removed; then the stores are packed.

    Args:
        archives: where files will be fetched to.
        fetch: bytes.
        sets: the sets that are to be unpacked.
        plan: where to, and how.

    Returns:
        One for each disk.
    """
    steps = [(archives, fetch), (plan.corpora, 0)]
    for one in sets:
        steps.append((plan.corpora, one.unpacked_bytes + one.converted_bytes(plan.audio_format)))
        steps.append((archives, 0 if plan.keep_archives else -one.archive_bytes))
    steps.append((plan.corpora, _made_bytes(sets, plan)))
    first: dict[int, Path] = {}
    now, most = dict[int, int](), dict[int, int]()

    def _add(folder: Path, change: int) -> None:
        place = _existing(folder)
        disk = place.stat().st_dev
        first.setdefault(disk, place)
        now[disk] = now.get(disk, 0) + change
        most[disk] = max(most.get(disk, 0), now[disk])

    for folder, change in steps:
        _add(folder, change)
    in_stage_1 = dict(most)
    _add(plan.store or plan.corpora, plan.store_bytes)
    return [Need(place, in_stage_1.get(disk, 0), most[disk]) for disk, place in first.items()]


def _made_bytes(sets: Sequence[ArchiveSet], plan: SpacePlan) -> int:
    return round(plan.made_share * sum(one.unpacked_bytes for one in sets))


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())
