"""The archives of a corpus as a YAML file lists them: parts, checksums, counts, addresses, and what is inside.

Each corpus that is fetched has ``egs/<corpus>/conf/archives.yaml``; MUSAN and RIRS_NOISES, which all of them share,
are in ``noises.yaml`` beside this module. The keys of such a file are the fields of :class:`Catalogue`; those of its
``sets`` and ``lists``, by name, are the fields of :class:`ArchiveSet` and :class:`TrialListFile`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from ham.audio import SAMPLE_RATE
from ham.corpora.layouts import Layout, name_problem
from ham.errors import ConfigError
from ham.schema import check_count, check_number, choose, closest
from ham.words import quote
from ham.yaml_core import read_yaml

NOISES = Path(__file__).with_name("noises.yaml")
"""The archives that every corpus shares."""

WAV_BYTES_PER_HOUR = 3600 * SAMPLE_RATE * 2
"""16 kHz, 16 bit, one channel."""
FLAC_RATIO = 0.6
"""Size of such speech as FLAC, as a share of its size as WAV; an estimate on the large side."""
BLOCK_WASTE_BYTES = 2048
"""What a file takes beyond its length on a file system of 4 KiB blocks, on average."""

AUDIO = ("wav", "m4a", "flac")
RESERVED = ("checksums.json", "bad")


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch; ``size`` in bytes where it is known exactly, ``about_size`` where it is known roughly.

    ``about_size`` is good enough for the arithmetic of disk space and nothing else.
    """

    name: str
    md5: str
    size: int | None = None
    about_size: int | None = None

    @property
    def expected_size(self) -> int:
        """The best guess of its size in bytes; 0 where nothing is known."""
        return self.size or self.about_size or 0

    @property
    def most_bytes(self) -> int | None:
        """More than this is another file: twice a rough size and a megabyte; None where nothing is known."""
        return self.size or (2 * self.about_size + 10**6 if self.about_size else None)


@dataclass(frozen=True)
class ArchiveSet:
    """One archive, in one part or several that give it when they are joined in order, and what it holds.

    ``joined_name``, ``joined_md5`` and ``joined_size`` describe the archive in one piece; they may be left out where
    there is one part. It is a ``.zip`` or a ``.tar.gz``. Where it is: ``url`` is the folder of its parts,
    ``openslr_path`` the one below openslr's ``resources/``; without either it comes from the owners, who ask for a key,
    or from the folder ``mirror_path`` of the Hugging Face data set. ``audio`` is the format of the speech inside.
    ``hours`` of speech and ``unpacked_size`` in bytes serve the arithmetic of disk space; counts that are not known are
    left out.
    """

    name: str
    parts: tuple[RemoteFile, ...]
    layout: Layout
    joined_name: str
    joined_md5: str = ""
    joined_size: int | None = None
    url: str = ""
    openslr_path: str = ""
    mirror_path: str = ""
    audio: str = "wav"
    num_speakers: int | None = None
    num_utts: int | None = None
    num_files: int | None = None
    hours: float | None = None
    unpacked_size: int | None = None

    @property
    def joined(self) -> RemoteFile:
        """The archive in one piece; the part itself where there is only one."""
        if len(self.parts) == 1 and self.parts[0].name == self.joined_name:
            return self.parts[0]
        return RemoteFile(self.joined_name, self.joined_md5, self.joined_size, self.archive_bytes)

    @property
    def is_zip(self) -> bool:
        """Whether it is a zip, else a tar.gz."""
        return self.joined_name.endswith(".zip")

    @property
    def archive_bytes(self) -> int:
        """Bytes of all parts together, as far as they are known."""
        return sum(part.expected_size for part in self.parts)

    @property
    def unpacked_bytes(self) -> int:
        """About what the unpacked files will take on the disk."""
        size = self.archive_bytes if self.unpacked_size is None else self.unpacked_size
        return size + BLOCK_WASTE_BYTES * (self.num_files or self.num_utts or 0)

    @property
    def store_bytes(self) -> int:
        """About what its audio takes in the stores of stage 3, as 16-bit samples at 16 kHz."""
        if self.hours is not None:
            return round(WAV_BYTES_PER_HOUR * self.hours)
        size = self.archive_bytes if self.unpacked_size is None else self.unpacked_size
        return round(size / (1.0 if self.audio == "wav" else FLAC_RATIO))

    def converted_bytes(self, audio_format: str) -> int:
        """About what the copy of m4a speech takes as ``wav`` or ``flac``; 0 for other words and other speech."""
        share = {"wav": 1.0, "flac": FLAC_RATIO}.get(audio_format, 0.0) if self.audio == "m4a" else 0.0
        waste = BLOCK_WASTE_BYTES * (self.num_utts or 0) if share else 0
        return round(share * WAV_BYTES_PER_HOUR * (self.hours or 0)) + waste


