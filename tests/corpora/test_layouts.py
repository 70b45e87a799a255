"""Where members go, whatever lies above them; names that are refused; what is left out and counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from ham.corpora.layouts import Layout, Sorter, check_growth, holds_file, name_problem
from ham.errors import DataError
from tests.packed import SETS


def sorter(name: str) -> Sorter:
    return Sorter("a.zip", SETS[name].layout)


@pytest.mark.parametrize(
    ("name", "member", "target"),
    [
        ("vox1_dev", "wav/id10001/abc/00001.wav", "vox1/wav/id10001/abc/00001.wav"),
        ("vox1_dev", "id10001/abc/00001.wav", "vox1/wav/id10001/abc/00001.wav"),
        ("musan", "./noise/free-sound/a.wav", "musan/noise/free-sound/a.wav"),
        ("vox1_test", "./vox1_test_wav/wav/id10270/-_c/00001.wav", "vox1/wav/id10270/-_c/00001.wav"),
        ("vox2_dev", "dev/aac/id00012/abc/00001.m4a", "vox2_dev/m4a/id00012/abc/00001.m4a"),
        ("vox2_dev", "aac/id00012/abc/00001.m4a", "vox2_dev/m4a/id00012/abc/00001.m4a"),
        ("vox2_test", "aac/id00017/abc/00001.m4a", "vox2_test/m4a/id00017/abc/00001.m4a"),
        ("musan", "musan/music/fma/music-fma-0000.wav", "musan/music/fma/music-fma-0000.wav"),
        ("rirs", "x/RIRS_NOISES/simulated_rirs/a/Room001/b.wav", "RIRS_NOISES/simulated_rirs/a/Room001/b.wav"),
        ("rirs", "RIRS_NOISES/simulated_rirs/a/rir_list", "RIRS_NOISES/simulated_rirs/a/rir_list"),
        ("cn1", "CN-Celeb_flac/eval/lists/trials.lst", "CN-Celeb_flac/eval/lists/trials.lst"),
        ("cn1", "CN-Celeb_flac/dev/dev.lst", "CN-Celeb_flac/dev/dev.lst"),
        ("cn2", "CN-Celeb2_flac/spk.lst", "CN-Celeb2_flac/spk.lst"),
        ("cn2", "CN-Celeb2_flac/data/id10000/a-01-001.flac", "CN-Celeb2_flac/data/id10000/a-01-001.flac"),
    ],
)
def test_members_go_to_their_place(name: str, member: str, target: str) -> None:
    assert sorter(name).place(member) == target


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("musan", "musan/README"),
        ("musan", "musan/music/fma/LICENSE"),
        ("musan", "musan/music/fma/ANNOTATIONS"),
        ("rirs", "RIRS_NOISES/simulated_rirs/README"),
    ],
)
def test_the_terms_of_use_are_unpacked_and_not_counted(name: str, member: str) -> None:
    found = sorter(name)
    assert found.place(member) is not None
    assert (found.num_counted, found.left_out.total()) == (0, 0)


@pytest.mark.parametrize(
    ("name", "member"),
    [
        ("vox1_dev", "wav/id10001/abc/00001.txt"),
        ("vox1_dev", "wav/id10001/00001.wav"),
        ("vox1_dev", "notwav/id10001/abc/00001.wav"),
        ("vox1_dev", "wav/id10001/abc/._00001.wav"),
        ("vox1_dev", "__MACOSX/wav/id10001/abc/00001.wav"),
        ("vox1_dev", "wav/id10001/abc/00001.wav/x"),
        ("vox2_dev", "dev/aac/id00012/abc/00001.wav"),
        ("musan", "musan/notes"),
        ("musan", "musan/music/fma/run.sh"),
        ("cn1", "CN-Celeb2_flac/data/id1/a.flac"),
        ("cn2", "CN-Celeb_flac/data/id1/a.flac"),
    ],
)
def test_other_files_are_left_out(name: str, member: str) -> None:
    found = sorter(name)
    assert found.place(member) is None
    assert found.left_out.total() == 1


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("../x.wav", "leave the folder"),
        ("wav/id1/../../../x.wav", "leave the folder"),
        ("/etc/passwd", "absolute"),
        ("", "absolute name or none"),
        ("C:/x.wav", "drive letter"),
        ("c:x.wav", "drive letter"),
        ("wav\\id1\\x.wav", "backslash"),
        ("wav/id1/a\0b.wav", "control"),
        ("wav/id1/a\nb.wav", "control"),
        ("wav/id1/\udcff.wav", "UTF-8"),
        ("wav/id1/" + "x" * 300, "240 bytes"),
    ],
)
def test_hostile_names_are_refused_wanted_or_not(member: str, words: str) -> None:
    assert words in str(name_problem(member))
    with pytest.raises(DataError, match="do not use this archive") as caught:
        sorter("vox1_dev").place(member)
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError):
        sorter("vox1_dev").check(member)


@pytest.mark.parametrize("name", ["a", "a/", "./a", "a b/ü.wav", "..a/b..", "id1/-x/_y", "ab:c/d"])
def test_harmless_names_pass(name: str) -> None:
    assert name_problem(name) is None


def test_names_that_differ_in_case_only_are_refused() -> None:
    found = sorter("vox1_dev")
    found.place("wav/id10001/abc/00001.wav")
    found.place("wav/id10001/abc/00002.wav")
    for again in ("wav/id10001/ABC/00001.wav", "x/wav/id10001/abc/00001.wav", "wav/id10001/abc/./00002.wav"):
        with pytest.raises(DataError, match="twice"):
            found.place(again)


def test_counting() -> None:
    found = sorter("cn1")
    for member in ("data/id1/a.flac", "data/id1/b.flac", "data/id2/a.flac", "eval/test/id3-a.flac", "dev/dev.lst"):
        found.place(f"CN-Celeb_flac/{member}")
    found.place("CN-Celeb_flac/README.TXT")
    assert (found.num_counted, found.speakers) == (3, {"id1", "id2"})
    assert found.left_out == {".txt": 1}
    rooms = sorter("rirs")
    rooms.place("RIRS_NOISES/simulated_rirs/a/b.wav")
    rooms.place("RIRS_NOISES/pointsource_noises/b.wav")
    assert (rooms.num_counted, rooms.speakers) == (1, set())


def test_another_archive_is_refused() -> None:
    found = sorter("vox1_dev")
    found.place("dev/aac/id00012/abc/00001.m4a")
    with pytest.raises(DataError, match=r"expected wav/id\*/<video>/<number>.wav, found 'dev/aac/id00012"):
        found.check_found()
    with pytest.raises(DataError, match="found no file"):
        sorter("vox1_dev").check_found()


def test_a_folder_of_the_archive_may_have_any_name() -> None:
    found = Sorter("a.zip", Layout("x", "a.b (c)", "a.b (c)/...", r"(\w+)/\d"))
    assert found.place("above/a.b (c)/s/1") == "x/s/1"
    assert found.place("a+b (c)/s/1") is None
    assert found.speakers == {"s"}


def test_growth_is_bounded() -> None:
    check_growth("a.zip", 20 * 10**6 + 2**16, 10**6)
    with pytest.raises(DataError, match=r"^a\.zip: expected to grow at most 20-fold, found 1000000 bytes that become"):
        check_growth("a.zip", 20 * 10**6 + 2**16 + 1, 10**6)
    with pytest.raises(DataError, match="at most 3-fold"):
        check_growth("a.zip", 4, 1, 3, 0)


def test_a_file_counts_as_there_by_its_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    assert [holds_file(tmp_path / "a", size) for size in (2, 3)] == [False, True]
    assert not holds_file(tmp_path / "a/b", 3)
    assert not holds_file(tmp_path / "b", 0)
