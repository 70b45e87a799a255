"""Locks on folders, checksums, files and folders that are there whole or not at all."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from ham.errors import DataError
from ham.files import LOCK, crc32_of, lock_folder, move_in, replacing_folder, write_text

HOLD = """
import sys, pathlib
from ham.files import lock_folder
with lock_folder(pathlib.Path(sys.argv[1]), "a test"):
    print("locked", flush=True)
    sys.stdin.read()
"""


def test_a_second_program_is_kept_out_and_a_killed_one_is_not_in_the_way(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(DataError, match=f"a test, process {other.pid}; wait"), lock_folder(tmp_path, "a download"):
            raise AssertionError
        other.kill()
    with lock_folder(tmp_path, "a download"):
        assert (tmp_path / LOCK).read_text() == f"a download, process {os.getpid()}"
    with lock_folder(tmp_path, "again"):
        pass


@pytest.mark.parametrize("size", [0, 1, 5 * 2**20])
def test_the_crc32_of_a_file(tmp_path: Path, size: int) -> None:
    content = random.Random(size).randbytes(size)
    (tmp_path / "f").write_bytes(content)
    assert crc32_of(tmp_path / "f") == zlib.crc32(content)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "f"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "new \ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_full_disk_names_the_file_that_was_wanted(tmp_path: Path) -> None:
    write_text(tmp_path / "report.html", "old")
    (tmp_path / ".report.html.part").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        write_text(tmp_path / "report.html", "new")
    assert caught.value.filename == str(tmp_path / "report.html")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_what_a_killed_run_left_is_gone_after_the_next(tmp_path: Path) -> None:
    (tmp_path / ".f.part").write_text("half of")
    write_text(tmp_path / "f", "whole")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    (tmp_path / "made/old").write_text("old")
    return tmp_path / "made"


def test_moving_in_replaces_and_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / ".made.old").mkdir()  # of a run that was killed
    (tmp_path / "new").mkdir()
    move_in(tmp_path / "new", folder)
    assert not any(folder.iterdir())
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_folder_is_replaced_when_the_block_is_done(folder: Path, tmp_path: Path) -> None:
    (tmp_path / ".made.part/deep").mkdir(parents=True)  # of a run that was killed
    with replacing_folder(folder) as new:
        assert not any(new.iterdir())
        (new / "new").write_text("new")
        assert [path.name for path in folder.iterdir()] == ["old"]
    assert [path.name for path in folder.iterdir()] == ["new"]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
    with replacing_folder(tmp_path / "a/b") as new:
        pass
    assert (tmp_path / "a/b").is_dir()


def test_a_failure_leaves_the_old_folder(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError), replacing_folder(folder) as new:
        write_text(new / "half", "\ud800")
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["made"]
