"""Remembered checksums, and the folder of wrong files."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from ham.corpora.checksums import BOOK, ChecksumBook, md5_of, set_aside


def test_md5_and_what_was_read(tmp_path: Path) -> None:
    content = os.urandom(9_000_001)
    (tmp_path / "a").write_bytes(content)
    pieces: list[int] = []
    assert md5_of(tmp_path / "a", pieces.append) == hashlib.md5(content).hexdigest()
    assert sum(pieces) == len(content)
    assert len(pieces) > 1


def test_an_unchanged_file_is_known_in_the_next_run(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"abc")
    ChecksumBook(tmp_path).remember("a.zip", tmp_path / "a.zip", "f" * 32)
    assert ChecksumBook(tmp_path).known("a.zip") == "f" * 32
    assert ChecksumBook(tmp_path).known("b.zip") is None


def test_the_time_and_the_size_decide(tmp_path: Path) -> None:
    book, path = ChecksumBook(tmp_path), tmp_path / "a.zip"
    path.write_bytes(b"abc")
    book.remember("a.zip", path, "f" * 32)
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert book.known("a.zip") is None
    path.write_bytes(b"abcd")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert book.known("a.zip") is None
    path.write_bytes(b"abc")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert book.known("a.zip") == "f" * 32
    path.unlink()
    assert book.known("a.zip") is None


def test_a_file_may_be_noted_before_it_has_its_name(tmp_path: Path) -> None:
    (tmp_path / "a.zip.part").write_bytes(b"abc")
    ChecksumBook(tmp_path).remember("a.zip", tmp_path / "a.zip.part", "f" * 32)
    (tmp_path / "a.zip.part").rename(tmp_path / "a.zip")
    assert ChecksumBook(tmp_path).known("a.zip") == "f" * 32


def test_a_file_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"abc")
    book = ChecksumBook(tmp_path)
    book.remember("a.zip", tmp_path / "a.zip", "f" * 32)
    book.forget("a.zip")
    book.forget("never there")
    assert ChecksumBook(tmp_path).known("a.zip") is None


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a.zip": 3}', '{"a.zip": {"size": 3}}', "\x00"])
def test_a_damaged_book_is_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.zip").write_bytes(b"abc")
    (tmp_path / BOOK).write_text(text)
    book = ChecksumBook(tmp_path)
    assert book.known("a.zip") is None
    book.remember("a.zip", tmp_path / "a.zip", "f" * 32)
    assert json.loads((tmp_path / BOOK).read_text())["a.zip"]["size"] == 3


def test_wrong_files_go_to_one_folder_and_do_not_pile_up(tmp_path: Path) -> None:
    for content in (b"one", b"two"):
        (tmp_path / "a.zip.part").write_bytes(content)
        assert set_aside(tmp_path / "a.zip.part", "a.zip") == tmp_path / "bad/a.zip"
    assert [path.read_bytes() for path in (tmp_path / "bad").iterdir()] == [b"two"]
    assert not (tmp_path / "a.zip.part").exists()
