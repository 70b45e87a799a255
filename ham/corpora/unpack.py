"""Unpacking of the corpora's archives: from their parts, in parallel, and to be continued after whatever stopped it.

- Parts are read as one file (:mod:`ham.corpora.split_file`); nothing is joined on the disk.
- A file gets its name when all of it is written and its checksum is verified. So the next run takes a file of the right
  size for finished, and what was half written is written anew.
- A zip is unpacked by several threads, in the order of its bytes. A tar.gz is one stream: one thread reads, others
  write.
- To free space as it goes, a part is deleted once every file in it, and in those before it, is on the disk (``sync``),
  and ``<set>.unpacked.json`` says so. A zip's directory is in its last part, which goes last. A tar.gz is entered
  again where it was left by a :class:`~ham.corpora.gunzip.Checkpoint`, which that file holds too.
- Names are checked by :mod:`ham.corpora.layouts`; an archive that grows beyond all reason is refused before (zip) or
  while (tar.gz) it is unpacked.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from tqdm import tqdm

from ham.corpora.catalogue import ArchiveSet
from ham.corpora.convert import holds_files, is_converted
from ham.corpora.gunzip import Checkpoint, GunzipStream
from ham.corpora.layouts import LAYOUTS, Layout, Sorter
from ham.corpora.split_file import Parts
from ham.errors import ConfigError, DataError, summarise
from ham.files import lock_folder
from ham.pool import in_order
from ham.words import count

logger = logging.getLogger(__name__)

MAX_EXPANSION = 20
"""An archive may grow by this factor: speech grows by less than 2, lists of trials by 10."""
MAX_MEMBER_EXPANSION = 200
"""One member may grow by this factor: it may be a list, or hold silence."""
FREE_EXPANSION = 1 << 16
"""Bytes that any archive may grow by."""
FREE_MEMBER_EXPANSION = 1 << 20
"""Bytes that any member may have."""

_CHUNK = 1 << 20  # bytes read and written at a time
_BATCH = 32  # members of a zip that a thread takes at a time
_SMALL = 1 << 23  # a tar's files up to here are handed to the writing threads whole
_TAR_BUFFER = 1 << 15  # what tarfile keeps, and copies at every read
_LOCAL = struct.Struct("<4s2HH2H3I2H")  # local file header, APPNOTE.TXT 4.3.7
_ENCRYPTED, _UTF8 = 0x1, 0x800  # general purpose flags, APPNOTE.TXT 4.4.4
_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_FOLDERS = {"musan": ("music", "speech", "noise"), "rirs": ("simulated_rirs",), "cn1": ("data",), "cn2": ("data",)}
"""What may not be empty below the place of a set, if not the place itself."""


@dataclass(frozen=True)
class Unpacked:
    """What was unpacked of a set: the content of ``<set>.unpacked.json`` once ``complete`` is true.

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


@dataclass(frozen=True)
class _Progress:
    """The content of ``<set>.unpacked.json`` on the way: which parts may be gone, and where a tar.gz goes on."""

    set: str
    archive: list[str]
    sizes: list[int]
    freed: list[str]
    stream: dict[str, Any] | None = None
    complete: bool = False


def unpack(
    archive: ArchiveSet,
    archives: Path,
    corpora: Path,
    *,
    keep_archives: bool = True,
    max_missing: int = 0,
    num_workers: int = 2,
) -> Unpacked:
    """Unpack a set, or go on with it, or find that it is unpacked.

    Args:
        archive: the set's entry in the catalogue.
        archives: folder that holds its archive, joined or in parts.
        corpora: folder to unpack into.
        keep_archives: False deletes each part as soon as it is not needed any more.
        max_missing: files that may be missing or damaged.
        num_workers: threads.

    Returns:
        What there is now.

    Raises:
        ConfigError: if the archive is not there.
        DataError: if it is damaged or hostile, or holds too little.
    """
    if archive.name not in LAYOUTS:
        raise ConfigError(f"{archive.name}: the layout of this set is not known; the sets are {', '.join(LAYOUTS)}")
    job = _Job(archive, archives, corpora, keep_archives, max_missing, num_workers)
    with ExitStack() as locks:
        corpora.mkdir(parents=True, exist_ok=True)
        locks.enter_context(lock_folder(corpora, "unpacking"))
        if not keep_archives and archives.is_dir():
            locks.enter_context(lock_folder(archives, "unpacking, which removes archives"))
        return _unpack(job)


