"""What was inspected is known again, until the file changes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from ham.audio.decoding import AudioInfo
from ham.audio.inspection import AudioCache

INFO = AudioInfo(16000, 8000, 2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "ä b.wav").write_bytes(b"12345")
    return tmp_path / "ä b.wav"


@pytest.fixture
def saved(file: Path) -> AudioCache:
    cache = AudioCache(file.with_name("cache.json"))
    cache.add(file, INFO)
    cache.save()
    return cache


def test_a_saved_file_is_found_again(file: Path, saved: AudioCache) -> None:
    other = file.with_name("other.wav")
    other.touch()
    assert AudioCache(saved.path).find([file, other, file.with_name("missing.wav")]) == {file: INFO}
    assert sorted(path.name for path in file.parent.iterdir()) == sorted(["cache.json", file.name, other.name])


def test_a_changed_file_is_not_known(file: Path, saved: AudioCache) -> None:
    stamp = file.stat()
    file.write_bytes(b"54321")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 1))
    assert saved.find([file]) == {}
    file.write_bytes(b"1234")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert saved.find([file]) == {}
    saved.add(file, INFO)
    assert saved.find([file]) == {file: INFO}
    file.unlink()
    assert saved.find([file]) == {}


def test_other_content_with_the_old_size_and_time_is_not_known(file: Path, saved: AudioCache) -> None:
    stamp = file.stat()
    time.sleep(0.02)  # file systems stamp times in steps of some ms
    file.write_bytes(b"54321")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert saved.find([file]) == {}
    other = file.with_name("other")
    other.write_bytes(b"12345")
    os.utime(other, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    saved.add(file, INFO)
    time.sleep(0.02)  # file systems stamp times in steps of some ms
    other.replace(file)
    assert saved.find([file]) == {}


def test_a_file_that_changes_during_its_inspection_is_not_known(file: Path) -> None:
    cache = AudioCache(file.with_name("cache.json"))
    assert cache.find([file]) == {}
    time.sleep(0.02)  # file systems stamp times in steps of some ms
    file.write_bytes(b"54321")
    cache.add(file, INFO)
    assert cache.find([file]) == {}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[]", b'{"version": 1, "files": {}}', b'{"version": 2}']
    + [b'{"version": 2, "files": {"a": %s}}' % entry for entry in (b"1", b"[1, 2]", b'[1, 2, 3, 4, 5, "6"]')],
)
def test_a_damaged_cache_is_an_empty_one(content: bytes, file: Path) -> None:
    path = file.with_name("cache.json")
    path.write_bytes(content)
    cache = AudioCache(path)
    assert cache.find([file]) == {}
    cache.add(file, INFO)
    cache.save()
    assert AudioCache(path).find([file]) == {file: INFO}


def test_nothing_new_is_not_written(saved: AudioCache) -> None:
    saved.path.unlink()
    saved.save()
    assert not saved.path.exists()
