"""What was unpacked of a set: its record ``<set>.unpacked.json``, its counts held against the catalogue's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ham.corpora.catalogue import ArchiveSet
from ham.corpora.convert import holds_files, is_converted
from ham.corpora.layouts import Sorter
from ham.errors import DataError, summarise
from ham.files import write_text
from ham.words import count


@dataclass(frozen=True)
class Unpacked:
    """The content of ``<set>.unpacked.json``, which is written when all of a set is on the disk.

    ``archive`` has the checksums and names of the parts in the catalogue: another edition is unpacked anew.
    ``num_files`` and ``num_speakers`` are those that the owners count; ``missing`` names members that could not be
    unpacked, ``num_missing`` also counts what the archive never held; ``left_out`` are files of no use, by extension.
    """

    set: str
    archive: list[str]
    num_files: int
    num_speakers: int
    num_missing: int
    missing: list[str]
    left_out: dict[str, int]
    complete: bool = True

    def __str__(self) -> str:
        return _in_words(self.num_files, self.num_speakers)


def is_unpacked(archive: ArchiveSet, corpora: Path) -> bool:
    """Whether nothing of an archive is needed any more.

    Args:
        archive: the set's entry in the catalogue.
        corpora: folder that it is unpacked into.

    Returns:
        True if its record says that it was unpacked, and its folder still holds files. M4A files may be gone once all
        are converted.

    Raises:
        DataError: if the record cannot be read.
    """
    return read_unpacked(archive, corpora) is not None


def read_unpacked(archive: ArchiveSet, corpora: Path) -> Unpacked | None:
    """What the record of a set says, as long as :func:`is_unpacked`.

    Args:
        archive: the set's entry in the catalogue.
        corpora: folder that it is unpacked into.

    Returns:
        The record; None if the set, in this edition, is not unpacked or its folder is gone.

    Raises:
        DataError: if the record cannot be read.
    """
    path = record_path(archive, corpora)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        record = Unpacked(**content)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError) as error:
        raise DataError(f"{path}: is not a record of what was unpacked; remove it") from error
    is_current = record.complete is True and record.archive == edition(archive)
    return record if is_current and _holds_set(archive, corpora) else None


def write_unpacked(record: Unpacked, archive: ArchiveSet, corpora: Path) -> None:
    """Write the record of a set.

    Args:
        record: what to write.
        archive: the set's entry in the catalogue.
        corpora: folder that it is unpacked into.
    """
    write_text(record_path(archive, corpora), json.dumps(asdict(record), indent=1, sort_keys=True) + "\n")


def record_path(archive: ArchiveSet, corpora: Path) -> Path:
    """Where the record of a set lies.

    Args:
        archive: the set's entry in the catalogue.
        corpora: folder that it is unpacked into.

    Returns:
        ``<corpora>/<set>.unpacked.json``.
    """
    return corpora / f"{archive.name}.unpacked.json"


def edition(archive: ArchiveSet) -> list[str]:
    """What tells one edition of an archive from another.

    Args:
        archive: the set's entry in the catalogue.

    Returns:
        Checksum and name of each part.
    """
    return [f"{part.md5} {part.name}" for part in archive.parts]


def _holds_set(archive: ArchiveSet, corpora: Path) -> bool:
    """Whether a set that was unpacked is still there, at a glance."""
    layout = archive.layout
    place = corpora / layout.place
    if layout.split:
        return _holds_listed(place, corpora / layout.split)
    if archive.audio == "m4a" and is_converted(place.with_name("wav")):
        return True
    return all(holds_files(place / folder) for folder in layout.needed or ("",))


def _holds_listed(place: Path, split: Path) -> bool:
    """Whether any of the listed utterances is there; the others in the folder are another set's."""
    try:
        lines = split.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any((place / line.partition(" ")[2]).is_file() for line in lines)


@dataclass(frozen=True)
class Target:
    """Where a set is unpacked to, and how many of its files may be missing or damaged."""

    archive: ArchiveSet
    corpora: Path
    max_missing: int
    num_workers: int

    def check_counts(self, num_files: int, num_speakers: int, damaged: Sequence[str]) -> tuple[int, str]:
        """Compare with the owners' counts.

        Args:
            num_files: files that there are.
            num_speakers: their speakers; 0 where the set has none.
            damaged: what could not be unpacked.

        Returns:
            How many files are missing, and the difference in words, if there is one.

        Raises:
            DataError: if more are missing than may be.
        """
        archive, corpora = self.archive, self.corpora
        files = archive.num_utts if archive.num_utts is not None else archive.num_files
        speakers = archive.num_speakers
        num_missing = max(len(damaged), (files or 0) - num_files, (speakers or 0) - num_speakers)
        if num_files == files and num_speakers == (speakers or 0) and not damaged:
            return 0, ""
        said = f"{archive.name}: expected {_in_words(files, speakers)}, found {_in_words(num_files, num_speakers)}"
        if damaged:
            said += f"; cannot be unpacked: {summarise(damaged)}"
        if num_missing > self.max_missing:
            first = f"remove {record_path(archive, corpora)} and " if is_unpacked(archive, corpora) else ""
            accept = f"accept {count(num_missing, 'missing file')} with --max_missing_files {num_missing}"
            raise DataError(f"{said}; {first}load the archive again, or {accept}")
        return num_missing, said if files is not None or damaged else ""

    def record(self, sorter: Sorter, damaged: Sequence[str]) -> tuple[Unpacked, str]:
        """What there is once all is unpacked.

        Args:
            sorter: what has sorted the members, and counted them.
            damaged: what could not be unpacked.

        Returns:
            The record, and how it differs from the owners' counts, in words.

        Raises:
            DataError: if nothing was found, or more is missing than may be.
        """
        sorter.check_found()
        num_files, num_speakers = sorter.num_counted - len(damaged), len(sorter.speakers)
        num_missing, said = self.check_counts(num_files, num_speakers, damaged)
        left_out = dict(sorted(sorter.left_out.items()))
        counts = (num_files, num_speakers, num_missing)
        return Unpacked(self.archive.name, edition(self.archive), *counts, list(damaged), left_out), said


def _in_words(num_files: int | None, num_speakers: int | None) -> str:
    files = "any number of files" if num_files is None else count(num_files, "file")
    return f"{files} of {count(num_speakers, 'speaker')}" if num_speakers else files