def _unpack(job: _Job) -> Unpacked:
    """Unpack unless it is done; then remove what is not wanted any more."""
    archive, corpora = job.archive, job.corpora
    done = read_unpacked(archive, corpora)
    if done is None:
        with job.open_parts() as parts:
            _forget_complete(archive, corpora)
            done = _unpack_zip(job, parts) if archive.kind == "zip" else _unpack_tar(job, parts)
            job.write(done)
        logger.info("%s: %s", archive.name, _describe(done, corpora / job.layout.place))
    else:
        job.check_missing(done.num_files, done.num_speakers, done.missing)
        again = f"to unpack it again, remove {_record_path(archive, corpora)}"
        logger.info("%s: was already unpacked, %d files; %s", archive.name, done.num_files, again)
    job.free_rest(done)
    return done


def _forget_complete(archive: ArchiveSet, corpora: Path) -> None:
    """Remove a record whose files are gone: it would hold for the first of them that comes back."""
    record = _read_record(archive, corpora)
    if record is not None and record["complete"]:
        _record_path(archive, corpora).unlink()


def locate(archive: ArchiveSet, archives: Path, corpora: Path) -> tuple[Path, ...]:
    """Find the files of an archive: the joined one, or its parts, of which freed ones may be gone.

    Args:
        archive: the set's entry in the catalogue.
        archives: folder that holds them.
        corpora: folder to unpack into, which knows what was freed.

    Returns:
        One path, or all parts in order; nothing if the set is unpacked.

    Raises:
        ConfigError: if files are missing.
    """
    if read_unpacked(archive, corpora) is not None:
        return ()
    joined = archives / archive.joined_name
    if joined.is_file():
        return (joined,)
    freed = freed_parts(archive, corpora)
    missing = [part.name for part in archive.parts if part.name not in freed and not (archives / part.name).is_file()]
    if missing:
        wanted = f"{joined.name} or its parts" if len(archive.parts) > 1 else joined.name
        raise ConfigError(f"{archives}: expected {wanted} for {archive.name}, found no {missing[0]}; load it (stage 1)")
    return tuple(archives / part.name for part in archive.parts)


def is_unpacked(archive: ArchiveSet, corpora: Path) -> bool:
    """Whether nothing of an archive is needed any more.

    Args:
        archive: the set's entry in the catalogue.
        corpora: folder that it is unpacked into.

    Returns:
        True if its record says that it was unpacked completely, and its folder still holds files. Of VoxCeleb2, the
        M4A files may be gone once all are converted.

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
        The record; None if the set, in this edition, is not unpacked completely or its folder is gone.
    """
    content = _read_record(archive, corpora)
    if not content or content["complete"] is not True or not _holds_set(archive, corpora):
        return None
    return Unpacked(**content)


def _holds_set(archive: ArchiveSet, corpora: Path) -> bool:
    """Whether a set that was unpacked is still there, at a glance."""
    layout = LAYOUTS.get(archive.name)
    if layout is None:
        return False
    place = corpora / layout.place
    if layout.split is not None:
        return _holds_listed(place, corpora / layout.split)
    if place.name == "m4a" and is_converted(place.with_name("wav")):
        return True
    return all(holds_files(place / folder) for folder in _FOLDERS.get(archive.name, ("",)))


def _holds_listed(place: Path, split: Path) -> bool:
    """Whether any of the listed utterances is there; the others in the folder are another set's."""
    try:
        lines = split.read_text(encoding="utf-8").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return any((place / line.partition(" ")[2]).is_file() for line in lines)


