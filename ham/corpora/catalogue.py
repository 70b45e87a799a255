"""What is to be had where: archives of the corpora, their parts, checksums and counts, and VoxCeleb's trial lists.

Checksums and counts are those that the owners and the public recipes give. A size is exact where it is called
``size``; ``about_size`` is good enough for the arithmetic of disk space and nothing else. A file of the same fields
(:func:`load_catalogue`) replaces the table: for another edition of a corpus, for other addresses, for a miniature.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ham.errors import ConfigError
from ham.schema import check_count, check_number, choose, closest

VOXCELEB_PAGE = "https://mm.kaist.ac.kr/datasets/voxceleb"
"""The owners' page, where a form gives a personal key."""
WAV_BYTES_PER_HOUR = 3600 * 16000 * 2
"""16 kHz, 16 bit, one channel."""
FLAC_RATIO = 0.6
"""Size of such speech as FLAC, as a share of its size as WAV; an estimate on the large side."""
BLOCK_WASTE_BYTES = 2048
"""What a file takes beyond its length on a file system of 4 KiB blocks, on average."""

KINDS = ("zip", "tar.gz")
OWNERS = ("voxceleb", "openslr")
AUDIO = ("wav", "m4a", "flac")
RESERVED = ("checksums.json", "bad")


@dataclass(frozen=True)
class Part:
    """One file to fetch; ``size`` in bytes where it is known exactly, ``about_size`` where it is known roughly."""

    name: str
    size: int | None
    md5: str
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
    """One archive, in one part or several that give it when they are joined in order.

    ``mirror_path`` is its folder in the Hugging Face data set ("" if it is not there), ``openslr_path`` the one below
    openslr's ``resources/``. ``audio`` is the format of the speech inside. ``hours`` of speech and ``unpacked_size`` in
    bytes serve the arithmetic of disk space; counts that are not known are None.
    """

    name: str
    parts: tuple[Part, ...]
    joined_name: str
    joined_md5: str | None
    joined_size: int | None
    kind: str
    source: str
    mirror_path: str = ""
    openslr_path: str = ""
    audio: str = "wav"
    num_speakers: int | None = None
    num_utts: int | None = None
    num_files: int | None = None
    hours: float | None = None
    unpacked_size: int | None = None

    @property
    def joined(self) -> Part:
        """The archive in one piece; the part itself where there is only one."""
        if len(self.parts) == 1 and self.parts[0].name == self.joined_name:
            return self.parts[0]
        return Part(self.joined_name, self.joined_size, self.joined_md5 or "", self.archive_bytes)

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
    """A published trial list, its counts and where it is."""

    name: str
    title: str
    num_target: int
    num_nontarget: int
    md5: str
    url: str

    @property
    def about_size(self) -> int:
        """About its length in bytes, by that of a line."""
        return 62 * self.num_trials

    @property
    def num_trials(self) -> int:
        """Target and non-target trials together."""
        return self.num_target + self.num_nontarget


@dataclass(frozen=True)
class Catalogue:
    """Archives by the name of their set, lists by file name, and the addresses that they are fetched from."""

    sets: Mapping[str, ArchiveSet]
    lists: Mapping[str, TrialListFile]
    official_url: str = "https://cn01.mmai.io/download/voxceleb"
    openslr_urls: tuple[str, ...] = (
        "https://www.openslr.org/resources",
        "https://openslr.elda.org/resources",
        "https://us.openslr.org/resources",
    )
    mirror_repo: str = "ProgramComputer/voxceleb"


_GIB = 2**30  # the parts were cut by `split -b 10G`

_VOX1_DEV = ArchiveSet(
    name="vox1_dev",
    parts=(
        Part("vox1_dev_wav_partaa", None, "e395d020928bc15670b570a21695ed96", 10 * _GIB),
        Part("vox1_dev_wav_partab", None, "bbfaaccefab65d82b21903e81a8a8020", 10 * _GIB),
        Part("vox1_dev_wav_partac", None, "017d579a2a96a077f40042ec33e51512", 10 * _GIB),
        Part("vox1_dev_wav_partad", None, "7bb1e9f70fddc7a678fa998ea8b3ba19", 384_000_000),
    ),
    joined_name="vox1_dev_wav.zip",
    joined_md5="ae63e55b951748cc486645f532ba230b",
    joined_size=None,
    kind="zip",
    source="voxceleb",
    mirror_path="vox1",
    num_speakers=1211,
    num_utts=148_642,
    hours=340.4,
    unpacked_size=round(340.4 * WAV_BYTES_PER_HOUR),
)

