"""The database of enrolled speakers: what it keeps, what it refuses, and processes that use it at the same time."""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import shutil
import signal
import sqlite3
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ham.enrolment import database
from ham.enrolment.database import ModelKey, Recording, SpeakerDatabase, checked_name, unit
from ham.enrolment.search import Search
from ham.errors import ConfigError, DataError, HamError
from tests.enrolment.writer import DIM, MODEL, enrol, recording, vector, write_on

SPAWN = multiprocessing.get_context("spawn")  # SQLite's connections must not be forked


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database of three speakers."""
    enrol(tmp_path / "voices.db", ana=["a1", "a2"], ben=["b1"], eva=["e1", "e2", "e3"])
    return tmp_path / "voices.db"


def names(path: Path) -> tuple[str, ...]:
    with SpeakerDatabase(path) as known:
        return known.gallery().names


def test_a_speaker_is_the_mean_direction_of_the_recordings(path: Path) -> None:
    with SpeakerDatabase(path, MODEL) as known:
        gallery = known.gallery()
    assert gallery.names == ("ana", "ben", "eva")
    for row, sources in zip(gallery.embeddings, (["a1", "a2"], ["b1"], ["e1", "e2", "e3"]), strict=True):
        rows = [vector(source).astype(np.float64) for source in sources]
        mean = sum(x / np.linalg.norm(x) for x in rows)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-6)


def test_recordings_added_later_count_the_same(path: Path, tmp_path: Path) -> None:
    assert enrol(path, ben=["b2", "b3"], zoe=["z1"]) == 3
    enrol(tmp_path / "at_once.db", zoe=["z1"], eva=["e3", "e1", "e2"], ben=["b3", "b1", "b2"], ana=["a2", "a1"])
    with SpeakerDatabase(path) as one, SpeakerDatabase(tmp_path / "at_once.db") as other:
        assert one.gallery().names == other.gallery().names
        np.testing.assert_array_equal(one.gallery().embeddings, other.gallery().embeddings)
        assert [speaker[:3] for speaker in one.speakers()] == [speaker[:3] for speaker in other.speakers()]


def test_a_recording_counts_once(path: Path) -> None:
    before = path.read_bytes()
    assert enrol(path, ana=["a1"]) == 0
    assert enrol(path, ben=["a1", "a1"]) == 1
    with SpeakerDatabase(path) as known:
        assert [(one.name, one.num_recordings, one.duration_s) for one in known.speakers()] == [
            ("ana", 2, 6.0),
            ("ben", 2, 6.0),
            ("eva", 3, 9.0),
        ]
        assert known.holders(recording("a1").audio) == ("ana", "ben")
        assert known.holders(recording("b1").audio) == ("ben",)
        assert known.holders(b"new") == ()
    assert len(path.read_bytes()) == len(before)


def test_enrolled_and_removed_is_never_enrolled(tmp_path: Path) -> None:
    """Eight random orders of additions and removals answer like those who are left, enrolled in alphabetical order."""
    probes = np.stack([vector(f"probe {number}") for number in range(6)])
    for seed in range(8):
        rng, path, fresh = random.Random(seed), tmp_path / f"{seed}.db", tmp_path / f"{seed}_fresh.db"
        held: dict[str, set[str]] = {}
        enrol(path, zz=["z"])
        for step in range(15):
            name = rng.choice("abcdefg")
            if name in held and rng.random() < 0.5:
                with SpeakerDatabase(path, write=True) as known:
                    known.remove([name])
                del held[name]
            else:
                enrol(path, **{name: [f"{name}{step}"]})
                held.setdefault(name, set()).add(f"{name}{step}")
        enrol(fresh, zz=["z"], **{name: sorted(sources) for name, sources in sorted(held.items())})
        with SpeakerDatabase(path) as one, SpeakerDatabase(fresh) as other:
            assert Search(one.gallery())(probes, 9) == Search(other.gallery())(probes, 9)


def test_what_is_removed_is_not_left_in_the_file(path: Path) -> None:
    blob = unit(vector("b1")[None])[0].tobytes()
    assert blob in path.read_bytes()
    with SpeakerDatabase(path, write=True) as known:
        known.remove(["ben"])
    assert blob not in path.read_bytes()
    assert b"ben" not in path.read_bytes()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_removing_is_all_or_nothing(path: Path) -> None:
    with SpeakerDatabase(path, write=True) as known, pytest.raises(ConfigError, match="expected an enrolled speaker"):
        known.remove(["ana", "nobody"])
    assert names(path) == ("ana", "ben", "eva")


def test_adding_is_all_or_nothing(path: Path) -> None:
    wrong = Recording("w", b"w", 1.0, np.ones(DIM + 1, np.float32))
    nothing = Recording("n", b"n", 1.0, np.zeros(DIM, np.float32))
    for bad in (wrong, nothing):
        with SpeakerDatabase(path, MODEL, write=True) as known, pytest.raises(DataError):
            known.add({"new": [recording("x")], "ana": [bad]})
    assert names(path) == ("ana", "ben", "eva")


@pytest.mark.parametrize("name", ["Zoë", "محمد", "李 四", "a'b\";--", "%s", "-x", "🎤", "می‌خواهم"])
def test_names_of_all_writings(path: Path, name: str) -> None:
    with SpeakerDatabase(path, MODEL, write=True) as known:
        known.add({f" {unicodedata.normalize('NFD', name)}": [recording("one")]})
        known.add({unicodedata.normalize("NFC", name): [recording("two")]})
        assert [(one.name, one.num_recordings) for one in known.speakers() if one.num_recordings == 2][1:] == [
            (unicodedata.normalize("NFC", name), 2)
        ] or names(path)[0] == unicodedata.normalize("NFC", name)
        known.remove([unicodedata.normalize("NFD", name)])
    assert names(path) == ("ana", "ben", "eva")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\0b", "\x7f", "a\u2028b", "\udcff", "x" * 201])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="name"):
        checked_name(name)


def other_sqlite(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE photos (id)")


def newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")


def without_table(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE speakers")


def without_model(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM model")


def other_numbers(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE speakers SET embedding = ?", (2 * np.ones(DIM, "<f4"),))


def other_types(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE speakers SET embedding = 'twenty characters ab'")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:9000])


def overwritten(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4096:] = os.urandom(len(data) - 4096)
    path.write_bytes(data)


def replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)


BAD = {
    "missing": (lambda path: path.unlink(), "found nothing"),
    "folder": (lambda path: (path.unlink(), path.mkdir()), "found a folder"),
    "text": (lambda path: replaced(path, b"Names of speakers\n" * 100), "found another kind of file"),
    "short text": (lambda path: replaced(path, b"x"), "found another kind of file"),
    "npz": (lambda path: np.savez(path.open("wb"), x=np.zeros(9)), "found another kind of file"),
    "empty": (lambda path: replaced(path, b""), "found an empty file"),
    "other SQLite": (lambda path: (path.unlink(), other_sqlite(path)), "another program's SQLite database"),
    "newer": (newer, "found version 99"),
    "no table": (without_table, "is damaged"),
    "no model": (without_model, "is damaged"),
    "no unit": (other_numbers, "is damaged"),
    "no numbers": (other_types, "is damaged"),
    "cut": (cut, "is damaged"),
    "overwritten": (overwritten, "is damaged"),
    "no folder": (lambda path: shutil.rmtree(path.parent), "found nothing"),
}


def read_and_remove(known: SpeakerDatabase) -> None:
    known.gallery()
    known.remove(["ana"])


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_database_is_refused_in_one_line_and_left_alone(path: Path, case: str) -> None:
    spoil, words = BAD[case]
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(HamError) as read, SpeakerDatabase(path, MODEL) as known:
        known.gallery()
    with pytest.raises(HamError) as written, SpeakerDatabase(path, MODEL, write=True) as known:
        read_and_remove(known)
    for error in (read, written):
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
    assert words in str(read.value)
    assert (path.read_bytes() if path.is_file() else None) == before


def test_embeddings_of_another_model_are_refused(path: Path) -> None:
    for model in (ModelKey("0" * 64, DIM), ModelKey("f" * 64, DIM + 1)):
        for write in (False, True):
            with pytest.raises(DataError, match="holds embeddings of another model"):
                SpeakerDatabase(path, model, write=write, create=write)
    with SpeakerDatabase(path) as known:
        assert known.model == MODEL


def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    (tmp_path / "x.db").touch()
    assert enrol(tmp_path / "x.db", ana=["a"]) == 1


def test_a_place_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be opened"):
        enrol(tmp_path / "no" / "folder.db", ana=["a"])


@pytest.mark.parametrize("name", ["a b?mode=memory", "50%", "x#y", "größe", "a&b"])
def test_file_names_are_no_addresses(tmp_path: Path, name: str) -> None:
    enrol(tmp_path / name, ana=["a"])
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert names(tmp_path / name) == ("ana",)


def test_a_file_and_a_folder_that_may_only_be_read(path: Path) -> None:
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        assert names(path) == ("ana", "ben", "eva")
        if os.geteuid():
            with pytest.raises(DataError, match="cannot be"):
                enrol(path, new=["n"])
    finally:
        path.parent.chmod(0o700)


def test_nobody_may_read_it(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read all")
    path.chmod(0)
    with pytest.raises(DataError, match="cannot be opened"):
        names(path)


def test_a_full_disk_loses_nothing(path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 8192, hard))  # as near to it as a test comes
    try:
        with pytest.raises(DataError, match="nothing was changed"):
            enrol(path, **{f"new {number}": [f"new {number}"] for number in range(1000)})
        assert names(path) == ("ana", "ben", "eva")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert enrol(path, new=["new"]) == 1


def test_a_writer_that_does_not_end_is_waited_for_and_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_S", 0.05)
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert names(path) == ("ana", "ben", "eva")
        with pytest.raises(DataError, match="another program has been writing"):
            enrol(path, new=["n"])
        other.execute("ROLLBACK")


def _whole(path: Path) -> set[str]:
    """The names; every speaker has both recordings, and the file is sound."""
    with SpeakerDatabase(path, MODEL, write=True) as known:  # which checks the whole file
        assert {speaker.num_recordings for speaker in known.speakers()} <= {2}
        gallery = known.gallery()
    for name, row in zip(gallery.names, gallery.embeddings, strict=True):
        source = f"{name[0]}{int(name[1:])}"
        mean = unit(np.stack([vector(source), vector(f"{source}b")])).mean(axis=0)
        np.testing.assert_allclose(row, mean / np.linalg.norm(mean), atol=1e-5)
    return {*gallery.names}


def _die_within_a_change(path: Path) -> None:
    """Write so much that SQLite cannot keep it in memory, and end before it is done."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE speakers SET name = name || ' half done'")
    for number in range(3, 1000):
        connection.execute("INSERT INTO speakers (name, embedding) VALUES (?, zeroblob(2000))", (number,))
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_reader_undoes_what_a_killed_writer_left(
    path: Path, started: list[multiprocessing.process.BaseProcess]
) -> None:
    started.append(SPAWN.Process(target=_die_within_a_change, args=(path,)))
    started[0].start()
    started[0].join()
    journal = path.with_name(path.name + "-journal")
    assert journal.stat().st_size > 0
    assert b"half done" in path.read_bytes()
    assert names(path) == ("ana", "ben", "eva")
    assert not journal.exists()