def freed_parts(archive: ArchiveSet, corpora: Path) -> tuple[str, ...]:
    """The parts of an archive that are not needed any more although it is not unpacked completely.

    Args:
        archive: the set's entry in the catalogue.
        corpora: folder that it is unpacked into.

    Returns:
        Their names.
    """
    content = _read_record(archive, corpora)
    return () if not content or content["complete"] else tuple(content["freed"])


def _read_record(archive: ArchiveSet, corpora: Path) -> dict[str, Any] | None:
    """The record, if there is one of this edition that can be read."""
    path = _record_path(archive, corpora)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError:
        content = None
    fields = Unpacked if isinstance(content, dict) and content.get("complete") is True else _Progress
    if not isinstance(content, dict) or content.keys() != fields.__dataclass_fields__.keys():
        raise DataError(f"{path}: is not a record of what was unpacked; remove it")
    return content if content["archive"] == _edition(archive) else None


def _record_path(archive: ArchiveSet, corpora: Path) -> Path:
    return corpora / f"{archive.name}.unpacked.json"


def _edition(archive: ArchiveSet) -> list[str]:
    return [f"{part.md5} {part.name}" for part in archive.parts]


@dataclass
class _Job:
    """One set being unpacked: where from, where to, and what is recorded."""

    archive: ArchiveSet
    archives: Path
    corpora: Path
    keep_archives: bool
    max_missing: int
    num_workers: int
    freed: list[str] = field(default_factory=list)
    stream: dict[str, Any] | None = None
    num_removed: int = 0

    @property
    def layout(self) -> Layout:
        """What the archive holds."""
        return LAYOUTS[self.archive.name]

    def open_parts(self) -> Parts:
        """The archive as one file; parts that were freed need not be there."""
        paths = locate(self.archive, self.archives, self.corpora)
        record = _read_record(self.archive, self.corpora)
        if record is None or record["complete"] or len(paths) == 1:
            parts = Parts(paths)
        else:
            parts = Parts(paths, record["sizes"])
            self.freed, self.stream = record["freed"], record["stream"]
            self._check_freed(paths)
        for path, size in zip(paths, parts.sizes, strict=True):
            found = path.stat().st_size if path.is_file() else size
            expected = {part.name: part.size for part in (*self.archive.parts, self.archive.joined)}.get(path.name)
            if found != size or (expected and found != expected):
                raise DataError(f"{path}: expected {expected or size} bytes, found {found}; load it again (stage 1)")
        return parts

    def _check_freed(self, paths: Sequence[Path]) -> None:
        """Refuse to go on where neither the first parts nor what came of them are there."""
        place = self.corpora / self.layout.place
        if self.freed and not holds_files(place) and not all(path.is_file() for path in paths):
            cure = f"remove {_record_path(self.archive, self.corpora)} and load the archive again"
            raise DataError(f"{place}: expected files from parts that have been removed since, found none; {cure}")

    @property
    def frees(self) -> bool:
        """Whether parts are deleted on the way."""
        return not self.keep_archives

    def free(self, parts: Parts, num_parts: int, stream: dict[str, Any] | None = None) -> None:
        """Delete the first parts, once what came of them is on the disk and recorded."""
        names = [path.name for path in parts.paths[:num_parts]]
        if len(names) > len(self.freed):
            os.sync()
            self.freed, self.stream = names, stream
            self.write(_Progress(self.archive.name, _edition(self.archive), list(parts.sizes), names, stream))
            logger.info("%s: unpacked up to the end of %s, which is removed", self.archive.name, names[-1])
        for index in range(self.num_removed, num_parts):
            parts.remove(index)
        self.num_removed = max(self.num_removed, num_parts)

    def free_rest(self, done: Unpacked) -> None:
        """Delete what is left of the archive, unless a member of it was damaged."""
        if self.keep_archives:
            return
        names = (self.archive.joined_name, *(part.name for part in self.archive.parts))
        left = [path for path in dict.fromkeys(self.archives / name for name in names) if path.is_file()]
        if left and done.missing:
            logger.warning("%s: kept, since files in it are damaged", ", ".join(map(str, left)))
            return
        for path in left:
            path.unlink()
            logger.info("%s: removed, it is unpacked", path)

    def write(self, record: Unpacked | _Progress) -> None:
        """Write the record in one step, after all files."""
        if record.complete:
            os.sync()
        path = _record_path(self.archive, self.corpora)
        content = json.dumps(asdict(record), indent=1, sort_keys=True) + "\n"
        _write_file(path, [content.encode()], is_durable=True)

    def finish(self, sorter: Sorter, missing: Sequence[str]) -> Unpacked:
        """Hold the counts against the catalogue."""
        sorter.check_found()
        num_files, num_speakers = sorter.num_counted - len(missing), len(sorter.speakers)
        num_missing = self.check_missing(num_files, num_speakers, missing)
        left_out = dict(sorted(sorter.left_out.items()))
        edition = _edition(self.archive)
        return Unpacked(self.archive.name, edition, num_files, num_speakers, num_missing, list(missing), left_out)

    def check_missing(self, num_files: int, num_speakers: int, missing: Sequence[str]) -> int:
        """Compare with the catalogue, within the budget; returns the number of missing files."""
        files = self.archive.num_utts if self.archive.num_utts is not None else self.archive.num_files
        speakers = self.archive.num_speakers
        num_missing = max(len(missing), (files or 0) - num_files, (speakers or 0) - num_speakers)
        if num_files == files and num_speakers == (speakers or 0) and not missing:
            return 0
        said = f"{self.archive.name}: expected {_count(files, speakers)}, found {_count(num_files, num_speakers)}"
        if missing:
            said += f"; cannot be unpacked: {summarise(missing)}"
        if num_missing > self.max_missing:
            is_done = is_unpacked(self.archive, self.corpora)
            first = f"remove {_record_path(self.archive, self.corpora)} and " if is_done else ""
            accept = f"accept {count(num_missing, 'missing file')} with --max_missing_files {num_missing}"
            raise DataError(f"{said}; {first}load the archive again, or {accept}")
        if files is not None or missing:
            logger.warning("%s", said)
        return num_missing


