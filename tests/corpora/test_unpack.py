"""Unpacking against the files that were packed: parts, resuming, freeing, counts, and archives that mean harm."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import random
import shutil
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ham.corpora import gunzip
from ham.corpora import unpack as module
from ham.corpora.catalogue import ArchiveSet
from ham.corpora.convert import convert
from ham.corpora.split_file import Parts
from ham.corpora.unpack import freed_parts, is_unpacked, locate, read_unpacked, unpack
from ham.errors import ConfigError, DataError
from ham.files import lock_folder
from tests.packed import Files, m4a, noise_files, speech, tar_of, tree, write_archive, zip_of

VOX = "wav/id1000{}/-video_{}/00001.wav"
CN = "CN-Celeb2_flac/data/id{}/singing-01-{:03d}.flac"


def below(files: Files, start: str, place: str) -> dict[str, bytes]:
    """The files below ``start``, where they belong below the folder of corpora."""
    return {place + name.removeprefix(start): content for name, content in files.items() if name.startswith(start)}


class Case:
    """A set in a folder, and what must come out."""

    def __init__(self, folder: Path, name: str, number: int, num_parts: int, size: int = 2000) -> None:
        self.archives, self.corpora, is_zip = folder / "archives", folder / "corpora", name != "cn2"
        files = noise_files(VOX if is_zip else CN, number, size)
        self.expected = below(files, "wav/" if is_zip else "CN", "vox1/wav/" if is_zip else "CN")
        self.speakers, self.files = len({name.split("/")[-3 if is_zip else -2] for name in files}), len(files)
        if is_zip:
            self.content = zip_of({**files, "wav/readme.txt": b"left out"})
        else:
            self.content = tar_of({**files, "CN-Celeb2_flac/README.TXT": b"left out"})
            self.expected["CN-Celeb2_flac/spk.lst"] = b"id0\n"
            self.content = tar_of({"CN-Celeb2_flac/spk.lst": b"id0\n", **files, "CN-Celeb2_flac/README.TXT": b"x"})
        self.entry = write_archive(self.archives, name, self.content, num_parts, self.speakers, self.files)

    def run(self, **options: object) -> dict[str, bytes]:
        """Unpack; everything but the records, which are checked for being complete."""
        unpack(self.entry, self.archives, self.corpora, **options)  # type: ignore[arg-type]
        found = tree(self.corpora)
        record = json.loads(found.pop(f"{self.entry.name}.unpacked.json"))
        assert record["complete"] is True
        assert (record["num_files"], record["num_speakers"], record["num_missing"]) == (self.files, self.speakers, 0)
        found.pop("vox1/splits/vox1_dev.txt", None)
        return found


def make(folder: Path, content: Files, name: str = "vox1_dev", **counts: int) -> ArchiveSet:
    pack = tar_of if name in ("musan", "cn1", "cn2") else zip_of
    return write_archive(folder / "archives", name, pack(content), **counts)


def refused(entry: ArchiveSet, folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        unpack(entry, folder / "archives", folder / "corpora")
    assert "\n" not in str(caught.value)
    assert read_unpacked(entry, folder / "corpora") is None
    return str(caught.value)


@pytest.mark.parametrize("num_workers", [1, 4])
@pytest.mark.parametrize(("name", "num_parts"), [("vox1_dev", 1), ("vox1_dev", 4), ("cn2", 1), ("cn2", 3)])
def test_what_was_packed_comes_out(name: str, num_parts: int, num_workers: int, tmp_path: Path) -> None:
    case = Case(tmp_path, name, 40, num_parts)
    before = tree(case.archives)
    assert case.run(num_workers=num_workers) == case.expected
    assert tree(case.archives) == before


def test_stored_members_large_ones_and_empty_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SMALL", 1000)
    rng = np.random.default_rng(0)
    files = {VOX.format(0, 0): rng.bytes(3_000_000), VOX.format(0, 1): b"", VOX.format(0, 2): b"abc" * 100_000}
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        folder = tmp_path / str(method)
        entry = write_archive(folder / "archives", "vox1_dev", zip_of(files, method), 5, 1, 3)
        unpack(entry, folder / "archives", folder / "corpora")
        assert below(tree(folder / "corpora"), "vox1/wav/", "wav/") == files
    music = {f"musan/music/{index}.wav": content for index, content in enumerate(files.values())}
    entry = make(tmp_path, music, "musan", files=3)
    unpack(entry, tmp_path / "archives", tmp_path / "corpora")
    assert below(tree(tmp_path / "corpora"), "musan/", "musan/") == music


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


@pytest.fixture(autouse=True)
def sync(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Waiting for the disk of a busy machine takes long and shows nothing here; the calls are counted."""
    calls: list[None] = []
    monkeypatch.setattr(module.os, "sync", lambda: calls.append(None))
    return calls


