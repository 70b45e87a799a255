"""Records of what was unpacked: when they hold, when a set counts as gone, what they refuse."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ham.corpora.convert import convert
from ham.corpora.records import is_unpacked, read_unpacked
from ham.corpora.unpack import locate, unpack
from ham.errors import ConfigError, DataError
from tests.corpora.cases import VOX, Case, make
from tests.packed import m4a, noise_files, speech, tree


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


@pytest.mark.parametrize("content", ["", "[]", '{"complete": true}', '{"complete": true, "archive": ["0 n.tar.gz"]}'])
def test_what_is_no_record_is_named(content: str, tmp_path: Path) -> None:
    entry = make(tmp_path, noise_files(VOX, 5), speakers=1, files=5)
    (tmp_path / "vox1_dev.unpacked.json").write_text(content)
    with pytest.raises(DataError, match=r"vox1_dev\.unpacked\.json: is not a record of what was unpacked; remove it"):
        read_unpacked(entry, tmp_path)


def test_a_record_reads_back(tmp_path: Path) -> None:
    entry = make(tmp_path, noise_files(VOX, 5), speakers=1, files=5)
    done = unpack(entry, tmp_path / "archives", tmp_path / "corpora")
    assert read_unpacked(entry, tmp_path / "corpora") == done
    assert (done.num_files, done.num_speakers, str(done)) == (5, 1, "5 files of 1 speaker")