def _count(num_files: int | None, num_speakers: int | None) -> str:
    files = "any number of files" if num_files is None else count(num_files, "file")
    return f"{files} of {count(num_speakers, 'speaker')}" if num_speakers else files


def _describe(done: Unpacked, place: Path) -> str:
    left_out = ", ".join(f"{number} of {kind}" for kind, number in done.left_out.items())
    said = f"{_count(done.num_files, done.num_speakers)} in {place}"
    return said + (f"; left out: {left_out}" if left_out else "")


class _Member(NamedTuple):
    """A file in a zip: where it goes, where its header is, and what must come out."""

    target: str
    name: bytes
    offset: int
    packed: int
    size: int
    crc: int
    method: int


def _unpack_zip(job: _Job, parts: Parts) -> Unpacked:
    sorter = Sorter(str(parts.paths[-1]), job.layout)
    members = _read_directory(parts, sorter)
    sorter.check_found()
    job.check_missing(sorter.num_counted, len(sorter.speakers), [])
    damaged: list[_Member] = []
    problems: list[str] = []

    def _extract_batch(batch: Sequence[_Member]) -> list[tuple[_Member, str]]:
        found = [(member, _extract(parts, member, job.corpora)) for member in batch]
        return [(member, problem) for member, problem in found if problem]

    batches = [members[start : start + _BATCH] for start in range(0, len(members), _BATCH)]
    with (
        ThreadPoolExecutor(job.num_workers) as pool,
        tqdm(total=len(members), desc=f"unpack {job.archive.name}", unit=" files", delay=2) as bar,
    ):
        for batch, found in zip(batches, in_order(pool, _extract_batch, batches, 4 * job.num_workers), strict=True):
            damaged += [member for member, _ in found]
            problems += [problem for _, problem in found]
            if len(problems) > job.max_missing:
                job.check_missing(sorter.num_counted - len(problems), len(sorter.speakers), problems)
            if job.frees and not damaged:
                last = batch[-1]
                job.free(parts, parts.index(last.offset + _LOCAL.size + last.packed))
            bar.update(len(batch))
    _write_split(job, members, {member.target for member in damaged})
    return job.finish(sorter, problems)