_VOX1_TEST = ArchiveSet(
    name="vox1_test",
    parts=(Part("vox1_test_wav.zip", None, "185fdc63c3c739954633d50379a3d102", 1_070_000_000),),
    joined_name="vox1_test_wav.zip",
    joined_md5="185fdc63c3c739954633d50379a3d102",
    joined_size=None,
    kind="zip",
    source="voxceleb",
    mirror_path="vox1",
    num_speakers=40,
    num_utts=4874,
    hours=11.2,
    unpacked_size=round(11.2 * WAV_BYTES_PER_HOUR),
)

_VOX2_DEV = ArchiveSet(
    name="vox2_dev",
    parts=(
        Part("vox2_dev_aac_partaa", 10 * _GIB, "da070494c573e5c0564b1d11c3b20577"),
        Part("vox2_dev_aac_partab", 10 * _GIB, "17fe6dab2b32b48abaf1676429cdd06f"),
        Part("vox2_dev_aac_partac", 10 * _GIB, "1de58e086c5edf63625af1cb6d831528"),
        Part("vox2_dev_aac_partad", 10 * _GIB, "5a043eb03e15c5a918ee6a52aad477f9"),
        Part("vox2_dev_aac_partae", 10 * _GIB, "cea401b624983e2d0b2a87fb5d59aa60"),
        Part("vox2_dev_aac_partaf", 10 * _GIB, "fc886d9ba90ab88e7880ee98effd6ae9"),
        Part("vox2_dev_aac_partag", 10 * _GIB, "d160ecc3f6ee3eed54d55349531cb42e"),
        Part("vox2_dev_aac_partah", 2_315_355_528, "6b84a81b9af72a9d9eecbb3b1f602e65"),
    ),
    joined_name="vox2_dev_aac.zip",
    joined_md5="bbc063c46078a602ca71605645c2a402",
    joined_size=77_477_283_208,
    kind="zip",
    source="voxceleb",
    mirror_path="vox2",
    audio="m4a",
    num_speakers=5994,
    num_utts=1_092_009,
    hours=2360.2,
)

_VOX2_TEST = ArchiveSet(
    name="vox2_test",
    parts=(Part("vox2_test_aac.zip", None, "0d2b3ea430a821c33263b5ea37ede312", 2_590_000_000),),
    joined_name="vox2_test_aac.zip",
    joined_md5="0d2b3ea430a821c33263b5ea37ede312",
    joined_size=None,
    kind="zip",
    source="voxceleb",
    mirror_path="vox2",
    audio="m4a",
    num_speakers=118,
    num_utts=36_273,
    hours=79.9,
)

_MUSAN = ArchiveSet(
    name="musan",
    parts=(Part("musan.tar.gz", None, "0c472d4fc0c5141eca47ad1ffeb2a7df", 11_100_000_000),),
    joined_name="musan.tar.gz",
    joined_md5="0c472d4fc0c5141eca47ad1ffeb2a7df",
    joined_size=None,
    kind="tar.gz",
    source="openslr",
    openslr_path="17",
    num_files=2016,
    unpacked_size=12_600_000_000,  # 109 h, the length that its paper gives, as 16-bit wav
)

_RIRS = ArchiveSet(
    name="rirs",
    parts=(Part("rirs_noises.zip", None, "e6f48e257286e05de56413b4779d8ffb", 1_400_000_000),),
    joined_name="rirs_noises.zip",
    joined_md5="e6f48e257286e05de56413b4779d8ffb",
    joined_size=None,
    kind="zip",
    source="openslr",
    openslr_path="28",
    num_files=60_000,
    unpacked_size=6_000_000_000,  # an upper guess; the zip holds real rooms and noises beside the simulated ones
)

_CN1 = ArchiveSet(
    name="cn1",
    parts=(Part("cn-celeb_v2.tar.gz", None, "7ab1b214028a7439e26608b2d5a0336c", 22_000_000_000),),
    joined_name="cn-celeb_v2.tar.gz",
    joined_md5="7ab1b214028a7439e26608b2d5a0336c",
    joined_size=None,
    kind="tar.gz",
    source="openslr",
    openslr_path="82",
    audio="flac",
    num_speakers=997,
    num_utts=126_532,
)

