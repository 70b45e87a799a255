"""Archives tar.gz: large files, damage anywhere in the stream, special members."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from ham.corpora.unpack import unpack
from tests.corpora.cases import CN, below, make, refused
from tests.packed import noise_files, tar_of, tree, write_archive


def test_large_files_and_empty_ones(tmp_path: Path) -> None:
    """One of them beyond what is handed to another thread whole."""
    rng = np.random.default_rng(0)
    contents = (rng.bytes(9_000_000), b"", b"abc" * 100_000)
    music = {f"musan/music/{index}.wav": content for index, content in enumerate(contents)}
    unpack(make(tmp_path, music, "musan", files=3), tmp_path / "archives", tmp_path / "corpora")
    assert below(tree(tmp_path / "corpora"), "musan/", "musan/") == music


def test_members_of_gzip_and_zeros_behind_them_are_one_stream(tmp_path: Path) -> None:
    """As several calls of gzip, and tapes, leave them."""
    raw = gzip.decompress(tar_of(noise_files(CN, 10)))
    content = gzip.compress(raw[:5000]) + gzip.compress(raw[5000:]) + bytes(1000)
    entry = write_archive(tmp_path / "archives", "cn2", content, 2, 2, 10)
    assert unpack(entry, tmp_path / "archives", tmp_path / "corpora").num_files == 10


def test_damaged_tars_are_found(tmp_path: Path) -> None:
    good = tar_of(noise_files(CN, 40))
    middle = len(good) // 2
    raw = gzip.decompress(good)
    second = raw.index(b"ustar", 100 * 512) - 257
    cases = {
        "truncated": good[:-20],
        "CRC check failed": good[:-8] + bytes(4) + good[-4:],
        "damaged": good[:middle] + bytes(300) + good[middle + 300 :],
        "header of a file": gzip.compress(raw[: second + 10] + b"\xff" * 20 + raw[second + 30 :]),
        "is not a tar archive": gzip.compress(b"hello world, " * 1000),
    }
    for number, (words, content) in enumerate(cases.items()):
        entry = write_archive(tmp_path / str(number) / "archives", "cn2", content)
        said = refused(entry, tmp_path / str(number))
        assert words in said
        place = tmp_path / str(number) / "corpora/CN-Celeb2_flac"
        assert f"remove {place} and load the archive again" in said or words == "is not a tar archive"


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_special_members_of_a_tar_are_refused(kind: bytes, tmp_path: Path) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        info = tarfile.TarInfo("CN-Celeb2_flac/data/id1/a.flac")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    entry = write_archive(tmp_path / "archives", "cn2", file.getvalue())
    links = (tarfile.SYMTYPE, tarfile.LNKTYPE)
    assert ("is a link" if kind in links else "device") in refused(entry, tmp_path)
    assert below(tree(tmp_path / "corpora"), "", "") == {}
