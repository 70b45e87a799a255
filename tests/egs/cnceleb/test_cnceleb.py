"""CN-Celeb's tree: what is found, who is trained on, models, trials, and what is joined."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from cnceleb import (
    Folders,
    check_counts,
    check_disjoint,
    check_train_sets,
    data_path,
    find_folders,
    list_data,
    plan_training,
    read_evaluation,
    train_speakers,
)

from ham.audio.decoding import AudioInfo
from ham.errors import ConfigError, DataError
from tests.packed import SETS

NAMES = ("live_broadcast-01-001", "live_broadcast-02-001", "singing-01-001", "singing-01-002")


def add_data(folder: Path, *speakers: str) -> None:
    for speaker in speakers:
        (folder / "data" / speaker).mkdir(parents=True)
        for name in NAMES:
            (folder / "data" / speaker / f"{name}.flac").touch()


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


@pytest.fixture
def cn1(tmp_path: Path) -> Path:
    """Two training and two evaluation speakers, names in all the ways that lists write them."""
    folder = tmp_path / "corpora" / "CN-Celeb_flac"
    add_data(folder, "id00000", "id00001", "id00800", "id00801")
    write(folder / "dev/dev.lst", "id00000", "id00001")
    lists = folder / "eval/lists"
    write(lists / "enroll.lst", "id00800-enroll enroll/id00800-enroll.wav", "id00801-enroll id00801-enroll.flac")
    write(
        lists / "enroll.map",
        "id00800-enroll id00800/singing-01-001.wav id00800/singing-01-002.flac",
        "id00801-enroll id00801/singing-01-001",
        "id00801-enroll data/id00801/live_broadcast-01-001.wav",
    )
    write(
        lists / "trials.lst",
        "id00800-enroll test/id00800-singing-03-007.wav 1",
        "id00801-enroll eval/test/id00800-singing-03-007.flac 0",
        "id00801-enroll id00801-vlog-01-001 1",
    )
    for name in ("enroll/id00800-enroll", "enroll/id00801-enroll", "test/id00800-singing-03-007"):
        write(folder / f"eval/{name}.flac")
    write(folder / "eval/test/id00801-vlog-01-001.flac")
    return folder


def test_folders_are_found_where_people_put_them(cn1: Path) -> None:
    top = cn1.parent
    assert find_folders(top) == find_folders(top.parent) == find_folders(cn1) == Folders(cn1, None)
    add_data(top / "CN-Celeb2_flac", "id10000")
    write(top / "CN-Celeb2_flac/spk.lst", "id10000")
    assert find_folders(top) == Folders(cn1, top / "CN-Celeb2_flac")
    assert find_folders(top / "CN-Celeb2_flac") == Folders(None, top / "CN-Celeb2_flac")
    cn1 = cn1.rename(top.parent / "moved")
    (top.parent / "data").mkdir()
    cn1.rename(top.parent / "data" / "CN-Celeb_flac")
    (top / "CN-Celeb2_flac").rename(top.parent / "data" / "CN-Celeb2_flac")
    data = top.parent / "data"
    assert find_folders(top.parent) == Folders(data / "CN-Celeb_flac", data / "CN-Celeb2_flac")
    add_data(top.parent / "copy", "id10000")
    write(top.parent / "copy/spk.lst", "id10000")
    with pytest.raises(DataError, match=r"both hold spk\.lst"):
        find_folders(top.parent)
    with pytest.raises(DataError, match=r"expected data/ and eval/lists/trials\.lst"):
        find_folders(data / "CN-Celeb_flac" / "eval")


def test_training_speakers_are_those_of_the_list(cn1: Path) -> None:
    data = list_data(cn1)
    assert list(data) == ["id00000", "id00001", "id00800", "id00801"]
    assert list(data["id00001"]) == list(NAMES)
    assert train_speakers(cn1, "dev/dev.lst", data, 0) == ["id00000", "id00001"]
    write(cn1 / "dev/dev.lst", "", "\n")
    with pytest.raises(DataError, match="is empty"):
        train_speakers(cn1, "dev/dev.lst", data, 9)


def test_speakers_without_a_folder_have_a_budget(cn1: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = list_data(cn1)
    write(cn1 / "dev/dev.lst", "id00003", "id00000", "id00002", "id00002 again")
    with pytest.raises(DataError, match=r"^no folder for 2 of 3 speakers: .*dev.lst:3: expected a.*'id00002'; .*now 1"):
        train_speakers(cn1, "dev/dev.lst", data, 1)
    assert train_speakers(cn1, "dev/dev.lst", data, 2) == ["id00000"]
    assert "2 of 3 speakers are left out, within --max_missing_files 2: 2 problems: " in caplog.text
    write(cn1 / "dev/dev.lst", "id00002", "id00003")
    with pytest.raises(DataError, match="no folder for 2 of 2 speakers"):
        train_speakers(cn1, "dev/dev.lst", data, 9)


def test_counts_have_a_budget(cn1: Path) -> None:
    data = list_data(cn1)
    entry = replace(SETS["cn1"], num_speakers=4, num_utts=16)
    check_counts(cn1, data, entry, 0)
    check_counts(cn1, data, None, 0)
    check_counts(cn1, data, replace(entry, num_speakers=None, num_utts=None), 0)
    with pytest.raises(DataError, match=r"data: 4 speakers, 16 utterances; expected 4 and 18; complete"):
        check_counts(cn1, data, replace(entry, num_utts=18), 1)
    check_counts(cn1, data, replace(entry, num_utts=18), 2)
    with pytest.raises(DataError, match="expected 5 and 16"):
        check_counts(cn1, data, replace(entry, num_speakers=5), 0)


def test_models_have_several_recordings_by_the_map(cn1: Path) -> None:
    found = read_evaluation(cn1, list_data(cn1), "map")
    assert found.models == {
        "id00800-enroll": ["id00800/singing-01/001.flac", "id00800/singing-01/002.flac"],
        "id00801-enroll": ["id00801/singing-01/001.flac", "id00801/live_broadcast-01/001.flac"],
    }
    assert found.trials == [
        "1 id00800-enroll id00800/test/singing-03-007.flac",
        "0 id00801-enroll id00800/test/singing-03-007.flac",
        "1 id00801-enroll id00801/test/vlog-01-001.flac",
    ]
    assert found.files["id00801/live_broadcast-01/001.flac"] == f"{cn1}/data/id00801/live_broadcast-01-001.flac"
    assert found.files["id00801/test/vlog-01-001.flac"] == f"{cn1}/eval/test/id00801-vlog-01-001.flac"
    assert all(Path(file).is_file() for file in found.files.values())
    assert found.speakers == {"id00800", "id00801"}


def test_models_have_the_owners_recording_by_the_list_or_without_a_map(cn1: Path) -> None:
    by_list = read_evaluation(cn1, list_data(cn1), "lst")
    assert by_list.models == {f"id0080{n}-enroll": [f"id0080{n}/enroll/enroll.flac"] for n in (0, 1)}
    assert by_list.files["id00801/enroll/enroll.flac"] == f"{cn1}/eval/enroll/id00801-enroll.flac"
    (cn1 / "eval/lists/enroll.map").unlink()
    assert read_evaluation(cn1, list_data(cn1), "map").models == by_list.models


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("trials.lst", "id00800-enroll test/id00800-singing-03-007.wav", "trials.lst:4: expected '<model> <test> 1|0'"),
        ("trials.lst", "id00800-enroll test/id00800-singing-03-007.wav target", "expected '<model> <test> 1|0'"),
        (
            "trials.lst",
            "id00800-enroll test/id00800-singing-09-009.wav 1",
            "eval/test, found no 'test/id00800-s",
        ),
        ("trials.lst", "id00802-enroll test/id00800-singing-03-007.wav 1", "expected a model of the enrolment list"),
        (
            "enroll.map",
            "id00801-enroll id00801/play-01-001.wav",
            "enroll.map:4: expected a recording, found",
        ),
        ("enroll.map", "id00801-enroll", "enroll.map:4: expected '<model> <recording> [...]'"),
    ],
)
def test_wrong_lines_are_named(name: str, line: str, words: str, cn1: Path) -> None:
    with (cn1 / "eval/lists" / name).open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(DataError) as caught:
        read_evaluation(cn1, list_data(cn1), "map")
    assert words in str(caught.value)


def info(duration_s: float, rate: int = 16000) -> AudioInfo:
    return AudioInfo(round(duration_s * rate), rate, 1)


def test_short_utterances_are_joined_by_speaker_and_genre(tmp_path: Path) -> None:
    names = [f"singing-{session:02d}-{number:03d}" for session in (1, 2) for number in (1, 2, 3)] + [
        "vlog-01-001",
        "odd",
    ]
    data = {spk: {name: f"/cn/{spk}/{name}.flac" for name in names} for spk in ("a", "b")}
    lengths = dict(zip(names, (2, 6, 2, 2, 1, 7, 3, 1), strict=True))
    infos = {Path(data[spk][name]): info(length) for spk in data for name, length in lengths.items()}
    infos[Path("/cn/b/singing-02-001.flac")] = info(2, 8000)
    del infos[Path("/cn/b/singing-02-002.flac")]
    made = plan_training(data, infos, 5, tmp_path)
    of_a = {name: file for name, file in made.files.items() if name.startswith("a/")}
    joined = str(tmp_path / "a/singing-01-001x4.flac")
    assert of_a == {
        "a/singing-01/002.flac": "/cn/a/singing-01-002.flac",
        "a/singing-02/003.flac": "/cn/a/singing-02-003.flac",
        "a/singing/joined-01-001.flac": joined,
        "a/vlog-01/001.flac": "/cn/a/vlog-01-001.flac",
        "a/-/odd.flac": "/cn/a/odd.flac",
    }
    parts = ["singing-01-001", "singing-01-003", "singing-02-001", "singing-02-002"]
    assert made.joints[0].parts == tuple(Path(data["a"][name]) for name in parts)
    assert (str(made.joints[0].target), made.joints[0].num_samples) == (joined, 7 * 16000)
    # Of b two files are not joined: one of another rate, one whose header could not be read.
    assert [[part.stem for part in joint.parts] for joint in made.joints[1:]] == [parts[:2]]
    assert {"b/singing-02/001.flac", "b/singing-02/002.flac"} <= made.files.keys()


def test_nothing_is_joined_with_0_seconds(tmp_path: Path) -> None:
    data = {"a": {name: f"/cn/a/{name}.flac" for name in NAMES}}
    made = plan_training(data, {}, 0, tmp_path)
    assert made.joints == []
    assert made.files == {data_path("a", name): f"/cn/a/{name}.flac" for name in NAMES}


def test_requests_and_speakers_on_both_sides() -> None:
    assert check_train_sets(["cn2", "cn1_dev", "cn2"]) == ("cn1_dev", "cn2")
    for names in ([], ["cn1"]):
        with pytest.raises(ConfigError, match="--train_set: expected one or both of cn1_dev cn2"):
            check_train_sets(names)
    check_disjoint({"a"}, {"b"})
    with pytest.raises(DataError, match="trained on and tested: 2 speakers: b c"):
        check_disjoint({"a", "b", "c"}, {"b", "c", "d"})