def _read_directory(parts: Parts, sorter: Sorter) -> list[_Member]:
    """The members that are unpacked, in the order of their bytes; a hostile archive is refused as a whole."""
    last = parts.paths[-1]
    try:
        with parts.as_file() as file, zipfile.ZipFile(file) as archive:
            infos = sorted(archive.infolist(), key=lambda info: info.header_offset)
    except (zipfile.BadZipFile, NotImplementedError, struct.error, ValueError) as error:
        raise DataError(f"{last}: is not a zip archive, or damaged ({error}); load it again") from error
    _check_expansion(last, infos, parts.size)
    members = []
    for info in infos:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            sorter.refuse(info.orig_filename, "a link" if kind == stat.S_IFLNK else "a device or another special file")
        if kind == stat.S_IFDIR or info.orig_filename.endswith("/"):
            sorter.check(info.orig_filename)
        elif target := sorter.place(info.orig_filename):
            if info.flag_bits & _ENCRYPTED or info.compress_type not in _METHODS:
                raise DataError(f"{last}: {info.filename!a} is encrypted or packed in an unusual way; load it again")
            name = info.orig_filename.encode("utf-8" if info.flag_bits & _UTF8 else "cp437")
            sizes = (info.header_offset, info.compress_size, info.file_size)
            members.append(_Member(target, name, *sizes, info.CRC, info.compress_type))
    return members


def _check_expansion(place: Path, infos: Sequence[zipfile.ZipInfo], size: int) -> None:
    """Refuse a zip by what its directory says: growth, and members that share bytes."""
    total = sum(info.file_size for info in infos)
    if total > MAX_EXPANSION * size + FREE_EXPANSION:
        raise DataError(f"{place}: {_bomb(total, size, MAX_EXPANSION)}")
    for info in infos:
        if info.file_size > MAX_MEMBER_EXPANSION * info.compress_size + FREE_MEMBER_EXPANSION:
            grown = _bomb(info.file_size, info.compress_size, MAX_MEMBER_EXPANSION)
            raise DataError(f"{place}: {info.filename!a}: {grown}")
    for one, other in pairwise(infos):
        if one.header_offset + _LOCAL.size + one.compress_size > other.header_offset:
            raise DataError(
                f"{place}: {one.filename!a} and {other.filename!a} share bytes; this is a trap, load it again"
            )


def _bomb(size: int, packed: int, limit: int) -> str:
    return (
        f"expected to grow at most {limit}-fold, found {packed} bytes that become {size}; this is a trap, load it again"
    )


def _extract(parts: Parts, member: _Member, corpora: Path) -> str | None:
    """Unpack a member unless it is there; returns what is wrong with it."""
    path = corpora / member.target
    if _is_there(path, member.size):
        return None
    try:
        _write_file(path, _inflated(parts, member))
    except DataError as error:
        return f"{member.target} ({error})"
    return None


def _inflated(parts: Parts, member: _Member) -> Iterator[bytes]:
    """The content of a member, verified when the last piece has been taken."""
    header = parts.read(member.offset, _LOCAL.size)
    if len(header) < _LOCAL.size or header[:4] != b"PK\3\4":
        raise DataError(f"no file at byte {member.offset} of the archive")
    *_, name_length, extra_length = _LOCAL.unpack(header)
    start = member.offset + _LOCAL.size
    if parts.read(start, name_length) != member.name:
        raise DataError("its name differs from the directory's")
    start += name_length + extra_length
    size = crc = 0
    for piece in _decompressed(parts, start, member):
        size, crc = size + len(piece), zlib.crc32(piece, crc)
        if size > member.size:
            break
        yield piece
    if (size, crc) != (member.size, member.crc):
        raise DataError("breaks its checksum")


