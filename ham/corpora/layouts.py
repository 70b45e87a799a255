"""Where the members of an archive go, which of them are left out, and which names and sizes are refused.

A layout is known by its inner folder, whatever lies above it, or by what should be in that: archives that somebody has
packed anew often begin elsewhere. Hidden files and ``__MACOSX`` are left out, and all else that is not asked for.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ham.errors import DataError

MAX_EXPANSION = 20
"""An archive may grow by this factor: speech grows by less than 2, lists of trials by 10."""
FREE_EXPANSION = 1 << 16
"""Bytes that any archive may grow by."""
CHUNK_BYTES = 1 << 20
"""Bytes of an archive, or of a file in it, that are read and written at a time."""


@dataclass(frozen=True)
class Layout:
    r"""What is unpacked of an archive, and where to: the block ``layout`` of ``archives.yaml``.

    The folder ``folder`` of the archive, whatever lies above it, goes to ``place`` below the folder of corpora; where
    it was left out, the whole archive does.
    ``wanted`` and ``counted`` are regular expressions for paths below it, matched as a whole: the files that are
    unpacked, and those of them that the owners count (all where it is left out), with a group that is the speaker
    where there are speakers: ``(id\d+)/[^/]+/[^/]+\.wav``. ``example`` says in errors what was expected. ``split`` is
    the file that gets a list of the utterances, where two archives share a place; ``needed`` are folders below
    ``place`` without which the set does not count as unpacked.
    """

    place: str
    folder: str
    example: str
    wanted: str
    counted: str = ""
    split: str = ""
    needed: tuple[str, ...] = ()


class Sorter:
    """Decides name by name where the members of an archive go, and counts.

    Args:
        archive: what errors call the archive.
        layout: what it should hold.
    """

    def __init__(self, archive: str, layout: Layout) -> None:
        self._archive, self._layout = archive, layout
        self._wanted = re.compile(rf"(?:(?:[^/]+/)*?{re.escape(layout.folder)}/)?(?P<inside>{layout.wanted})")
        self._counted = re.compile(layout.counted or layout.wanted)
        self.speakers: set[str] = set()
        """The speakers of counted files."""
        self.num_counted = 0
        """Files that the owners count."""
        self.left_out: Counter[str] = Counter()
        """Files that are not unpacked, by extension."""
        self._seen: set[str] = set()
        self._first_other = ""

    def check(self, name: str) -> None:
        """Refuse a name that could lead out of the folder, or mean another thing on another system.

        Args:
            name: as the archive has it; a folder's may end in a slash.

        Raises:
            DataError: with the reason.
        """
        if problem := name_problem(name):
            raise DataError(f"{self._archive}: the member {name!a} {problem}; do not use this archive, load it again")

    def refuse(self, name: str, what: str) -> None:
        """Refuse a member that is neither file nor folder.

        Args:
            name: the member.
            what: what it is.

        Raises:
            DataError: always.
        """
        raise DataError(
            f"{self._archive}: the member {name!a} is {what}; expected files and folders only: load it again"
        )

    def place(self, name: str) -> str | None:
        """Find where a file goes.

        Args:
            name: the member's name, a file's.

        Returns:
            The path below the folder of corpora; None if it is left out.

        Raises:
            DataError: if the name is refused, or was met before, be it in other cases of letters.
        """
        self.check(name)
        name = "/".join(part for part in name.split("/") if part != ".")
        found = None if _is_hidden(name) else self._wanted.fullmatch(name)
        if found is None:
            self.left_out[_kind(name)] += 1
            self._first_other = self._first_other or name
            return None
        inside = found["inside"]
        key = unicodedata.normalize("NFC", inside).casefold()
        if key in self._seen:
            again = f"the member {name!a} is there twice, perhaps in other cases of letters"
            raise DataError(f"{self._archive}: {again}; load it again")
        self._seen.add(key)
        if counted := self._counted.fullmatch(inside):
            self.num_counted += 1
            self.speakers.update(counted.groups())
        return f"{self._layout.place}/{inside}"

    def check_found(self) -> None:
        """Refuse an archive in which nothing was found.

        Raises:
            DataError: naming the first thing that it holds instead.
        """
        if self.num_counted == 0:
            found = f"found {self._first_other!a}" if self._first_other else "found no file"
            raise DataError(f"{self._archive}: expected {self._layout.example}, {found}; this is another archive")


def name_problem(name: str) -> str | None:
    """What is wrong with the name of a member, whatever the system.

    Args:
        name: as the archive has it.

    Returns:
        The rest of a sentence; None for a harmless name.
    """
    if not name.strip("/") or name.startswith("/"):
        return "has an absolute name or none"
    if "\\" in name:
        return "has a backslash in its name"
    if re.match(r"[A-Za-z]:", name):
        return "has a drive letter in its name"
    if ".." in name.split("/"):
        return "would leave the folder ('..')"
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in name):
        return "has a name with control characters, or not in UTF-8"
    if any(len(part.encode()) > 240 for part in name.split("/")):
        return "has a name of more than 240 bytes"
    return None


def check_growth(place: str, size: int, packed: int, most: int = MAX_EXPANSION, free: int = FREE_EXPANSION) -> None:
    """Refuse what grows beyond all reason: a small file that would fill the disk.

    Args:
        place: the archive or its member, the beginning of the message.
        size: bytes that come out.
        packed: bytes that they are packed into.
        most: the factor by which it may grow.
        free: bytes that may come out in any case.

    Raises:
        DataError: if ``size`` is above ``most * packed + free``.
    """
    if size > most * packed + free:
        found = f"found {packed} bytes that become {size}"
        raise DataError(f"{place}: expected to grow at most {most}-fold, {found}; this is a trap, load it again")


def holds_file(path: Path, size: int) -> bool:
    """Whether a file of a size is there, which a run before this one has unpacked.

    Args:
        path: the file.
        size: its length in bytes.

    Returns:
        True if it is.
    """
    try:
        return path.stat().st_size == size
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _kind(name: str) -> str:
    if _is_hidden(name):
        return "hidden"
    return PurePosixPath(name).suffix.lower() or "no extension"
