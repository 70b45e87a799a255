"""Locks on folders, checksums, files and folders that are there whole or not at all."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest

from ham.errors import DataError
from ham.files import LOCK, crc32_of, lock_folder, move_in, replacing_folder, write_text

HOLD = """
import sys, pathlib
from ham import files
path, how = pathlib.Path(sys.argv[1]), sys.argv[2]
held = files.lock_folder(path, "a test") if how == "lock" else getattr(files, how)(path)
with held as part:
    if how == "replacing_folder":
        part = part / "f"
    with open(part or path / "f", "w") as stream:
        for half in "12":
            stream.write("theirs " * 10000)
            stream.flush()
            print(half, flush=True)
            if not sys.stdin.readline():
                sys.exit("the test has ended")
"""


@contextmanager
def other_program(path: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """A process that works on a file or folder, half way; a line lets it go on, two let it end."""
    command = [sys.executable, "-c", HOLD, str(path), how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "1\n"
        yield other


def test_two_programs_that_write_one_file_leave_one_of_the_two(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with other_program(path, "replacing") as other:
        ours = Thread(target=write_text, args=(path, "ours " * 50000))
        ours.start()
        ours.join(0.5)  # time enough to write it, if nothing keeps it from that
        other.communicate("\n\n")
    ours.join()
    assert other.returncode == 0
    assert path.read_text() == "ours " * 50000
    assert [*tmp_path.iterdir()] == [path]


def test_a_folder_that_another_program_makes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "made"
    with other_program(path, "replacing_folder") as other:
        busy = f"^{path}: expected to be alone here, found at work: writing, process {other.pid}; wait until"
        with pytest.raises(DataError, match=busy), replacing_folder(path):
            raise AssertionError
        other.communicate("\n\n")
    assert [(file.name, file.read_text()) for file in path.iterdir()] == [("f", "theirs " * 20000)]
    with other_program(path, "replacing_folder") as other:
        other.kill()
    with replacing_folder(path) as part:
        assert not any(part.iterdir())
    assert [*tmp_path.iterdir()] == [path]


def test_who_waits_for_a_folder_says_so_and_comes_after(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def come() -> None:
        with lock_folder(tmp_path, "stage 2", wait=True):
            found.append((tmp_path / "f").read_text())

    found: list[str] = []
    with caplog.at_level("INFO"), other_program(tmp_path, "lock") as other:
        ours = Thread(target=come)
        ours.start()
        while not caplog.messages:
            assert ours.is_alive()
        other.communicate("\n\n")
        ours.join()
    assert caplog.messages == [f"{tmp_path}: waits until another program has ended: a test, process {other.pid}"]
    assert found == ["theirs " * 20000]
    assert [file.name for file in tmp_path.iterdir()] == ["f"]


def test_a_second_program_is_kept_out_and_a_killed_one_is_not_in_the_way(tmp_path: Path) -> None:
    with other_program(tmp_path, "lock") as other:
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