def _decompressed(parts: Parts, start: int, member: _Member) -> Iterator[bytes]:
    pieces = (
        parts.read(start + place, min(_CHUNK, member.packed - place)) for place in range(0, member.packed, _CHUNK)
    )
    if member.method == zipfile.ZIP_STORED:
        yield from pieces
        return
    decoder = zlib.decompressobj(-15)
    try:
        for piece in pieces:
            rest = piece
            while rest and not decoder.eof:
                yield decoder.decompress(rest, _CHUNK)
                rest = decoder.unconsumed_tail
        yield decoder.flush()
    except zlib.error as error:
        raise DataError(f"is damaged: {error}") from error


def _write_split(job: _Job, members: Iterable[_Member], without: set[str]) -> None:
    """List the utterances of one of two archives that share a folder: lines ``<speaker> <path>``."""
    if job.layout.split is None:
        return
    start = len(job.layout.place) + 1
    paths = sorted(member.target[start:] for member in members if member.target not in without)
    text = "".join(f"{path.split('/', 1)[0]} {path}\n" for path in paths)
    _write_file(job.corpora / job.layout.split, [text.encode()])


def _unpack_tar(job: _Job, parts: Parts) -> Unpacked:
    with ThreadPoolExecutor(job.num_workers) as pool:
        work = _TarWork(job, parts, pool)
        try:
            work.run()
        finally:
            pool.shutdown(cancel_futures=True)
    return job.finish(work.sorter, [])


