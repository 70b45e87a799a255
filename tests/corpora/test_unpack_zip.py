"""Zip archives: kinds of packing, threads, damage, and directories that lie."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ham.corpora.unpack import unpack
from tests.corpora.cases import VOX, below, make, refused
from tests.packed import noise_files, tree, write_archive, zip_of


def test_stored_members_large_ones_and_empty_ones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    files = {VOX.format(0, 0): rng.bytes(3_000_000), VOX.format(0, 1): b"", VOX.format(0, 2): b"abc" * 100_000}
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        folder = tmp_path / str(method)
        entry = write_archive(folder / "archives", "vox1_dev", zip_of(files, method), 5, 1, 3)
        unpack(entry, folder / "archives", folder / "corpora")
        assert below(tree(folder / "corpora"), "vox1/wav/", "wav/") == files


def damage_member(content: bytes, name: str) -> bytes:
    """Change a byte inside a member of a zip."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        info = archive.getinfo(name)
    changed = bytearray(content)
    changed[info.header_offset + 30 + len(name) + info.compress_size // 2] ^= 0x55
    return bytes(changed)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_is_named_and_within_the_budget_left_out(method: int, tmp_path: Path) -> None:
    files = noise_files(VOX, 40)
    name = VOX.format(3, 2)
    content = damage_member(zip_of(files, method), name)
    entry = write_archive(tmp_path / "archives", "vox1_dev", content, 3, 8, 40)
    said = refused(entry, tmp_path)
    assert "vox1/" + name in said
    assert "--max_missing_files 1" in said
    done = unpack(entry, tmp_path / "archives", tmp_path / "corpora", max_missing=1, keep_archives=False)
    assert (done.num_files, done.num_missing) == (39, 1)
    assert ["vox1/" + name in problem for problem in done.missing] == [True]
    assert name not in below(tree(tmp_path / "corpora"), "vox1/wav/", "wav/")
    assert "id10003/-video_2" not in (tmp_path / "corpora/vox1/splits/vox1_dev.txt").read_text()
    assert len(tree(tmp_path / "archives")) >= 2


def test_damaged_zips_are_found(tmp_path: Path) -> None:
    good = zip_of(noise_files(VOX, 10))
    for number, content in enumerate((good[:-30], b"", b"hello" * 100, good[: len(good) // 2])):
        entry = write_archive(tmp_path / str(number) / "archives", "vox1_dev", content)
        assert "is not a zip archive, or damaged" in refused(entry, tmp_path / str(number))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_special_members_of_a_zip_are_refused(kind: int, tmp_path: Path) -> None:
    file = io.BytesIO(zip_of(noise_files(VOX, 5)))
    with zipfile.ZipFile(file, "a") as archive:
        info = zipfile.ZipInfo("wav/id10001/abc/00001.wav")
        info.external_attr = (kind | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    entry = write_archive(tmp_path / "archives", "vox1_dev", file.getvalue())
    assert ("is a link" if kind == stat.S_IFLNK else "device") in refused(entry, tmp_path)
    assert not (tmp_path / "corpora/vox1").exists()


def test_one_member_that_explodes_is_refused(tmp_path: Path) -> None:
    files = {VOX.format(0, 0): np.random.default_rng(0).bytes(1 << 20), VOX.format(0, 1): bytes(3 << 20)}
    said = refused(make(tmp_path, files), tmp_path)
    assert "-video_1/00001.wav" in said
    assert "200-fold" in said


def directory_entries(content: bytearray) -> Iterator[int]:
    place = -1
    while (place := content.find(b"PK\1\2", place + 1)) >= 0:
        yield place


def test_a_directory_that_lies_is_refused(tmp_path: Path) -> None:
    """Sizes that differ from the content's, members that share bytes, another name, encryption, odd packing."""
    files = {VOX.format(0, 0): b"0" * 50, VOX.format(0, 1): b"1" * 50, VOX.format(0, 2): b"2" * 50}
    good = zip_of(files, zipfile.ZIP_STORED)
    entries = [place for place in directory_entries(bytearray(good)) if good[place + 24] == 50]
    cases = [
        (entries[1] + 20, struct.pack("<II", 60, 60), "cannot be unpacked"),
        (entries[0] + 24, struct.pack("<I", 40), "Bad CRC-32"),
        (entries[2] + 42, good[entries[1] + 42 : entries[1] + 46], "share bytes"),
        (entries[0] + 46 + VOX.index("video") - 1, b"V", "differ"),
        (entries[0] + 8, b"\1\0", "is encrypted"),
        (entries[0] + 10, b"\x63\0", "unusual way"),
        (entries[0] + 42, struct.pack("<I", 7), "cannot be unpacked|share bytes"),
    ]
    for number, (place, change, words) in enumerate(cases):
        content = bytearray(good)
        content[place : place + len(change)] = change
        entry = write_archive(tmp_path / str(number) / "archives", "vox1_dev", bytes(content))
        said = refused(entry, tmp_path / str(number))
        assert any(word in said for word in words.split("|")), said