_CN2_PART = 29_000_000_000  # a guess: 1,090 h, the length that its paper gives, at the bytes an hour of cn1, over three
_CN2 = ArchiveSet(
    name="cn2",
    parts=(
        Part("cn-celeb2_v2.tar.gzaa", None, "4cdf738cff565ce35ad34274848659c3", _CN2_PART),
        Part("cn-celeb2_v2.tar.gzab", None, "4ff59a7009b79ef7043498ad3882b81b", _CN2_PART),
        Part("cn-celeb2_v2.tar.gzac", None, "3aa8e6e7f7ec4382f9926b1b31498228", _CN2_PART),
    ),
    joined_name="cn-celeb2_v2.tar.gz",
    joined_md5="55c47cf0b6d0bf793e88bf79d5dfc660",
    joined_size=None,
    kind="tar.gz",
    source="openslr",
    openslr_path="82",
    audio="flac",
)

SETS: Mapping[str, ArchiveSet] = MappingProxyType(
    {one.name: one for one in (_VOX1_DEV, _VOX1_TEST, _VOX2_DEV, _VOX2_TEST, _MUSAN, _RIRS, _CN1, _CN2)}
)
"""The archives of the corpora."""

_META = "https://www.robots.ox.ac.uk/~vgg/data/voxceleb/meta/"


def _list(name: str, title: str, num_target: int, num_nontarget: int, md5: str) -> TrialListFile:
    return TrialListFile(name, title, num_target, num_nontarget, md5, _META + name)


LISTS: Mapping[str, TrialListFile] = MappingProxyType(
    {
        one.name: one
        for one in (
            _list("veri_test2.txt", "Vox1-O (cleaned)", 18_802, 18_809, "b73110731c9223c1461fe49cb48dddfc"),
            _list("list_test_all2.txt", "Vox1-E (cleaned)", 289_921, 289_897, "a53e059deb562ffcfc092bf5d90d9f3a"),
            _list("list_test_hard2.txt", "Vox1-H (cleaned)", 275_488, 275_406, "857790e09d579a68eb2e339a090343c8"),
            _list("veri_test.txt", "Vox1-O (original)", 18_860, 18_860, "29fc7cc1c5d59f0816dc15d6e8be60f7"),
            _list("list_test_all.txt", "Vox1-E (original)", 290_743, 290_737, "b9ecf7aa49d4b656aa927a8092844e4a"),
            _list("list_test_hard.txt", "Vox1-H (original)", 276_270, 276_266, "21c341b6b2168eea2634df0fb4b8fff1"),
        )
    }
)
"""VoxCeleb1's trial lists by their file names; the lists of CN-Celeb are inside its archive."""

BUILT_IN = Catalogue(SETS, LISTS)
"""The table of this module."""


def load_catalogue(path: Path | None) -> Catalogue:
    """Read a catalogue from a file, or take the built-in one.

    The file is JSON: ``sets`` and ``lists`` are arrays of objects with the fields of :class:`ArchiveSet` (its
    ``parts`` with those of :class:`Part`) and :class:`TrialListFile`; the addresses have the names of
    :class:`Catalogue`. Sets and lists replace the built-in ones altogether; an address left out stays.

    Args:
        path: the file; None for the built-in catalogue.

    Returns:
        The catalogue.

    Raises:
        ConfigError: if the file cannot be read, or a field is unknown, missing or has a wrong value.
    """
    if path is None:
        return BUILT_IN
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"--catalogue {path}: expected a JSON file, found: {error}") from error
    return _parse(str(path), content)


def dump_catalogue(catalogue: Catalogue, path: Path) -> None:
    """Write a catalogue to a file that :func:`load_catalogue` reads.

    Args:
        catalogue: what to write.
        path: the file; it is replaced.
    """
    content = {field.name: getattr(catalogue, field.name) for field in dataclasses.fields(catalogue)}
    content["sets"] = [dataclasses.asdict(one) for one in catalogue.sets.values()]
    content["lists"] = [dataclasses.asdict(one) for one in catalogue.lists.values()]
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _parse(place: str, content: object) -> Catalogue:
    fields = _fields(place, content, Catalogue)
    sets = [_parse_set(f"{place}: sets[{i}]", item) for i, item in enumerate(_array(place, "sets", fields))]
    lists = [_parse_list(f"{place}: lists[{i}]", item) for i, item in enumerate(_array(place, "lists", fields))]
    if "openslr_urls" in fields:
        fields["openslr_urls"] = tuple(_array(place, "openslr_urls", fields))
    _unique(place, [part.name for one in sets for part in one.parts] + [one.name for one in lists])
    _unique(place, [one.name for one in sets])
    named = {"sets": {one.name: one for one in sets}, "lists": {one.name: one for one in lists}}
    return Catalogue(**{**fields, **named})