class _TarWork:
    """The stream of a tar.gz: a position that moves on, files handed to writers, and places to go on from."""

    def __init__(self, job: _Job, parts: Parts, pool: ThreadPoolExecutor) -> None:
        self._job, self._parts, self._pool = job, parts, pool
        self._name = str(parts.paths[-1])
        self.sorter = Sorter(self._name, job.layout)
        self._writing: deque[Future[None]] = deque()
        self._found: Checkpoint | None = None
        self._search_at = 0
        checkpoint, start = self._resume()
        self._source = parts.as_file()
        self._stream = GunzipStream(self._name, self._source, parts.size, checkpoint)
        self._base = start
        self._skip(start - self._stream.position)

    def run(self) -> None:
        """Unpack to the end and verify the checksum of the stream."""
        bar = tqdm(total=self._parts.size, desc=f"unpack {self._job.archive.name}", unit="B", unit_scale=True, delay=2)
        guard = _Guard(self._stream, self._name)
        with bar:
            try:
                with tarfile.open(fileobj=guard, mode="r|", bufsize=_TAR_BUFFER) as tar:  # type: ignore[call-overload]
                    while (info := tar.next()) is not None:
                        tar.members.clear()
                        self._take(tar, info)
                        bar.update(self._stream.consumed - bar.n)
                        if self._job.frees:
                            self._free(self._base + tar.offset)
                    end = self._base + tar.offset
            except tarfile.TarError as error:
                raise DataError(f"{self._name}: is not a tar archive, or damaged ({error}); load it again") from error
            while guard.read(_CHUNK):
                pass
        if self._stream.end_of_content > end:
            raise DataError(f"{self._name}: is damaged: expected the header of a file at byte {end}; load it again")
        self._wait(0)

    def _take(self, tar: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        """One member: its file is written, by this thread where it is large."""
        if info.isdir():
            self.sorter.check(info.name)
            return
        if not info.isreg() or info.sparse is not None:
            self.sorter.check(info.name)
            self.sorter.refuse(
                info.name, "a link" if info.issym() or info.islnk() else "a device or another special file"
            )
        target = self.sorter.place(info.name)
        if target is None or _is_there(path := self._job.corpora / target, info.size):
            return
        content = tar.extractfile(info)
        assert content is not None
        if info.size > _SMALL:
            _write_file(path, _read_all(self._name, info, content))
            return
        self._wait(2 * self._job.num_workers)
        data = b"".join(_read_all(self._name, info, content))
        self._writing.append(self._pool.submit(_write_file, path, [data]))

    def _wait(self, num_left: int) -> None:
        while len(self._writing) > num_left:
            self._writing.popleft().result()

    def _free(self, place: int) -> None:
        """At the end of a member: once a checkpoint lies beyond a part, and files up to here are written, drop it."""
        index = self._parts.index(self._stream.consumed)
        consumed, start = self._stream.consumed, self._parts.starts[index]
        if len(self._job.freed) < index and self._search_at <= consumed and self._found is None:
            self._found = self._stream.checkpoint(start)
            # A search takes 0.2 s: where it fails, the next ones come at growing distances.
            self._search_at = consumed + max(1, consumed - start)
        if self._found is not None and self._found.position <= place:
            checkpoint, self._found = self._found, None
            self._wait(0)
            self._job.free(self._parts, self._parts.index(checkpoint.offset), self._state(checkpoint, place))

    def _state(self, checkpoint: Checkpoint, place: int) -> dict[str, Any]:
        counts = {
            "num_counted": self.sorter.num_counted,
            "num_placed": self.sorter.num_placed,
            "left_out": dict(self.sorter.left_out),
            "speakers": sorted(self.sorter.speakers),
        }
        window = base64.b64encode(checkpoint.window).decode()
        return {"place": place, "counts": counts, "checkpoint": {**asdict(checkpoint), "window": window}}

    def _resume(self) -> tuple[Checkpoint | None, int]:
        """Where to begin: at the checkpoint, if the files from before it are there, else at the beginning."""
        state = self._job.stream
        if state is None:
            return None, 0
        place = self._job.corpora / self._job.layout.place
        files = sorted(path for path in place.rglob("[!.]*") if path.is_file())
        counts = state["counts"]
        if len(files) < counts["num_placed"]:
            if not all(path.is_file() for path in self._parts.paths):
                record = _record_path(self._job.archive, self._job.corpora)
                raise DataError(
                    f"{place}: expected {counts['num_placed']} files from parts that have been removed since, found "
                    f"{len(files)}; remove {record} and load the archive again"
                )
            return None, 0
        self.sorter.num_counted, self.sorter.num_placed = counts["num_counted"], counts["num_placed"]
        self.sorter.left_out, self.sorter.speakers = Counter(counts["left_out"]), set(counts["speakers"])
        window = base64.b64decode(state["checkpoint"]["window"])
        return replace(Checkpoint(**state["checkpoint"]), window=window), state["place"]

    def _skip(self, size: int) -> None:
        while size > 0 and (piece := self._stream.read(min(size, _CHUNK))):
            size -= len(piece)


class _Guard:
    """A stream that is refused when it grows beyond all reason."""

    def __init__(self, stream: GunzipStream, name: str) -> None:
        self._stream, self._name = stream, name

    def read(self, size: int) -> bytes:
        """Read on."""
        data = self._stream.read(size)
        made, used = self._stream.position, self._stream.consumed
        if made > MAX_EXPANSION * used + FREE_EXPANSION:
            raise DataError(f"{self._name}: {_bomb(made, used, MAX_EXPANSION)}")
        return data


def _read_all(name: str, info: tarfile.TarInfo, content: Any) -> Iterator[bytes]:
    left = info.size
    while left > 0:
        piece = content.read(min(left, _CHUNK))
        if not piece:
            raise DataError(f"{name}: ends within {info.name!a}; load it again")
        left -= len(piece)
        yield piece


def _is_there(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except (FileNotFoundError, NotADirectoryError):
        return False


def _write_file(path: Path, pieces: Iterable[bytes], is_durable: bool = False) -> None:
    """Write a file that gets its name when it is complete."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        file = temporary.open("wb", buffering=0)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = temporary.open("wb", buffering=0)
    is_complete = False
    try:
        with file:
            _write_pieces(file, pieces)
            if is_durable:
                os.fsync(file.fileno())
        temporary.replace(path)
        is_complete = True
    finally:
        if not is_complete:
            temporary.unlink(missing_ok=True)


def _write_pieces(file: BinaryIO, pieces: Iterable[bytes]) -> None:
    for piece in pieces:
        view = memoryview(piece)
        while view:
            view = view[file.write(view) :]