@dataclass(frozen=True)
class TrialListFile:
    """A published trial list, which lies in the folder ``lists_url``, and its counts."""

    name: str
    title: str
    num_target: int
    num_nontarget: int
    md5: str

    @property
    def file(self) -> RemoteFile:
        """The file to fetch; a line has about 62 bytes."""
        return RemoteFile(self.name, self.md5, about_size=62 * self.num_trials)

    @property
    def num_trials(self) -> int:
        """Target and non-target trials together."""
        return self.num_target + self.num_nontarget


@dataclass(frozen=True)
class Catalogue:
    """Archives by the name of their set, lists by file name, and the addresses that they are fetched from.

    ``official_url`` is the owners' address, asked as ``<address>?key=<key>&file=<name>``; the page ``official_page``
    gives the personal key, which the environment variable ``key_variable`` holds. ``mirror_repo`` is a Hugging Face
    data set with the same files, ``openslr_urls`` are openslr's mirrors in the order to try, ``lists_url`` is the
    folder of the trial lists.
    """

    sets: Mapping[str, ArchiveSet]
    lists: Mapping[str, TrialListFile] = field(default_factory=dict)
    official_url: str = ""
    official_page: str = ""
    key_variable: str = ""
    mirror_repo: str = ""
    openslr_urls: tuple[str, ...] = ()
    lists_url: str = ""


def load_catalogue(path: Path) -> Catalogue:
    """Read the catalogue of a corpus and add the archives that all corpora share.

    Args:
        path: ``egs/<corpus>/conf/archives.yaml``, or another file of this kind; a set in it that is called like a
            shared one takes its place.

    Returns:
        The catalogue.

    Raises:
        ConfigError: if the file cannot be read, or a key is unknown, missing or has a wrong value.
    """
    shared, own = _read(NOISES), _read(path)
    both = {**shared.sets, **own.sets}
    names = [part.name for one in both.values() for part in one.parts] + list(own.lists)
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{path}: expected every file once, found twice: {', '.join(twice)}")
    return dataclasses.replace(own, sets=both, openslr_urls=own.openslr_urls or shared.openslr_urls)


def _read(path: Path) -> Catalogue:
    place = str(path)
    fields = _fields(place, read_yaml(path), Catalogue)
    for kind, parse in (("sets", _parse_set), ("lists", _parse_list)):
        entries = fields.get(kind, {})
        if not isinstance(entries, dict):
            raise ConfigError(f"{place}: {kind}: expected a block of names, found {quote(entries)}")
        fields[kind] = {name: parse(f"{place}: {kind}.{name}", name, item) for name, item in entries.items()}
    return Catalogue(**fields)


def _parse_set(place: str, name: str, content: object) -> ArchiveSet:
    _check_name(place, name)
    fields = _fields(place, content, ArchiveSet, name=name, joined_name="")
    fields["parts"] = parts = _parse_parts(f"{place}.parts", fields["parts"])
    if len(parts) == 1:
        fields["joined_name"] = fields["joined_name"] or parts[0].name
        fields["joined_md5"] = fields.get("joined_md5") or parts[0].md5
    _check_name(f"{place}.joined_name", fields["joined_name"])
    if not fields["joined_name"].endswith((".zip", ".tar.gz")):
        raise ConfigError(f"{place}.joined_name: expected a .zip or .tar.gz, found {quote(fields['joined_name'])}")
    if md5 := fields.get("joined_md5"):
        _check_md5(f"{place}.joined_md5", md5)
    choose(f"{place}.audio", fields.get("audio", "wav"), AUDIO)
    fields["layout"] = _parse_layout(f"{place}.layout", fields["layout"])
    return ArchiveSet(**fields)