@pytest.fixture
def started() -> Iterator[list[multiprocessing.process.BaseProcess]]:
    """Processes that end with the test."""
    processes: list[multiprocessing.process.BaseProcess] = []
    yield processes
    for process in processes:
        process.kill()
        process.join()


@pytest.mark.recipe
def test_two_writers_and_a_reader_at_once(tmp_path: Path, started: list[multiprocessing.process.BaseProcess]) -> None:
    path = tmp_path / "voices.db"
    started += [SPAWN.Process(target=write_on, args=(path, prefix, 25)) for prefix in "xy"]
    for process in started:
        process.start()
    seen: set[str] = set()
    while any(process.is_alive() for process in started):
        if path.exists() and path.stat().st_size:
            now = {*names(path)}
            assert seen <= now  # nobody who was there has gone
            seen = now
        time.sleep(0.005)
    assert [process.exitcode for process in started] == [0, 0]
    assert _whole(path) == {f"{prefix}{number:04d}" for prefix in "xy" for number in range(25)}


@pytest.mark.parametrize("num_kills", [3, pytest.param(20, marks=pytest.mark.recipe)])
def test_a_kill_loses_nothing_that_was_there(
    tmp_path: Path, num_kills: int, started: list[multiprocessing.process.BaseProcess]
) -> None:
    path, rng = tmp_path / "voices.db", random.Random(num_kills)
    enrol(path, k0000=["k0", "k0b"])
    for kill in range(num_kills):
        prefix = chr(ord("a") + kill)
        process = SPAWN.Process(target=write_on, args=(path, prefix, 100_000))
        started.append(process)
        process.start()
        log = tmp_path / f"{prefix}.log"
        while not log.exists() or not log.stat().st_size:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        noted = {line for line in log.read_text(encoding="utf-8").split("\n") if len(line) == 5}
        there = {name for name in _whole(path) if name.startswith(prefix)}
        assert noted <= there
        assert len(there - noted) <= 1  # one may have been written and not been noted yet
    assert "k0000" in names(path)
