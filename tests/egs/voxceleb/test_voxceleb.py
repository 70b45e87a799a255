"""VoxCeleb in whatever layout: what a request needs, what is found, and what does not add up."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import pytest
from voxceleb import (
    LISTS,
    Request,
    check_counts,
    choose_speakers,
    find_speakers,
    list_files,
    listed_speakers,
    make_request,
    read_list,
    search_places,
    unpacked_places,
)

from ham.corpora.catalogue import Catalogue, TrialListFile
from ham.errors import ConfigError, DataError
from tests.packed import VOXCELEB

DEV, TEST = ("id10001", "id10002", "id10003"), ("id10270", "id10309")
VOX2, VOX2_TEST = ("id00012", "id00015", "id09272"), ("id00017",)


def add(place: Path, speakers: tuple[str, ...], extension: str = "wav") -> Path:
    for speaker in speakers:
        for video in ("-abc", "_def"):
            (place / speaker / video).mkdir(parents=True)
            for number in (1, 3):
                (place / speaker / video / f"{number:05d}.{extension}").touch()
    return place


def paths(*speakers: str) -> list[str]:
    return [f"{s}/{video}/{number:05d}.wav" for s in speakers for video in ("-abc", "_def") for number in (1, 3)]


def counted(**counts: tuple[int, int]) -> Catalogue:
    """The built-in catalogue with other counts."""
    sets = {
        name: replace(VOXCELEB.sets[name], num_speakers=speakers, num_utts=utts)
        for name, (speakers, utts) in counts.items()
    }
    return replace(VOXCELEB, sets=sets)


MINI = counted(vox1_dev=(3, 12), vox1_test=(2, 8), vox2_dev=(3, 12))


@pytest.mark.parametrize(
    ("train", "lists", "sets", "chosen"),
    [
        (["vox2_dev"], [], "vox1_dev vox1_test vox2_dev", "vox1_o_clean vox1_e_clean vox1_h_clean"),
        (["vox1_dev"], [], "vox1_dev vox1_test", "vox1_o_clean"),
        (["vox2_dev", "vox1_dev"], ["vox1_o"], "vox1_dev vox1_test vox2_dev", "vox1_o"),
        (["vox2_dev"], ["vox1_o", "vox1_o"], "vox1_test vox2_dev", "vox1_o"),
        (["vox2_dev"], ["vox1_h"], "vox1_dev vox1_test vox2_dev", "vox1_h"),
    ],
)
def test_what_a_request_needs(train: list[str], lists: list[str], sets: str, chosen: str) -> None:
    request = make_request(train, lists)
    assert " ".join(request.sets) == sets
    assert " ".join(request.lists) == chosen
    assert request.files == tuple(LISTS[name] for name in request.lists)
    assert set(request.sets) <= set(VOXCELEB.sets)
    assert set(request.files) <= set(VOXCELEB.lists)


@pytest.mark.parametrize(
    ("train", "lists", "words"),
    [
        (["vox3_dev"], [], "--train_set: expected some of vox1_dev vox2_dev, found 'vox3_dev'"),
        ([], [], "found nothing"),
        (["vox2_dev"], ["vox1"], "--trial_lists: expected some of vox1_o_clean"),
        (["vox1_dev"], ["vox1_o", "vox1_e_clean"], "vox1_e_clean: these trials are of the speakers of vox1_dev"),
        (["vox1_dev", "vox2_dev"], ["vox1_h"], "train on vox2_dev alone"),
    ],
)
def test_wrong_requests_are_refused(train: list[str], lists: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_request(train, lists)
    assert words in str(caught.value)


LAYOUTS = [
    {"wav": (DEV + TEST, "wav")},
    {"": (DEV + TEST, "wav")},
    {"vox1_dev/wav": (DEV, "wav"), "vox1_test/wav": (TEST, "wav")},
    {"dev/wav": (DEV, "wav"), "test/wav": (TEST, "flac"), "dev/aac": (VOX2, "m4a"), "test/aac": (VOX2_TEST, "m4a")},
    {"voxceleb1/wav": (DEV + TEST, "wav"), "voxceleb2/dev/wav": (VOX2, "flac"), "voxceleb2/dev/m4a": (VOX2, "m4a")},
    {"a/vox1_dev_wav/wav": (DEV, "wav"), "a/vox1_test_wav/wav": (TEST, "wav"), "b/vox2_dev/wav": (VOX2, "wav")},
    {"wav": (DEV + TEST + VOX2, "wav"), "CN-Celeb_flac/data": (VOX2, "flac"), ".trash/wav": (DEV, "wav")},
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: " ".join(layout))
def test_every_usual_layout_is_found(layout: dict[str, tuple[tuple[str, ...], str]], tmp_path: Path) -> None:
    for place, (speakers, extension) in layout.items():
        add(tmp_path / place, speakers, extension)
    found = find_speakers(search_places(tmp_path))
    has_vox2 = any(set(VOX2) <= set(speakers) for speakers, _ in layout.values())
    assert list(found) == sorted(DEV + TEST + (VOX2 if has_vox2 else ()))
    assert not any(folder.parent.name == "m4a" for folder in found.values())
    request = make_request(["vox1_dev", *(["vox2_dev"] if has_vox2 else [])], [])
    chosen = choose_speakers(found, request, TEST)
    files = {root: list_files(speakers, 2) for root, speakers in chosen.items()}
    assert list(files["vox1"]) == paths(*DEV, *TEST)
    assert not has_vox2 or list(files["vox2"]) == paths(*VOX2)
    assert all(Path(file).is_file() for table in files.values() for file in table.values())
    check_counts(files, request, MINI, set(TEST), 0)


def test_a_folder_without_speech_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "a/b/c/d/e/id10001").mkdir(parents=True)
    with pytest.raises(DataError, match=r"expected unpacked speech of VoxCeleb, folders id<5.*4 folders"):
        search_places(tmp_path)


def test_a_speaker_in_two_folders_is_refused(tmp_path: Path) -> None:
    places = [add(tmp_path / name, DEV) for name in ("one", "two")]
    with pytest.raises(DataError, match=r"one/id10001 and .*two/id10001 are folders of one speaker"):
        find_speakers(places)
    with pytest.raises(DataError, match="no such folder; run stage 1"):
        find_speakers([tmp_path / "none"])


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a"), ("wav", "vox2"), ("m4a", "wav")])
def test_wav_is_taken_whatever_the_folders_are_called(names: tuple[str, str], tmp_path: Path) -> None:
    wav, m4a = add(tmp_path / names[0], VOX2), add(tmp_path / names[1], VOX2, "M4A")
    (m4a / "id00001").mkdir()  # a speaker without files says nothing
    (wav / VOX2[0] / "-abc" / "00001.m4a").touch()  # beside the same as wav
    assert [find_speakers(places)[VOX2[1]] for places in ([wav, m4a], [m4a, wav])] == [wav / VOX2[1]] * 2


def test_the_recipes_own_places() -> None:
    both = make_request(["vox2_dev"], [])
    assert unpacked_places(Path("c"), both, "flac") == [Path("c/vox1/wav"), Path("c/vox2_dev/wav")]
    assert unpacked_places(Path("c"), both, "m4a")[1] == Path("c/vox2_dev/m4a")
    assert unpacked_places(Path("c"), make_request(["vox1_dev"], []), "wav") == [Path("c/vox1/wav")]


def test_one_file_is_taken_of_several_formats(tmp_path: Path) -> None:
    folder = add(tmp_path, ("id10001",), "m4a") / "id10001"
    for name in ("-abc/00001.flac", "-abc/00001.wav", "_def/00003.FLAC", "_def/._00001.wav", "_def/note.txt"):
        (folder / name).touch()
    files = list_files({"id10001": folder}, 1)
    assert [Path(file).name for file in files.values()] == ["00001.wav", "00003.m4a", "00001.m4a", "00003.FLAC"]
    assert list(files) == paths("id10001")


def test_speakers_that_are_not_needed_are_left_out(tmp_path: Path) -> None:
    found = {name: tmp_path / name for name in DEV + TEST + VOX2}
    assert list(choose_speakers(found, make_request(["vox2_dev"], ["vox1_o"]), TEST)["vox1"]) == list(TEST)
    assert list(choose_speakers(found, make_request(["vox2_dev"], []), TEST)["vox1"]) == list(DEV + TEST)
    assert list(choose_speakers(found, make_request(["vox1_dev"], []), TEST)) == ["vox1"]
    with pytest.raises(DataError, match="no folder for 1 speaker of the trial lists: id10999"):
        choose_speakers(found, make_request(["vox2_dev"], []), [*TEST, "id10999"])
    with pytest.raises(DataError, match="vox2_dev: expected"):
        choose_speakers(dict.fromkeys(DEV + TEST, tmp_path), make_request(["vox2_dev"], []), TEST)


def tables(request: Request, missing: int = 0) -> dict[str, list[str]]:
    vox1 = paths(*DEV, *TEST) if request.needs_vox1_dev else paths(*TEST)
    return {"vox1": vox1[missing:], "vox2": paths(*VOX2)}


def test_counts_have_a_budget(caplog: pytest.LogCaptureFixture) -> None:
    request = make_request(["vox2_dev"], [])
    with caplog.at_level(logging.INFO, "ham"):
        check_counts(tables(request), request, MINI, set(TEST), 0)
    assert [message.split(":")[0] for message in caplog.messages] == ["vox1_dev", "vox1_test", "vox2_dev"]
    with pytest.raises(DataError, match=r"vox1_dev: 3 speakers, 10 utterances; expected 3 and 12: 2 utterances fewer"):
        check_counts(tables(request, 2), request, MINI, set(TEST), 1)
    check_counts(tables(request, 2), request, MINI, set(TEST), 2)
    assert "2 utterances fewer, within --max_missing_files 2" in caplog.text
    with pytest.raises(DataError, match="2 utterances more"):
        check_counts(tables(request), request, counted(vox2_dev=(3, 10)), set(TEST), 0)
    with pytest.raises(DataError, match="other speakers"):
        check_counts(tables(request), request, counted(vox2_dev=(4, 12)), set(TEST), 0)


def test_parts_that_no_list_tells_apart_are_counted_together(caplog: pytest.LogCaptureFixture) -> None:
    request = make_request(["vox2_dev"], ["vox1_e"])
    with caplog.at_level(logging.INFO, "ham"):
        check_counts(tables(request), request, MINI, set(), 0)
    assert caplog.messages[0] == "vox1_dev + vox1_test: 5 speakers, 20 utterances"
    only_test = make_request(["vox2_dev"], ["vox1_o"])
    check_counts(tables(only_test), only_test, MINI, set(TEST), 0)
    check_counts(tables(only_test, 3), only_test, replace(MINI, sets={}), set(TEST), 0)


def test_a_trial_list_is_counted(tmp_path: Path) -> None:
    entry = TrialListFile("veri_test2.txt", "Vox1-O (cleaned)", 1, 2, "0" * 32)
    with pytest.raises(DataError, match=r"veri_test2.txt: expected the trial list vox1_o_clean \(Vox1-O"):
        read_list(tmp_path, "vox1_o_clean", entry)
    a, b = paths("id10270")[0], paths("id10309")[0]
    lines = [f"1 {a} {a}", f"0 {a} {b}", f"0 {b} {a}"]
    (tmp_path / entry.name).write_text("\r\n".join(lines) + "\r\n")
    assert read_list(tmp_path, "vox1_o_clean", entry) == lines
    assert listed_speakers(lines) == {"id10270", "id10309"}
    (tmp_path / entry.name).write_text("\n".join(lines[:2]) + "\n")
    with pytest.raises(DataError, match=r"expected 3 trials of .*, 1 of them targets, found 2 and 1; fetch it again"):
        read_list(tmp_path, "vox1_o_clean", entry)