def _parse_parts(place: str, content: object) -> tuple[RemoteFile, ...]:
    if not isinstance(content, list) or not content:
        raise ConfigError(f"{place}: expected a list of at least one part, found {quote(content)}")
    parts = tuple(RemoteFile(**_fields(f"{place}[{i}]", item, RemoteFile)) for i, item in enumerate(content))
    for number, part in enumerate(parts):
        _check_name(f"{place}[{number}].name", part.name)
        _check_md5(f"{place}[{number}].md5", part.md5)
    return parts


def _parse_layout(place: str, content: object) -> Layout:
    layout = Layout(**_fields(place, content, Layout))
    for key in ("wanted", "counted"):
        try:
            re.compile(getattr(layout, key))
        except re.error as error:
            raise ConfigError(f"{place}.{key}: expected a regular expression, found another text: {error}") from error
    for key, name in (("place", layout.place), ("split", layout.split or "x"), *(("needed", n) for n in layout.needed)):
        if problem := name_problem(name):
            raise ConfigError(f"{place}.{key}: expected a path below the folder of corpora, {quote(name)} {problem}")
    return layout


def _parse_list(place: str, name: str, content: object) -> TrialListFile:
    _check_name(place, name)
    fields = _fields(place, content, TrialListFile, name=name)
    _check_md5(f"{place}.md5", fields["md5"])
    return TrialListFile(**fields)


def _fields(place: str, content: object, cls: type[Any], **given: str) -> dict[str, Any]:
    """The fields of a block: none that the class does not know, all that it has no default for, of the right kind."""
    if not isinstance(content, dict):
        raise ConfigError(f"{place}: expected a block of keys, found {quote(content)}")
    known = {one.name: one for one in dataclasses.fields(cls) if one.name != "name" or "name" not in given}
    expected = f"expected the keys {', '.join(known)}"
    for key in content:
        if key not in known:
            raise ConfigError(f"{place}: {expected}; found {quote(key)}{closest(key, known)}")
    absent = dataclasses.MISSING
    missing = [
        key
        for key, one in known.items()
        if one.default is absent and one.default_factory is absent and key not in {**given, **content}
    ]
    if missing:
        raise ConfigError(f"{place}: {expected}; missing: {', '.join(missing)}")
    hints = get_type_hints(cls)
    within = f"{place}: " if cls is Catalogue else f"{place}."
    return {**given, **{key: _checked(f"{within}{key}", hints[key], value) for key, value in content.items()}}


def _checked(place: str, hint: object, value: object) -> object:
    """A plain value of the kind that a field has; blocks and lists of them are left to their own readers."""
    if hint in (int, int | None):
        return check_count(place, value, least=0)
    if hint == float | None:
        return check_number(place, value, least=0)
    if hint == tuple[str, ...]:
        if not isinstance(value, list):
            raise ConfigError(f"{place}: expected a list, found {quote(value)}")
        return tuple(_checked(place, str, item) for item in value)
    if hint is str and not isinstance(value, str):
        raise ConfigError(f"{place}: expected a text, found {quote(value)}; write it in quotes")
    return value


def _check_name(place: str, name: str) -> None:
    """A name becomes a file of the archives' folder: it must stay in it and clash with nothing that lives there."""
    plain = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", name) is not None
    if not plain or name.endswith((".part", ".part.json")) or name in RESERVED:
        raise ConfigError(f"{place}: expected a plain file name, found {quote(name)}")


def _check_md5(place: str, md5: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{32}", md5):
        raise ConfigError(f"{place}: expected 32 hexadecimal digits in lower case, found {quote(md5)}")
