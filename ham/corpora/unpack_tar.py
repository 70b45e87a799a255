"""A tar.gz archive, in parts or joined, into a folder: one stream that one thread reads while others write files."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from tqdm import tqdm

from ham.corpora.layouts import CHUNK_BYTES, Sorter, check_growth, holds_file
from ham.corpora.records import Target
from ham.corpora.split_file import SplitFile
from ham.errors import DataError
from ham.files import replacing
from ham.pool import in_order

_SMALL = 1 << 23  # files up to here are handed to the writing threads whole
_TAR_BUFFER = 1 << 15  # what tarfile keeps, and copies at every read


def unpack_tar(target: Target, file: SplitFile) -> tuple[Sorter, list[str]]:
    """Unpack the members that are wanted and not there yet, and verify the checksum of the whole stream.

    Args:
        target: where to.
        file: the archive.

    Returns:
        What was found in it, and an empty list: a damaged stream is refused as a whole.

    Raises:
        DataError: if it is damaged, truncated or hostile.
    """
    sorter, stream = (
        Sorter(file.name, target.archive.layout),
        _Stream(file, target.corpora / target.archive.layout.place),
    )
    with (
        ThreadPoolExecutor(target.num_workers) as pool,
        tqdm(total=file.size, desc=f"unpack {target.archive.name}", unit="B", unit_scale=True, delay=2) as bar,
    ):
        for _ in in_order(pool, _write, _small_files(stream, sorter, target.corpora), 2 * target.num_workers):
            bar.update(file.tell() - bar.n)
    return sorter, []


def _write(item: tuple[Path, bytes]) -> None:
    path, content = item
    with replacing(path) as part:
        part.write_bytes(content)


def _small_files(stream: _Stream, sorter: Sorter, corpora: Path) -> Iterator[tuple[Path, bytes]]:
    """Files that are to be written, with their content; large ones are written here."""
    try:
        with tarfile.open(fileobj=stream, mode="r|", bufsize=_TAR_BUFFER) as tar:  # type: ignore[call-overload]
            while (info := tar.next()) is not None:
                tar.members.clear()
                path = _place(info, sorter, corpora)
                if path is None:
                    continue
                pieces = _pieces(stream.name, info, tar.extractfile(info))
                if info.size <= _SMALL:
                    yield path, b"".join(pieces)
                    continue
                with replacing(path) as part, part.open("wb", buffering=0) as file:
                    for piece in pieces:
                        file.write(piece)
            end = tar.offset
    except tarfile.TarError as error:
        raise DataError(f"{stream.name}: is not a tar archive, or damaged ({error}); load it again") from error
    while stream.read(CHUNK_BYTES):
        pass
    if stream.end_of_content > end:  # tarfile takes a header that it cannot read for the end
        raise DataError(f"{stream.name}: is damaged: expected the header of a file at byte {end}; {stream.cure}")


def _place(info: tarfile.TarInfo, sorter: Sorter, corpora: Path) -> Path | None:
    """Where a member goes; None if it is a folder, left out, or there already."""
    if info.isdir():
        sorter.check(info.name)
        return None
    if not info.isreg() or info.sparse is not None:
        sorter.check(info.name)
        sorter.refuse(info.name, "a link" if info.issym() or info.islnk() else "a device or another special file")
    name = sorter.place(info.name)
    return None if name is None or holds_file(corpora / name, info.size) else corpora / name


def _pieces(archive: str, info: tarfile.TarInfo, content: IO[bytes] | None) -> Iterator[bytes]:
    left = info.size
    while content is not None and left > 0:
        piece = content.read(min(left, CHUNK_BYTES))
        if not piece:
            raise DataError(f"{archive}: ends within {info.name!a}; load it again")
        left -= len(piece)
        yield piece


class _Stream:
    """The output of a gzip file; it is refused when it is damaged, or grows beyond all reason."""

    def __init__(self, file: SplitFile, place: Path) -> None:
        self.name = file.name
        # A damaged stream may have given files of the right size, which the next run would take for finished.
        self.cure = f"remove {place} and load the archive again"
        self._packed = io.BufferedReader(file, CHUNK_BYTES)
        self._unpacked = gzip.GzipFile(fileobj=self._packed)
        self.end_of_content = 0
        """Place behind the last byte of output that is not zero."""

    def read(self, size: int) -> bytes:
        """Read on.

        Raises:
            DataError: if the stream is damaged or truncated, breaks its checksum, or is a trap.
        """
        start = self._unpacked.tell()
        try:
            data = self._unpacked.read(size)
        except EOFError as error:
            raise DataError(f"{self.name}: is truncated: ends within its data; {self.cure}") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DataError(f"{self.name}: is damaged, or not a gzip file ({error}); {self.cure}") from error
        if length := len(data.rstrip(b"\0")):
            self.end_of_content = start + length
        check_growth(self.name, start + len(data), self._packed.tell())
        return data
