"""What the archives of the corpora hold, where it goes, and which names are refused.

==========  ========================================  ==================================
set         inside the archive                        below the folder of corpora
==========  ========================================  ==================================
vox1_dev    ``wav/id10001/<video>/00001.wav``         ``vox1/wav/id10001/...``
vox1_test   the same, other speakers                  ``vox1/wav/id10270/...``
vox2_dev    ``dev/aac/id00012/<video>/00001.m4a``     ``vox2_dev/m4a/id00012/...``
vox2_test   ``aac/id00017/<video>/00001.m4a``         ``vox2_test/m4a/id00017/...``
musan       ``musan/{music,speech,noise}/...``        ``musan/...``
rirs        ``RIRS_NOISES/simulated_rirs/...``        ``RIRS_NOISES/...``
cn1         ``CN-Celeb_flac/{data,dev,eval}/...``     ``CN-Celeb_flac/...``
cn2         ``CN-Celeb2_flac/data/...``, ``spk.lst``  ``CN-Celeb2_flac/...``
==========  ========================================  ==================================

A layout is known by its inner folder, whatever lies above it: archives that somebody has packed anew often begin
elsewhere. Hidden files and ``__MACOSX`` are left out, and everything else that is neither audio nor a list.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType

from ham.errors import DataError

_ABOVE = r"(?:[^/]+/)*?"


@dataclass(frozen=True)
class Layout:
    """What is unpacked of an archive, and where to.

    ``wanted`` matches the names of members; its group 1 goes below ``place``. ``counted`` matches those of them that
    the owners count, with a group 1 that is the speaker where there are speakers. ``split`` is the file that gets the
    list of utterances, where two archives share a place.
    """

    place: str
    example: str
    wanted: re.Pattern[str]
    counted: re.Pattern[str]
    split: str | None = None


def _voxceleb(place: str, folder: str, extension: str, split: str | None = None) -> Layout:
    inside = rf"(id\d+)/[^/]+/[^/]+\.{extension}"
    wanted = re.compile(rf"{_ABOVE}{folder}/({inside})")
    return Layout(place, f"{folder}/id*/<video>/<number>.{extension}", wanted, re.compile(inside), split)


def _folder(name: str, inside: str, counted: str, example: str) -> Layout:
    return Layout(name, f"{name}/{example}", re.compile(rf"{_ABOVE}{name}/({inside})"), re.compile(counted))


_CN_DATA = r"data/([^/]+)/[^/]+\.(?:flac|wav)"
_TERMS = r"(?:.+/)?(?:README|LICENSE|ANNOTATIONS)(?:\.txt)?"
"""Files without speech that say whose recordings these are and on which terms."""

_CN_FILES = r"\.(?:flac|wav|lst|map|txt)"

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "vox1_dev": _voxceleb("vox1/wav", "wav", "wav", "vox1/splits/vox1_dev.txt"),
        "vox1_test": _voxceleb("vox1/wav", "wav", "wav", "vox1/splits/vox1_test.txt"),
        "vox2_dev": _voxceleb("vox2_dev/m4a", "aac", "m4a"),
        "vox2_test": _voxceleb("vox2_test/m4a", "aac", "m4a"),
        "musan": _folder("musan", rf"(?:music|speech|noise)/.+\.wav|{_TERMS}", r".+\.wav", "{music,speech,noise}/..."),
        "rirs": _folder(
            "RIRS_NOISES",
            rf".+\.wav|(?:.+/)?(?:rir_list|noise_list|room_info)|{_TERMS}",
            r"simulated_rirs/.+\.wav",
            "simulated_rirs/...",
        ),
        "cn1": _folder("CN-Celeb_flac", rf"(?:data|dev|eval)/.+{_CN_FILES}", _CN_DATA, "{data,dev,eval}/..."),
        "cn2": _folder("CN-Celeb2_flac", rf"data/.+{_CN_FILES}|[^/]+\.lst", _CN_DATA, "data/..."),
    }
)
"""The layout of every set of the catalogue."""


class Sorter:
    """Decides name by name where the members of an archive go, and counts.

    Args:
        archive: what errors call the archive.
        layout: what it should hold.
    """

    def __init__(self, archive: str, layout: Layout) -> None:
        self._archive, self._layout = archive, layout
        self.speakers: set[str] = set()
        """The speakers of counted files."""
        self.num_counted = 0
        """Files that the owners count."""
        self.num_placed = 0
        """Files that are unpacked: counted ones, other audio and lists."""
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
        found = None if _is_hidden(name) else self._layout.wanted.fullmatch(name)
        if found is None:
            self.left_out[_kind(name)] += 1
            self._first_other = self._first_other or name
            return None
        inside = found[1]
        self.add_seen(inside, name)
        self.num_placed += 1
        if counted := self._layout.counted.fullmatch(inside):
            self.num_counted += 1
            self.speakers.update(counted.groups())
        return f"{self._layout.place}/{inside}"

    def add_seen(self, inside: str, name: str) -> None:
        """Remember a file, by its path below the layout's place.

        Args:
            inside: the path.
            name: what errors call it.

        Raises:
            DataError: if it is there already.
        """
        key = unicodedata.normalize("NFC", inside).casefold()
        if key in self._seen:
            raise DataError(
                f"{self._archive}: the member {name!a} is there twice, perhaps in other cases of letters; load it again"
            )
        self._seen.add(key)

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


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _kind(name: str) -> str:
    if _is_hidden(name):
        return "hidden"
    return PurePosixPath(name).suffix.lower() or "no extension"
