"""Unpacking of a corpus's archives: from their parts, in parallel, and to be continued after whatever stopped it.

- Parts are read as one file (:mod:`ham.corpora.split_file`); nothing is joined on the disk.
- A file gets its name when all of it is written and, in a zip, its checksum is verified. So the next run takes a file
  of the right size for finished, and what was half written is written anew; a tar.gz is read from its beginning again.
- To free space, the archive of a set is deleted once all that is in it is on the disk (``sync``) and its record says
  so: what is gone is never needed again. The sum that stage 1 shows before it fetches counts archives in this way.
- Names are checked by :mod:`ham.corpora.layouts`; an archive that grows beyond all reason is refused before (zip) or
  while (tar.gz) it is unpacked.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from ham.corpora.catalogue import ArchiveSet
from ham.corpora.records import Target, Unpacked, read_unpacked, record_path, write_unpacked
from ham.corpora.split_file import SplitFile
from ham.corpora.unpack_tar import unpack_tar
from ham.corpora.unpack_zip import unpack_zip
from ham.errors import ConfigError, DataError
from ham.files import lock_folder

logger = logging.getLogger(__name__)


def unpack(
    archive: ArchiveSet,
    archives: Path,
    corpora: Path,
    *,
    keep_archives: bool = True,
    accept_repacked: bool = False,
    max_missing: int = 0,
    num_workers: int = 2,
) -> Unpacked:
    """Unpack a set, or go on with it, or find that it is unpacked.

    Args:
        archive: the set's entry in the catalogue.
        archives: folder that holds its archive, joined or in parts.
        corpora: folder to unpack into.
        keep_archives: False deletes the archive as soon as all of it is unpacked.
        accept_repacked: whether an archive of another size than the owners' is taken; all else is checked as ever.
        max_missing: files that may be missing or damaged.
        num_workers: threads.

    Returns:
        What there is now.

    Raises:
        ConfigError: if the archive is not there.
        DataError: if it is damaged or hostile, or holds too little.
    """
    target = Target(archive, corpora, max_missing, num_workers)
    with ExitStack() as locks:
        corpora.mkdir(parents=True, exist_ok=True)
        locks.enter_context(lock_folder(corpora, "unpacking"))
        if not keep_archives and archives.is_dir():
            locks.enter_context(lock_folder(archives, "unpacking, which removes archives"))
        done = read_unpacked(archive, corpora)
        if done is None:
            paths = locate(archive, archives, corpora)
            if not accept_repacked:
                _check_sizes(archive, paths)
            done = _unpack(target, paths)
        else:
            target.check_counts(done.num_files, done.num_speakers, done.missing)
            again = f"to unpack it again, remove {record_path(archive, corpora)}"
            logger.info("%s: was already unpacked, %d files; %s", archive.name, done.num_files, again)
        if not keep_archives:
            _remove(archive, archives, done)
    return done


def locate(archive: ArchiveSet, archives: Path, corpora: Path) -> tuple[Path, ...]:
    """Find the files of an archive: the joined one, or its parts.

    Args:
        archive: the set's entry in the catalogue.
        archives: folder that holds them.
        corpora: folder to unpack into.

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
    missing = [part.name for part in archive.parts if not (archives / part.name).is_file()]
    if missing:
        wanted = f"{joined.name} or its parts" if len(archive.parts) > 1 else joined.name
        raise ConfigError(f"{archives}: expected {wanted} for {archive.name}, found no {missing[0]}; load it (stage 1)")
    return tuple(archives / part.name for part in archive.parts)


def _check_sizes(archive: ArchiveSet, paths: Sequence[Path]) -> None:
    known = {file.name: file.size for file in (*archive.parts, archive.joined)}
    for path in paths:
        expected, found = known[path.name], path.stat().st_size
        if expected is not None and found != expected:
            cure = "load it again (stage 1), or take it as it is with --accept_repacked true"
            raise DataError(f"{path}: expected {expected} bytes, found {found}; {cure}")


def _unpack(target: Target, paths: Sequence[Path]) -> Unpacked:
    """Unpack a set and write its record."""
    archive, corpora = target.archive, target.corpora
    with SplitFile(paths) as file:
        # A record whose files are gone would hold for the first of them that comes back.
        record_path(archive, corpora).unlink(missing_ok=True)
        sorter, damaged = (unpack_zip if archive.is_zip else unpack_tar)(target, file)
    done, difference = target.record(sorter, damaged)
    if difference:
        logger.warning("%s", difference)
    os.sync()
    write_unpacked(done, archive, corpora)
    left_out = ", ".join(f"{number} of {kind}" for kind, number in done.left_out.items())
    tail = f"; left out: {left_out}" if left_out else ""
    logger.info("%s: %s in %s%s", archive.name, done, corpora / archive.layout.place, tail)
    return done


def _remove(archive: ArchiveSet, archives: Path, done: Unpacked) -> None:
    """Delete an archive that is unpacked, unless a member of it was damaged."""
    names = dict.fromkeys((archive.joined_name, *(part.name for part in archive.parts)))
    left = [archives / name for name in names if (archives / name).is_file()]
    if left and done.missing:
        logger.warning("%s: kept, since files in it are damaged", ", ".join(map(str, left)))
        return
    if left:
        os.sync()  # the record is to be there before the archive is gone
    for path in left:
        path.unlink()
        logger.info("%s: removed, it is unpacked", path)
