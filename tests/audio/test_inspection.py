"""Inspection of files: what was inspected is known until the file changes, what is bad is said, stops lose nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ham.audio.decoding import AudioInfo
from ham.audio.inspection import CHECKS, AudioCache, inspect
from ham.errors import DataError

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


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three good recordings and one that is none."""
    made = [tmp_path / f"{number}.wav" for number in range(4)]
    for number, path in enumerate(made[:3]):
        samples = np.random.default_rng(number).integers(-900, 900, 1600 * (number + 1))
        soundfile.write(path, samples.astype(np.int16), 16000)
    made[3].write_bytes(b"no audio")
    return made


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that have been inspected, by either check."""
    seen: list[Path] = []
    for name, (look, memory) in list(CHECKS.items()):

        def _look(path: Path, look: Callable[[Path], AudioInfo] = look) -> AudioInfo:
            seen.append(path)
            return look(path)

        monkeypatch.setitem(CHECKS, name, (_look, memory))
    return seen


@pytest.mark.parametrize("check", ["decode", "header"])
def test_each_file_is_looked_at_once(check: str, files: list[Path], looked_at: list[Path], tmp_path: Path) -> None:
    infos, bad = inspect(files, tmp_path, check, 2)
    assert [infos[path].num_samples for path in files[:3]] == [1600, 3200, 4800]
    assert list(bad) == [files[3]]
    assert str(files[3]) in str(bad[files[3]])
    assert sorted(looked_at) == files
    again, still_bad = inspect(files, tmp_path, check, 2)
    assert again == infos
    assert list(still_bad) == [files[3]]
    assert looked_at[4:] == [files[3]]  # what is bad is tried again
    assert (tmp_path / CHECKS[check][1]).is_file()


def test_what_was_inspected_before_an_interruption_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / f"{number:02d}.wav" for number in range(40)]
    for path in files:
        soundfile.write(path, np.ones(1600, np.int16), 16000)
    look, memory = CHECKS["header"]

    def _stop_at_the_last(path: Path) -> AudioInfo:
        if path == files[-1]:
            raise KeyboardInterrupt
        return look(path)

    monkeypatch.setitem(CHECKS, "header", (_stop_at_the_last, memory))
    with pytest.raises(KeyboardInterrupt):
        inspect(files, tmp_path, "header", 1)

    def _refuse(path: Path) -> AudioInfo:
        raise DataError(f"{path}: looked at again")

    monkeypatch.setitem(CHECKS, "header", (_refuse, memory))
    infos, bad = inspect(files, tmp_path, "header", 1)
    assert len(infos) >= 16
    assert [*infos, *bad] == files
