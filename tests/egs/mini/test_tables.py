from __future__ import annotations

import csv
from dataclasses import fields, replace
from pathlib import Path

import pytest
from plan import Request, plan
from tables import write_lists, write_tables
from voices import RoomSession, Session, Voice

REQUEST = Request(num_train_speakers=9, num_test_speakers=9, num_sessions=3, num_utterances=2)
SPEAKERS = plan(REQUEST)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    write_lists(SPEAKERS, folder, REQUEST)
    write_tables(SPEAKERS, folder)
    return folder


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_speakers_hold_hierarchy_and_voice(root: Path) -> None:
    rows = read(root / "speakers.tsv")
    assert list(rows[0]) == ["speaker", "sex", "accent", "split", *(field.name for field in fields(Voice))]
    for row, speaker in zip(rows, SPEAKERS, strict=True):
        assert row["speaker"] == speaker.name
        assert (row["sex"], row["accent"], row["split"]) == (speaker.sex, speaker.accent, speaker.split)
        assert int(row["pitch_low_hz"]) == speaker.voice.pitch_low_hz
        assert tuple(map(int, row["formant_percent"].split(","))) == speaker.voice.formant_percent


def test_sessions_hold_their_parameters(root: Path) -> None:
    rows = read(root / "sessions.tsv")
    assert list(rows[0]) == ["speaker", "session", *(field.name for field in fields(Session))]
    wanted = [(speaker.name, f"s{i}", s.snr_db) for speaker in SPEAKERS for i, s in enumerate(speaker.sessions, 1)]
    assert [(row["speaker"], row["session"], float(row["snr_db"])) for row in rows] == wanted


def test_the_training_list_is_every_training_utterance(root: Path) -> None:
    lines = (root / "splits" / "train_list.txt").read_text().splitlines()
    assert len(set(lines)) == len(lines) == 9 * 3 * 2
    train = {speaker.name for speaker in SPEAKERS if speaker.split == "train"}
    assert {line.split()[0] for line in lines} == train
    assert all(line.split()[1].startswith(line.split()[0] + "/s") for line in lines)


def test_lists_of_another_seed_differ(root: Path, tmp_path: Path) -> None:
    request = Request(num_train_speakers=9, num_test_speakers=48, seed=3)
    write_lists(plan(request), tmp_path / "", request)
    first = (tmp_path / "trials" / "all.txt").read_bytes()
    request = Request(num_train_speakers=9, num_test_speakers=48, seed=4)
    write_lists(plan(request), tmp_path, request)
    assert (tmp_path / "trials" / "all.txt").read_bytes() != first


def test_unequal_lists_are_the_beginnings_of_the_equal_ones(root: Path, tmp_path: Path) -> None:
    request = Request(num_train_speakers=100, num_test_speakers=9, num_sessions=3, num_utterances=4)
    speakers = plan(request)
    lists = []
    for name, asked in (("equal", request), ("unequal", replace(request, unequal=True))):
        (tmp_path / name).mkdir()
        write_lists(speakers, tmp_path / name, asked)
        found: dict[str, list[str]] = {}
        for line in (tmp_path / name / "splits" / "train_list.txt").read_text().splitlines():
            speaker, path = line.split()
            found.setdefault(speaker, []).append(path)
        lists.append(found)
    equal, unequal = lists
    assert equal.keys() == unequal.keys()
    assert all(equal[name][: len(paths)] == paths for name, paths in unequal.items())
    counts = sorted(map(len, unequal.values()))
    assert (counts[0], counts[-1]) == (2, 12)
    assert 4 <= counts[50] <= 6  # the middle of a logarithmic scale from 2 to 12 is 4.9
    for name in ("all", "hard"):
        assert (tmp_path / "equal/trials" / name).with_suffix(".txt").read_bytes() == (
            tmp_path / "unequal/trials" / name
        ).with_suffix(".txt").read_bytes()


def test_tables_of_the_large_preset_have_ages_and_rooms(tmp_path: Path) -> None:
    speakers = plan(Request(num_train_speakers=2, num_test_speakers=4, preset="large"))
    write_tables(speakers, tmp_path)
    assert [int(row["age"]) for row in read(tmp_path / "speakers.tsv")] == [speaker.age for speaker in speakers]
    rows = read(tmp_path / "sessions.tsv")
    assert list(rows[0]) == ["speaker", "session", *(field.name for field in fields(RoomSession))]
