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
    folder of the audio stores that stage 3 packs of ``stored``; None where nothing is packed.
    """

    corpora: Path
    audio_format: str = "wav"
    keep_archives: bool = True
    store: Path | None = None
    stored: Sequence[ArchiveSet] = ()

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


def check_space(archives: Path, missing: Mapping[str, int], sets: Sequence[ArchiveSet], plan: SpacePlan) -> None:
    """Add up the disk space, log the sum line by line, and stop if there is not enough.

    What is there already needs nothing: with no file missing and no set to unpack, nothing is said.

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
    for folder, need in _needs(archives, sum(missing.values()), sets, plan):
        free = shutil.disk_usage(folder).free
        logger.info("disk space: in %s: needed %s, free %s", folder, gigabytes(need), gigabytes(free))
        if need > free:
            short.append(f"{folder}: expected {gigabytes(need)} of free disk space, found {gigabytes(free)}")
    if short:
        places = f"free some, choose other places with --archives{' and' if plan.store is None else ','} --corpora_dir"
        places += "" if plan.store is None else " and --data_dir"
        raise DownloadError(f"{summarise(short)}; {places}{_savings(sets, plan)}")


def _savings(sets: Sequence[ArchiveSet], plan: SpacePlan) -> str:
    """Options that would need less, of those that are not chosen yet; the copy's has two names, run.sh's first."""
    found = ["--keep_archives false"] if plan.keep_archives else []
    now = sum(one.converted_bytes(plan.audio_format) for one in sets)
    less = [name for name in ("flac", "store") if sum(one.converted_bytes(name) for one in sets) < now]
    if less:
        of_recipe = " or ".join(less).replace("store", "m4a")
        found.append(f"--vox2_audio {of_recipe} (of run.sh; --format {' or '.join(less)} of ham.bin.download)")
    return f", or need less: {', '.join(found)}" if found else ""


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
    if plan.store_bytes:
        yield f"audio stores of stage 3, 16-bit samples: {gigabytes(plan.store_bytes)}"


def _needs(archives: Path, fetch: int, sets: Sequence[ArchiveSet], plan: SpacePlan) -> list[tuple[Path, int]]:
    """The most bytes that each disk will have to take at any time, named by the first folder on it.

    All is fetched; then set after set is unpacked (and converted), and its archive removed; then the stores are packed.
    """
    steps = [(archives, fetch), (plan.corpora, 0)]
    for one in sets:
        steps.append((plan.corpora, one.unpacked_bytes + one.converted_bytes(plan.audio_format)))
        steps.append((archives, 0 if plan.keep_archives else -one.archive_bytes))
    steps.append((plan.store or plan.corpora, plan.store_bytes))
    first: dict[int, Path] = {}
    now, most = dict[int, int](), dict[int, int]()
    for folder, change in steps:
        place = _existing(folder)
        disk = place.stat().st_dev
        first.setdefault(disk, place)
        now[disk] = now.get(disk, 0) + change
        most[disk] = max(most.get(disk, 0), now[disk])
    return [(place, most[disk]) for disk, place in first.items()]


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())
