"""Unpacking against the files that were packed: parts, resuming, removing, counts, and archives packed anew."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ham.corpora.records import is_unpacked
from ham.corpora.unpack import locate, unpack
from ham.errors import ConfigError, DataError
from ham.files import LOCK, lock_folder
from tests.corpora.cases import CN, VOX, Case, below, make, refused
from tests.packed import Files, noise_files, tar_of, tree, write_archive, zip_of


@pytest.fixture(autouse=True)
def sync(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Waiting for the disk of a busy machine takes long and shows nothing here; the calls are counted."""
    calls: list[None] = []
    monkeypatch.setattr(os, "sync", lambda: calls.append(None))
    return calls


class Killed(BaseException):
    """Stands for the end of the process: nothing of the program's own catches it."""


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Arrange that the n-th thing that touches the disk is the last one."""
    places = {(Path, "replace"), (Path, "unlink"), (os, "sync")}
    real = {(where, name): getattr(where, name) for where, name in places}

    def _stop_at(number: int) -> None:
        left = itertools.count(number, -1)
        for (where, name), call in real.items():

            def _call(*args: object, _call: Callable[..., object] = call, **kwargs: object) -> object:
                if next(left) <= 0:
                    raise Killed
                return _call(*args, **kwargs)

            monkeypatch.setattr(where, name, _call)

    return _stop_at


@pytest.mark.parametrize("num_workers", [1, 4])
@pytest.mark.parametrize(("name", "num_parts"), [("vox1_dev", 1), ("vox1_dev", 4), ("cn2", 1), ("cn2", 3)])
def test_what_was_packed_comes_out(name: str, num_parts: int, num_workers: int, tmp_path: Path) -> None:
    case = Case(tmp_path, name, 40, num_parts)
    before = tree(case.archives)
    assert case.run(num_workers=num_workers) == case.expected
    assert tree(case.archives) == before


def test_joined_or_in_parts_gives_the_same_but_for_the_record(tmp_path: Path) -> None:
    one, other = Case(tmp_path / "1", "vox1_dev", 20, 1), Case(tmp_path / "2", "vox1_dev", 20, 3)
    assert one.run() == other.run()
    (other.archives / other.entry.joined_name).write_bytes(b"".join(tree(other.archives).values()))
    assert locate(other.entry, other.archives, tmp_path / "x") == (other.archives / "vox1_dev_wav.zip",)


def test_two_sets_share_a_folder_and_have_their_lists(tmp_path: Path) -> None:
    for name, speaker in (("vox1_dev", "id10001"), ("vox1_test", "id10270")):
        files = {f"wav/{speaker}/b/00002.wav": b"2", f"wav/{speaker}/a/00001.wav": b"1"}
        unpack(make(tmp_path, files, name, speakers=1, files=2), tmp_path / "archives", tmp_path / "corpora")
    splits = tmp_path / "corpora/vox1/splits"
    assert (splits / "vox1_dev.txt").read_text() == "id10001 id10001/a/00001.wav\nid10001 id10001/b/00002.wav\n"
    assert (splits / "vox1_test.txt").read_text() == "id10270 id10270/a/00001.wav\nid10270 id10270/b/00002.wav\n"
    assert len(list((tmp_path / "corpora/vox1/wav").iterdir())) == 2


@pytest.mark.parametrize("name", ["vox1_dev", "cn2"])
def test_a_second_run_reads_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(tmp_path, name, 20, 3)
    first = case.run()
    for path in case.archives.iterdir():
        path.unlink()
    assert locate(case.entry, case.archives, case.corpora) == ()
    assert case.run() == first
    assert case.run(keep_archives=False) == first


@pytest.mark.parametrize("name", ["vox1_dev", "cn2"])
def test_only_what_is_missing_is_written(name: str, tmp_path: Path) -> None:
    case = Case(tmp_path, name, 20, 3)
    first = case.run()
    paths = sorted(case.corpora / target for target in first)
    for path in paths:
        path.chmod(0o444)
    paths[3].unlink()
    paths[5].chmod(0o644)
    paths[5].write_bytes(b"cut")
    (case.corpora / f"{name}.unpacked.json").unlink()
    kept = {path: path.stat().st_ino for path in paths if path not in (paths[3], paths[5])}
    assert case.run() == first
    assert {path: path.stat().st_ino for path in kept} == kept


@pytest.mark.parametrize("keep_archives", [True, False])
@pytest.mark.parametrize("name", ["vox1_dev", "cn2"])
def test_stopped_anywhere_it_goes_on(
    name: str, keep_archives: bool, tmp_path: Path, stop_at: Callable[[int], None]
) -> None:
    """Interrupted again and again, after ever other numbers of steps, until it comes through."""
    case, num_stops, draws = Case(tmp_path, name, 120, 4, size=4000), 0, random.Random(1)
    while True:
        stop_at(draws.randrange(20, 90))
        try:
            found = case.run(keep_archives=keep_archives)
        except Killed:
            num_stops += 1
            assert len(tree(case.archives)) == 4 or is_unpacked(case.entry, case.corpora)
            assert num_stops < 100
        else:
            break
    stop_at(10**9)
    assert num_stops >= 3
    assert found == case.expected
    assert len(tree(case.archives)) == (4 if keep_archives else 0)
    fresh = Case(tmp_path / "fresh", name, 120, 4, size=4000)
    fresh.run()
    assert tree(fresh.corpora) == tree(case.corpora)


@pytest.mark.parametrize("name", ["vox1_dev", "cn2"])
def test_an_archive_goes_when_all_of_it_is_there_and_recorded(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: list[None]
) -> None:
    case, unlink, removed = Case(tmp_path, name, 30, 4), Path.unlink, list[str]()

    def _unlink(path: Path, missing_ok: bool = False) -> None:
        if path.parent == case.archives and path.name != LOCK:
            assert all((case.corpora / target).read_bytes() == content for target, content in case.expected.items())
            assert is_unpacked(case.entry, case.corpora)
            assert len(sync) == 2  # the files, and then their record
            removed.append(path.name)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", _unlink)
    assert case.run(keep_archives=False) == case.expected
    assert removed == [part.name for part in case.entry.parts]
    assert tree(case.archives) == {}


def test_missing_files_are_counted_before_anything_is_written(tmp_path: Path) -> None:
    entry = make(tmp_path, noise_files(VOX, 10), speakers=3, files=12)
    said = refused(entry, tmp_path)
    assert "expected 12 files of 3 speakers, found 10 files of 2 speakers" in said
    assert "--max_missing_files 2" in said
    assert not (tmp_path / "corpora/vox1").exists()
    done = unpack(entry, tmp_path / "archives", tmp_path / "corpora", max_missing=2)
    assert (done.num_files, done.num_missing, done.missing) == (10, 2, [])
    with pytest.raises(DataError, match="--max_missing_files 2"):
        unpack(entry, tmp_path / "archives", tmp_path / "corpora", max_missing=1)


def test_missing_files_of_a_tar(tmp_path: Path) -> None:
    entry = make(tmp_path, noise_files(CN, 10), "cn2", speakers=2, files=11)
    assert "expected 11 files of 2 speakers, found 10 files" in refused(entry, tmp_path)
    assert unpack(entry, tmp_path / "archives", tmp_path / "corpora", max_missing=1).num_missing == 1


def test_more_than_expected_or_nothing_known_is_accepted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    entry = make(tmp_path, noise_files(VOX, 10), speakers=2, files=9)
    assert unpack(entry, tmp_path / "archives", tmp_path / "corpora").num_missing == 0
    assert "expected 9 files of 2 speakers, found 10 files" in caplog.text
    entry = make(tmp_path, noise_files(CN, 10), "cn2")
    assert unpack(entry, tmp_path / "archives", tmp_path / "corpora").num_files == 10


def test_a_part_of_another_size_is_named(tmp_path: Path) -> None:
    case = Case(tmp_path, "vox1_dev", 10, 3)
    with (case.archives / case.entry.parts[1].name).open("ab") as file:
        file.write(b"x")
    assert "vox1_dev_wav.zip_partb: expected" in refused(case.entry, tmp_path)


HOSTILE = ("../x.wav", "wav/id10001/../../../../x.wav", "/tmp/ham_hostile.wav", "C:\\x.wav", "wav\\..\\x.wav")


@pytest.mark.parametrize("bad", HOSTILE)
@pytest.mark.parametrize("name", ["vox1_dev", "cn2"])
def test_names_that_escape_are_refused(name: str, bad: str, tmp_path: Path) -> None:
    files = noise_files(VOX if name == "vox1_dev" else CN, 5)
    entry = make(tmp_path, {**files, bad: b"evil"}, name)
    assert "do not use this archive" in refused(entry, tmp_path)
    outside = [path for path in tmp_path.rglob("*") if path.is_file() and path.read_bytes() == b"evil"]
    assert outside == []
    assert not Path("/tmp/ham_hostile.wav").exists()
    if name == "vox1_dev":
        assert not (tmp_path / "corpora/vox1").exists()


@pytest.mark.parametrize("name", ["vox1_dev", "cn2"])
def test_names_in_other_cases_are_refused(name: str, tmp_path: Path) -> None:
    files = noise_files(VOX if name == "vox1_dev" else CN, 5)
    again = next(iter(files)).replace("video", "VIDEO").replace("singing", "Singing")
    assert "twice" in refused(make(tmp_path, {**files, again: b"x"}, name), tmp_path)


@pytest.mark.parametrize("name", ["vox1_dev", "cn2", "musan"])
def test_an_archive_that_explodes_is_refused(name: str, tmp_path: Path) -> None:
    inside = {"vox1_dev": VOX, "cn2": CN, "musan": "musan/noise/{}/{}.wav"}[name].format(1, 1)
    entry = make(tmp_path, {inside: bytes(3 << 20)}, name)
    assert "this is a trap" in refused(entry, tmp_path)
    assert sum(map(len, tree(tmp_path / "corpora").values())) == 0


def test_another_archive_is_refused(tmp_path: Path) -> None:
    assert "another archive" in refused(make(tmp_path, {"holiday/photo.jpg": b"x"}), tmp_path)
    assert "another archive" in refused(make(tmp_path, {"CN-Celeb_flac/data/id1/a.flac": b"x"}, "cn2"), tmp_path)


def packed_anew(name: str, files: Files, how: str) -> bytes:
    """The files as somebody else would pack them."""
    names = sorted(files, reverse=how == "order")
    above = {"more": "mine/of 2019/"}.get(how, "")
    cut = 1 if how == "less" else 0
    own = {above + "/".join(one.split("/")[cut:]): files[one] for one in names}
    if name == "cn2":
        return tar_of(own, 9 if how == "compression" else 1)
    return zip_of(own, zipfile.ZIP_STORED if how == "compression" else zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize("how", ["compression", "order", "more", "less"])
@pytest.mark.parametrize("name", ["vox1_dev", "cn2"])
def test_an_archive_that_was_packed_anew_gives_the_same_files(name: str, how: str, tmp_path: Path) -> None:
    case = Case(tmp_path / "owners", name, 20, 3)
    inside = {"vox1_dev": "wav/", "cn2": "CN-Celeb2_flac/"}[name]
    files = below(case.expected, "vox1/wav/" if name == "vox1_dev" else inside, inside)
    (tmp_path / "own").mkdir()
    content = packed_anew(name, files, how)
    (tmp_path / "own" / case.entry.joined_name).write_bytes(content)
    known = replace(case.entry, joined_size=case.entry.archive_bytes)
    assert len(content) != known.joined_size
    with pytest.raises(DataError, match=r"expected \d+ bytes, found \d+; .* --accept_repacked true"):
        unpack(known, tmp_path / "own", tmp_path / "corpora")
    unpack(known, tmp_path / "own", tmp_path / "corpora", accept_repacked=True)
    found = below(tree(tmp_path / "corpora"), "vox1/wav/" if name == "vox1_dev" else inside, inside)
    assert found == files
    assert is_unpacked(known, tmp_path / "corpora")


@pytest.mark.parametrize("name", ["vox1_dev", "cn2"])
def test_an_archive_that_was_packed_anew_is_guarded_as_any_other(name: str, tmp_path: Path) -> None:
    """Names, growth and counts, which the owners' checksum vouches for elsewhere."""
    files = noise_files(VOX if name == "vox1_dev" else CN, 10)
    one = next(iter(files))
    pack = zip_of if name == "vox1_dev" else tar_of
    cases = {
        "do not use this archive": pack({**files, "../x.wav": b"x"}),
        "this is a trap": pack({one: bytes(3 << 20)}),
        "expected 10 files of 2 speakers, found 9 files of 2 speakers": pack(dict(list(files.items())[1:])),
        "twice": pack({**files, f"again/{one}": b"x"}),
        "another archive": pack({"holiday/photo.jpg": b"x"}),
        "damaged": pack(files)[:-30],
    }
    for number, (words, content) in enumerate(cases.items()):
        folder = tmp_path / str(number)
        entry = write_archive(folder / "archives", name, pack(files), 1, 2, 10)
        (folder / "archives" / entry.joined_name).write_bytes(content)
        said = refused(entry, folder, accept_repacked=True)
        assert words in said or (words == "damaged" and "is truncated" in said)