class Killed(BaseException):
    """Stands for the end of the process: nothing of the program's own catches it."""


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Arrange that the n-th thing that touches the disk is the last one."""
    places = {(Path, "replace"), (Path, "unlink"), (Parts, "remove"), (module.os, "sync")}
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


@pytest.mark.parametrize("keep_archives", [True, False])
@pytest.mark.parametrize("name", ["vox1_dev", "cn2"])
def test_stopped_anywhere_it_goes_on(
    name: str, keep_archives: bool, tmp_path: Path, stop_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted again and again, after ever other numbers of steps, until it comes through."""
    monkeypatch.setattr(gunzip, "_CHUNK", 1 << 15)
    monkeypatch.setattr(module, "_CHUNK", 1 << 15)
    monkeypatch.setattr(module, "_BATCH", 4)
    case = Case(tmp_path, name, 120, 4, size=8000)
    draws, num_stops, freed_on_the_way = random.Random(1), 0, set[tuple[str, ...]]()
    while True:
        stop_at(draws.randrange(5, 45))
        try:
            found = case.run(keep_archives=keep_archives)
        except (Killed, json.JSONDecodeError):
            num_stops += 1
            freed_on_the_way.add(freed_parts(case.entry, case.corpora))
            assert num_stops < 100
        else:
            break
    stop_at(10**9)
    assert num_stops >= 3
    assert found == case.expected
    assert len(tree(case.archives)) == (4 if keep_archives else 0)
    if not keep_archives:
        assert len(freed_on_the_way) >= 3
    fresh = Case(tmp_path / "fresh", name, 120, 4, size=8000)
    fresh.run()
    assert tree(fresh.corpora) == tree(case.corpora)


def test_parts_are_freed_only_when_their_files_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sync: list[None]
) -> None:
    monkeypatch.setattr(gunzip, "_CHUNK", 1 << 15)
    monkeypatch.setattr(module, "_CHUNK", 1 << 15)
    monkeypatch.setattr(module, "_BATCH", 4)
    remove = Parts.remove
    for name in ("vox1_dev", "cn2"):
        case, seen = Case(tmp_path / name, name, 120, 4, size=8000), list[int]()
        sync.clear()

        def _remove(parts: Parts, index: int, case: Case = case, seen: list[int] = seen) -> None:
            there = {target for target in case.expected if (case.corpora / target).is_file()}
            size = sum(len(case.expected[target]) for target in there)
            assert size >= 0.95 * parts.starts[index + 1] - 20_000
            assert freed_parts(case.entry, case.corpora)[index] == parts.paths[index].name
            seen.append(index)
            assert len(sync) == len(seen)
            remove(parts, index)

        monkeypatch.setattr(Parts, "remove", _remove)
        assert case.run(keep_archives=False) == case.expected
        assert seen == [0, 1, 2]
        assert tree(case.archives) == {}


@pytest.fixture
def half_freed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Case:
    """A set whose first part has been freed when the process was killed."""
    monkeypatch.setattr(gunzip, "_CHUNK", 1 << 15)
    monkeypatch.setattr(module, "_CHUNK", 1 << 15)
    monkeypatch.setattr(module, "_BATCH", 4)
    case, remove = Case(tmp_path, request.param, 120, 4, size=8000), Parts.remove

    def _remove(parts: Parts, index: int) -> None:
        remove(parts, index)
        raise Killed

    monkeypatch.setattr(Parts, "remove", _remove)
    with pytest.raises(Killed):
        case.run(keep_archives=False)
    monkeypatch.setattr(Parts, "remove", remove)
    assert freed_parts(case.entry, case.corpora) == (case.entry.parts[0].name,)
    return case


@pytest.mark.parametrize("half_freed", ["vox1_dev", "cn2"], indirect=True)
def test_freed_parts_are_not_asked_for(half_freed: Case) -> None:
    assert len(locate(half_freed.entry, half_freed.archives, half_freed.corpora)) == 4
    assert half_freed.run() == half_freed.expected
    assert len(tree(half_freed.archives)) == 3


@pytest.mark.parametrize("half_freed", ["vox1_dev", "cn2"], indirect=True)
def test_files_that_vanish_after_their_part_are_named(half_freed: Case) -> None:
    (half_freed.corpora / list(half_freed.expected)[1]).unlink()
    with pytest.raises(DataError, match=r"gone|removed"):
        half_freed.run()
    size = half_freed.entry.parts[0].size
    (half_freed.archives / half_freed.entry.parts[0].name).write_bytes(half_freed.content[:size])
    assert half_freed.run() == half_freed.expected