def _parse_set(place: str, content: object) -> ArchiveSet:
    fields = _fields(place, content, ArchiveSet)
    parts = [_fields(f"{place}: parts[{i}]", item, Part) for i, item in enumerate(_array(place, "parts", fields))]
    if not parts:
        raise ConfigError(f"{place}: parts: expected at least one part, found none")
    for number, part in enumerate(parts):
        _check_file(f"{place}: parts[{number}]", part)
    _check_name(f"{place}: name", fields["name"])
    _check_name(f"{place}: joined_name", fields["joined_name"])
    if fields["joined_md5"] is not None:
        _check_md5(f"{place}: joined_md5", fields["joined_md5"])
    choose(f"{place}: kind", fields["kind"], KINDS)
    choose(f"{place}: source", fields["source"], OWNERS)
    choose(f"{place}: audio", fields.get("audio", "wav"), AUDIO)
    for name in ("joined_size", "num_speakers", "num_utts", "num_files", "unpacked_size"):
        _check_optional_count(f"{place}: {name}", fields.get(name))
    if fields.get("hours") is not None:
        check_number(f"{place}: hours", fields["hours"], least=0)
    return ArchiveSet(**{**fields, "parts": tuple(Part(**part) for part in parts)})


def _parse_list(place: str, content: object) -> TrialListFile:
    fields = _fields(place, content, TrialListFile)
    _check_name(f"{place}: name", fields["name"])
    _check_md5(f"{place}: md5", fields["md5"])
    for name in ("num_target", "num_nontarget"):
        check_count(f"{place}: {name}", fields[name], least=0)
    return TrialListFile(**fields)


def _fields(place: str, content: object, cls: type[Any]) -> dict[str, Any]:
    """The fields of an object: none that the class does not know, all that it has no default for."""
    if not isinstance(content, dict):
        raise ConfigError(f"{place}: expected an object, found {content!r}")
    known = {field.name: field for field in dataclasses.fields(cls)}
    unknown = [name for name in content if name not in known]
    if unknown:
        expected = f"expected the fields {', '.join(known)}"
        raise ConfigError(f"{place}: {expected}; found {unknown[0]!r}{closest(unknown[0], known)}")
    missing = [name for name, field in known.items() if field.default is dataclasses.MISSING and name not in content]
    if missing:
        raise ConfigError(f"{place}: expected the fields {', '.join(known)}; missing: {', '.join(missing)}")
    return dict(content)


def _array(place: str, name: str, fields: Mapping[str, Any]) -> list[Any]:
    if not isinstance(fields[name], list):
        raise ConfigError(f"{place}: {name}: expected an array, found {fields[name]!r}")
    return list(fields[name])


def _check_file(place: str, part: Mapping[str, Any]) -> None:
    _check_name(f"{place}: name", part["name"])
    _check_md5(f"{place}: md5", part["md5"])
    _check_optional_count(f"{place}: size", part["size"])
    _check_optional_count(f"{place}: about_size", part.get("about_size"))


def _check_optional_count(place: str, value: object) -> None:
    if value is not None:
        check_count(place, value, least=0)


def _check_name(place: str, name: object) -> None:
    """A name becomes a file of the archives' folder: it must stay in it and clash with nothing that lives there."""
    plain = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", name) is not None
    if not plain or str(name).endswith((".part", ".part.json")) or name in RESERVED:
        raise ConfigError(f"{place}: expected a plain file name, found {name!r}")


def _check_md5(place: str, md5: object) -> None:
    if not isinstance(md5, str) or not re.fullmatch(r"[0-9a-f]{32}", md5):
        raise ConfigError(f"{place}: expected 32 hexadecimal digits in lower case, found {md5!r}")


def _unique(place: str, names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{place}: expected every name once, found twice: {', '.join(twice)}")