def test_requests_that_cannot_be_met(tmp_path: Path) -> None:
    case = Case(tmp_path, "vox1_dev", 5, 2)
    (case.archives / case.entry.parts[0].name).unlink()
    with pytest.raises(ConfigError, match=r"expected vox1_dev_wav.zip or its parts"):
        case.run()
    case.corpora.mkdir(exist_ok=True)
    (case.corpora / "vox1_dev.unpacked.json").write_text("[1]")
    with pytest.raises(DataError, match="is not a record"):
        locate(case.entry, case.archives, case.corpora)


def test_a_folder_that_comes_back_in_part_is_not_taken_for_unpacked(
    tmp_path: Path, stop_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(tmp_path, "cn2", 20, 2)
    case.run(num_workers=1)
    shutil.rmtree(case.corpora / "CN-Celeb2_flac")
    stop_at(8)
    with pytest.raises(Killed):
        case.run(num_workers=1)
    monkeypatch.undo()
    assert list((case.corpora / "CN-Celeb2_flac/data").rglob("*.flac"))
    assert not is_unpacked(case.entry, case.corpora)
    assert case.run() == case.expected


def test_a_record_that_stands_in_the_way_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    entry = make(tmp_path, {VOX.format(0, 0): b"1"}, speakers=1, files=2)
    archives, corpora = tmp_path / "archives", tmp_path / "corpora"
    with pytest.raises(DataError, match="found 1 file of 1 speaker; load the archive again"):
        unpack(entry, archives, corpora)
    unpack(entry, archives, corpora, max_missing=1)
    with pytest.raises(DataError, match=r"; remove \S+/corpora/vox1_dev\.unpacked\.json and load the archive again"):
        unpack(entry, archives, corpora)
    with caplog.at_level("INFO"):
        unpack(entry, archives, corpora, max_missing=1)
    assert f"to unpack it again, remove {corpora}/vox1_dev.unpacked.json" in caplog.text


def test_only_one_program_at_a_time(tmp_path: Path) -> None:
    case = Case(tmp_path, "vox1_dev", 5, 1)
    case.corpora.mkdir(parents=True)
    with lock_folder(case.corpora, "unpacking"), pytest.raises(DataError, match="alone"):
        case.run()
