"""A zip archive, in parts or joined, into a folder: by several threads, every checksum verified."""

from __future__ import annotations

import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from tqdm import tqdm

from ham.corpora.layouts import CHUNK_BYTES, Layout, Sorter, check_growth, holds_file
from ham.corpora.records import Target
from ham.corpora.split_file import SplitFile
from ham.errors import DataError
from ham.files import replacing, write_text
from ham.pool import in_order

MAX_MEMBER_EXPANSION = 200
"""One member may grow by this factor: it may be a list, or hold silence."""
FREE_MEMBER_EXPANSION = 1 << 20
"""Bytes that any member may have."""

_BATCH = 32  # members that a thread takes at a time
_HEADER_BYTES = 30  # of a member's local header without its name, APPNOTE.TXT 4.3.7
_ENCRYPTED = 0x1  # general purpose flag, APPNOTE.TXT 4.4.4
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # those of which zipfile takes no more than it is asked for

Member = tuple[str, zipfile.ZipInfo]
"""Where a file of the zip goes below the folder of corpora, and its entry."""


def unpack_zip(target: Target, file: SplitFile) -> tuple[Sorter, list[str]]:
    """Unpack the members that are wanted and not there yet.

    Args:
        target: where to.
        file: the archive.

    Returns:
        What was found in it, and what is wrong with members that could not be unpacked.

    Raises:
        DataError: if it is damaged or hostile, or holds too little; nothing is written if its directory says so.
    """
    sorter = Sorter(file.name, target.archive.layout)
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError) as error:
        raise DataError(f"{file.name}: is not a zip archive, or damaged ({error}); load it again") from error
    with archive:
        members = _members(archive, file, sorter)
        sorter.check_found()
        target.check_counts(sorter.num_counted, len(sorter.speakers), [])
        damaged = _extract_all(archive, members, target, sorter)
    whole = [name for name, _ in members if name not in damaged]
    _write_split(target.corpora, target.archive.layout, whole)
    return sorter, list(damaged.values())


def _members(archive: zipfile.ZipFile, file: SplitFile, sorter: Sorter) -> list[Member]:
    """The members that are unpacked, in the order of their bytes; a hostile archive is refused as a whole."""
    infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    _check_sizes(file, infos)
    members = []
    for info in infos:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            sorter.refuse(info.orig_filename, "a link" if kind == stat.S_IFLNK else "a device or another special file")
        if kind == stat.S_IFDIR or info.orig_filename.endswith("/"):
            sorter.check(info.orig_filename)
        elif name := sorter.place(info.orig_filename):
            if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
                cure = "pack it anew with 'deflate' or without compression"
                raise DataError(f"{file.name}: {info.filename!a} is encrypted or packed in an unusual way; {cure}")
            members.append((name, info))
    return members


def _check_sizes(file: SplitFile, infos: Sequence[zipfile.ZipInfo]) -> None:
    """Refuse a zip by what its directory says: growth, and members that share bytes."""
    check_growth(file.name, sum(info.file_size for info in infos), file.size)
    for info in infos:
        place, limits = f"{file.name}: {info.filename!a}", (MAX_MEMBER_EXPANSION, FREE_MEMBER_EXPANSION)
        check_growth(place, info.file_size, info.compress_size, *limits)
    for one, other in pairwise(infos):
        if one.header_offset + _HEADER_BYTES + one.compress_size > other.header_offset:
            both = f"{one.filename!a} and {other.filename!a}"
            raise DataError(f"{file.name}: {both} share bytes; this is a trap, load it again")


def _extract_all(archive: zipfile.ZipFile, members: Sequence[Member], target: Target, sorter: Sorter) -> dict[str, str]:
    """Unpack all members; what is wrong with those that are damaged, by the place where they should be."""
    damaged: dict[str, str] = {}

    def _extract_batch(batch: Sequence[Member]) -> dict[str, str]:
        found = {name: _extract(archive, info, target.corpora / name) for name, info in batch}
        return {name: f"{name} ({problem})" for name, problem in found.items() if problem}

    batches = [members[start : start + _BATCH] for start in range(0, len(members), _BATCH)]
    with (
        ThreadPoolExecutor(target.num_workers) as pool,
        tqdm(total=len(members), desc=f"unpack {target.archive.name}", unit=" files", delay=2) as bar,
    ):
        for batch, found in zip(batches, in_order(pool, _extract_batch, batches, 4 * target.num_workers), strict=True):
            damaged |= found
            if len(damaged) > target.max_missing:
                num_files = sorter.num_counted - len(damaged)
                target.check_counts(num_files, len(sorter.speakers), list(damaged.values()))
            bar.update(len(batch))
    return damaged


def _extract(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> str:
    """Unpack a member unless it is there; returns what is wrong with it."""
    if holds_file(path, info.file_size):
        return ""
    try:
        with archive.open(info) as member, replacing(path) as part, part.open("wb", buffering=0) as file:
            while piece := member.read(CHUNK_BYTES):
                file.write(piece)
            if file.tell() != info.file_size:
                raise EOFError(f"expected {info.file_size} bytes, found {file.tell()}")
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        return str(error)
    return ""


def _write_split(corpora: Path, layout: Layout, names: Iterable[str]) -> None:
    """List the utterances of one of two archives that share a folder: lines ``<speaker> <path>``."""
    if layout.split:
        paths = sorted(name.removeprefix(f"{layout.place}/") for name in names)
        write_text(corpora / layout.split, "".join(f"{path.split('/', 1)[0]} {path}\n" for path in paths))