@pytest.mark.parametrize("half_freed", ["vox1_dev"], indirect=True)
def test_a_part_that_is_still_needed_is_named(half_freed: Case) -> None:
    (half_freed.archives / half_freed.entry.parts[1].name).unlink()
    with pytest.raises(ConfigError, match=r"found no vox1_dev_wav.zip_partb"):
        half_freed.run()


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


def test_damaged_tars_are_found(tmp_path: Path) -> None:
    good = tar_of(noise_files(CN, 40))
    middle = len(good) // 2
    raw = gzip.decompress(good)
    second = raw.index(b"ustar", 100 * 512) - 257
    cases = {
        "truncated": good[:-20],
        "checksum": good[:-8] + bytes(4) + good[-4:],
        "damaged": good[:middle] + bytes(300) + good[middle + 300 :],
        "header of a file": gzip.compress(raw[: second + 10] + b"\xff" * 20 + raw[second + 30 :]),
        "is not a tar archive": gzip.compress(b"hello world, " * 1000),
    }
    for number, (words, content) in enumerate(cases.items()):
        entry = write_archive(tmp_path / str(number) / "archives", "cn2", content)
        assert words in refused(entry, tmp_path / str(number))


def test_damaged_zips_are_found(tmp_path: Path) -> None:
    good = zip_of(noise_files(VOX, 10))
    for number, content in enumerate((good[:-30], b"", b"hello" * 100, good[: len(good) // 2])):
        entry = write_archive(tmp_path / str(number) / "archives", "vox1_dev", content)
        assert "is not a zip archive, or damaged" in refused(entry, tmp_path / str(number))


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
        (entries[0] + 24, struct.pack("<I", 40), "breaks its checksum"),
        (entries[2] + 42, good[entries[1] + 42 : entries[1] + 46], "share bytes"),
        (entries[0] + 46 + VOX.index("video") - 1, b"V", "differs from the directory"),
        (entries[0] + 8, b"\1\0", "is encrypted"),
        (entries[0] + 10, b"\x63\0", "unusual way"),
        (entries[0] + 42, struct.pack("<I", 7), "no file at byte|share bytes"),
    ]
    for number, (place, change, words) in enumerate(cases):
        content = bytearray(good)
        content[place : place + len(change)] = change
        entry = write_archive(tmp_path / str(number) / "archives", "vox1_dev", bytes(content))
        said = refused(entry, tmp_path / str(number))
        assert any(word in said for word in words.split("|")), said


def test_another_archive_is_refused(tmp_path: Path) -> None:
    assert "another archive" in refused(make(tmp_path, {"holiday/photo.jpg": b"x"}), tmp_path)
    assert "another archive" in refused(make(tmp_path, {"CN-Celeb_flac/data/id1/a.flac": b"x"}, "cn2"), tmp_path)


def test_requests_that_cannot_be_met(tmp_path: Path) -> None:
    case = Case(tmp_path, "vox1_dev", 5, 2)
    (case.archives / case.entry.parts[0].name).unlink()
    with pytest.raises(ConfigError, match=r"expected vox1_dev_wav.zip or its parts"):
        case.run()
    case.corpora.mkdir(exist_ok=True)
    (case.corpora / "vox1_dev.unpacked.json").write_text("[1]")
    with pytest.raises(DataError, match="is not a record"):
        locate(case.entry, case.archives, case.corpora)


def test_another_edition_is_unpacked_again(tmp_path: Path) -> None:
    first = make(tmp_path, noise_files(VOX, 5), speakers=1, files=5)
    unpack(first, tmp_path / "archives", tmp_path / "corpora")
    second = make(tmp_path, noise_files(VOX, 10, seed=1), speakers=2, files=10)
    assert read_unpacked(second, tmp_path / "corpora") is None
    assert unpack(second, tmp_path / "archives", tmp_path / "corpora").num_files == 10


@pytest.mark.parametrize("name", ["vox1_dev", "cn2"])
def test_a_folder_that_was_removed_is_unpacked_again(name: str, tmp_path: Path) -> None:
    case = Case(tmp_path, name, 10, 2)
    case.run()
    shutil.rmtree(case.corpora / next(iter(case.expected)).split("/")[0])
    assert case.run() == case.expected


SPEAKERS = {"vox1_dev": "wav/id10001", "vox1_test": "wav/id10270", "vox2_dev": "dev/aac/id00012"}


@pytest.mark.parametrize(
    ("name", "removed"),
    [("vox1_dev", "vox1/wav"), ("vox2_dev", "vox2_dev/m4a"), ("rirs", "RIRS_NOISES"), ("cn2", "CN-Celeb2_flac/data")],
)
def test_an_emptied_folder_is_not_unpacked_and_its_archive_is_wanted(name: str, removed: str, tmp_path: Path) -> None:
    extension = "m4a" if name == "vox2_dev" else "wav"
    places = {**SPEAKERS, "rirs": "RIRS_NOISES/simulated_rirs/room", "cn2": "CN-Celeb2_flac/data/id1"}
    files = {f"{places[name]}/a/1.{extension}": b"1"} if name in SPEAKERS else {f"{places[name]}/1.wav": b"1"}
    entry = make(tmp_path, files | ({"CN-Celeb2_flac/spk.lst": b"id1"} if name == "cn2" else {}), name, files=1)
    archives, corpora = tmp_path / "archives", tmp_path / "corpora"
    unpack(entry, archives, corpora, max_missing=1)
    content = tree(corpora)
    assert is_unpacked(entry, corpora)
    for is_folder_left in (True, False):
        shutil.rmtree(corpora / removed)
        if is_folder_left:
            (corpora / removed / "id/video").mkdir(parents=True)
        assert not is_unpacked(entry, corpora)
        shutil.move(archives, tmp_path / "away")
        with pytest.raises(ConfigError, match="load it"):
            locate(entry, archives, corpora)
        shutil.move(tmp_path / "away", archives)
        unpack(entry, archives, corpora, max_missing=1)
        assert tree(corpora) == content


def test_each_folder_of_musan_is_needed(tmp_path: Path) -> None:
    files = {f"musan/{folder}/a/1.wav": b"1" for folder in ("music", "speech", "noise")}
    entry = make(tmp_path, files, "musan", files=3)
    for folder in ("music", "speech", "noise"):
        unpack(entry, tmp_path / "archives", tmp_path / "corpora")
        assert is_unpacked(entry, tmp_path / "corpora")
        shutil.rmtree(tmp_path / "corpora/musan" / folder)
        assert not is_unpacked(entry, tmp_path / "corpora")


def test_two_sets_of_a_folder_that_was_removed_both_come_back(tmp_path: Path) -> None:
    corpora, entries = tmp_path / "corpora", []
    for name in ("vox1_dev", "vox1_test"):
        entries.append(make(tmp_path, {f"{SPEAKERS[name]}/a/1.wav": b"1"}, name, speakers=1, files=1))
        unpack(entries[-1], tmp_path / "archives", corpora)
    content = tree(corpora)
    shutil.rmtree(corpora / "vox1/wav")
    unpack(entries[0], tmp_path / "archives", corpora)
    assert [is_unpacked(entry, corpora) for entry in entries] == [True, False]
    unpack(entries[1], tmp_path / "archives", corpora)
    assert tree(corpora) == content


def test_m4a_may_go_once_all_is_converted(tmp_path: Path) -> None:
    entry = make(tmp_path, {f"dev/aac/id00012/a/{n}.m4a": m4a(speech(8000, n)) for n in (1, 2)}, "vox2_dev", files=2)
    corpora, place = tmp_path / "corpora", tmp_path / "corpora/vox2_dev"
    unpack(entry, tmp_path / "archives", corpora, keep_archives=False, max_missing=1)
    convert(place / "m4a", place / "wav", "flac", num_workers=1)
    shutil.rmtree(place / "m4a")
    assert is_unpacked(entry, corpora)
    assert unpack(entry, tmp_path / "archives", corpora, max_missing=1).num_files == 2
    assert convert(place / "m4a", place / "wav", "flac").num_files == 2
    record = place / "wav.converted.json"
    content = record.read_text()
    record.write_text(content.replace("true", "false"))
    assert not is_unpacked(entry, corpora)
    record.write_text(content)
    shutil.rmtree(place / "wav")
    assert not is_unpacked(entry, corpora)


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


@pytest.mark.parametrize("name", ["vox1_dev", "cn2"])
def test_what_came_of_removed_parts_must_be_there(
    name: str, tmp_path: Path, stop_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gunzip, "_CHUNK", 1 << 15)
    monkeypatch.setattr(module, "_CHUNK", 1 << 15)
    monkeypatch.setattr(module, "_BATCH", 4)
    case = Case(tmp_path, name, 120, 4, size=8000)
    stop_at(100)
    with pytest.raises(Killed):
        case.run(keep_archives=False, num_workers=1)
    monkeypatch.undo()
    assert freed_parts(case.entry, case.corpora)
    shutil.rmtree(case.corpora / next(iter(case.expected)).split("/")[0])
    with pytest.raises(DataError, match=rf"been removed since, found none; remove \S+/{name}\.unpacked\.json and load"):
        case.run()


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
