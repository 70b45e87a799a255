"""What is written is read back; every broken rule is found, with its file, line and cure."""

from __future__ import annotations

import gc
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ham.data.kaldi_dir import (
    FILES,
    STAGE,
    DataDir,
    Segment,
    all_models,
    invert,
    read_data_dir,
    remove_data_dir,
    trial_dirs,
    write_data_dir,
)
from ham.data.ownership import mark_name
from ham.data.text_lines import read_lines
from ham.data.trials import Trials
from ham.errors import DataError

UTT2SPK = {"b-s1-x": "b", "a-s1-x": "a", "a-s2-y": "a", "é-s1-x": "é"}
WAV = {utt: Path(f"/data/with space/{utt}.wav") for utt in UTT2SPK}
UTT2DUR = {utt: 1.5 + number / 16000 for number, utt in enumerate(UTT2SPK)}
TRIALS = Trials(("b-s1-x", "a-s1-x", "b-s1-x"), ("a-s1-x", "a-s2-y", "a-s1-x"), np.array([0, 1, 0], np.int8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_data_dir(tmp_path / "dir", WAV, UTT2SPK, UTT2DUR, TRIALS)
    return tmp_path / "dir"


def problem(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_data_dir(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_files_are_those_of_kaldi(folder: Path) -> None:
    texts = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert texts.pop(mark_name(STAGE)).startswith("dir\n")
    assert texts == {
        "wav.scp": "".join(f"{utt} /data/with space/{utt}.wav\n" for utt in sorted(UTT2SPK)),
        "utt2spk": "a-s1-x a\na-s2-y a\nb-s1-x b\né-s1-x é\n",
        "spk2utt": "a a-s1-x a-s2-y\nb b-s1-x\né é-s1-x\n",
        "utt2dur": "a-s1-x 1.500063\na-s2-y 1.500125\nb-s1-x 1.500000\né-s1-x 1.500188\n",
        "trials": "b-s1-x a-s1-x nontarget\na-s1-x a-s2-y target\nb-s1-x a-s1-x nontarget\n",
    }


def test_what_was_written_is_read(folder: Path) -> None:
    read = read_data_dir(folder)
    assert (read.path, read.wav, read.utt2spk) == (folder, WAV, UTT2SPK)
    assert list(read.wav) == list(read.utt2spk) == list(read.utt2dur) == sorted(UTT2SPK)
    assert {utt: round(dur * 16000) for utt, dur in read.utt2dur.items()} == {
        utt: round(dur * 16000) for utt, dur in UTT2DUR.items()
    }
    assert read.spk2utt == invert(UTT2SPK) == {"a": ["a-s1-x", "a-s2-y"], "b": ["b-s1-x"], "é": ["é-s1-x"]}
    assert read.trials is not None
    assert (read.trials.enrol, read.trials.test) == (TRIALS.enrol, TRIALS.test)
    assert read.trials.labels.dtype == np.int8
    assert (len(read.trials), read.trials.num_target, read.trials.num_nontarget) == (3, 1, 2)


def test_a_directory_without_trials_has_none(folder: Path) -> None:
    written = write_data_dir(folder, WAV, UTT2SPK, UTT2DUR)
    assert isinstance(written, DataDir)
    assert written.trials is None
    assert {path.name for path in folder.iterdir()} == {*FILES[:4], mark_name(STAGE)}


def test_windows_line_ends_marks_and_empty_last_lines_are_dropped(folder: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert read_data_dir(folder).wav == WAV


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("utt2spk", "b-s1-x b", "b-s1-x b c", "utt2spk:3: expected '<utt> <spk>', found 3 fields: 'b-s1-x b c'"),
        ("utt2spk", "b-s1-x b\n", "\n", "utt2spk:3: expected '<utt> <spk>', found 0 fields: ''"),
        ("utt2spk", "b-s1-x b", "b-s1-x c", "utt2spk:3: expected an utterance that begins with its speaker 'c'"),
        ("utt2spk", "b-s1-x b\n", "b-s1-x b\nb-s1-x b\n", "utt2spk:4: expected one line for 'b-s1-x'"),
        ("utt2spk", "a-s2-y", "a-r2-y", "utt2spk:2: expected C order, found 'a-r2-y' after 'a-s1-x'; sort it"),
        ("utt2spk", "é-s1-x é\n", "", "wav.scp:4: 'é-s1-x' is not in utt2spk"),
        ("wav.scp", "b-s1-x", "b-s9-x", "wav.scp:3: 'b-s9-x' is not in utt2spk"),
        ("utt2dur", "b-s1-x 1.500000\n", "", "utt2dur: no line for 'b-s1-x' of utt2spk"),
        ("utt2dur", "1.500000", "0", "utt2dur:3: expected seconds above 0, found '0'"),
        ("utt2dur", "1.500000", "-1", "utt2dur:3: expected seconds above 0, found '-1'"),
        ("utt2dur", "1.500000", "nan", "utt2dur:3: expected seconds above 0, found 'nan'"),
        ("utt2dur", "1.500000", "inf", "utt2dur:3: expected seconds above 0, found 'inf'"),
        ("utt2dur", "1.500000", "long", "utt2dur:3: expected seconds above 0, found 'long'"),
        ("wav.scp", "/data/with space/b-s1-x.wav", "sox b.wav -t wav - |", "wav.scp:3: expected the path"),
        ("spk2utt", "a a-s1-x a-s2-y", "a a-s2-y a-s1-x", "spk2utt:1: expected what utt2spk says"),
        ("spk2utt", "b b-s1-x\n", "", "spk2utt:2: expected what utt2spk says, 'b b-s1-x', found 'é é-s1-x'"),
        ("spk2utt", "b b-s1-x\n", "b b-s1-x\nc c-1\n", "spk2utt:3: expected what utt2spk says, 'é é-s1-x'"),
        ("trials", "a-s2-y target", "a-s2-y", "trials:2: expected '<enrol> <test> target|nontarget', found"),
        ("trials", "a-s2-y target", "a-s2-y 1", "trials:2: expected '<enrol> <test> target|nontarget', found"),
        ("trials", "a-s2-y target", "a-s9-y target", "trials:2: expected utterances of utt2spk, found 'a-s1-x a-s9"),
        ("trials", "target\n", "target\nb-s1-x a-s1-x target\n", "trials:2: 'b-s1-x' and 'a-s1-x' have the other"),
        ("trials", "target\n", "target\na-s1-x b-s1-x target\n", "trials:2: 'a-s1-x' and 'b-s1-x' have the other"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_found_with_its_place(name: str, old: str, new: str, expected: str, folder: Path) -> None:
    edit(folder / name, old, new)
    assert f"{folder}/{expected}" in problem(folder)


def test_a_pipe_gets_its_cure(folder: Path) -> None:
    edit(folder / "wav.scp", "b-s1-x.wav", "b-s1-x.sph | ")
    assert "found a pipe" in problem(folder)
    assert "keep the output in a file" in problem(folder)


def test_problems_are_counted_and_five_shown(folder: Path) -> None:
    (folder / "utt2spk").write_text("".join(f"b{number} a\n" for number in range(7)))
    found = problem(folder)
    assert found.startswith("7 problems: ")
    assert found.count("begins with its speaker") == 5
    assert found.endswith("and 2 more")


@pytest.mark.parametrize("name", FILES[:4])
def test_missing_and_empty_files_are_named(name: str, folder: Path) -> None:
    (folder / name).write_text("")
    assert name in problem(folder)
    (folder / name).unlink()
    assert f"found no {name}; prepare it again" in problem(folder)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    assert "no such data directory" in problem(tmp_path / "none")


def test_other_encodings_are_named_with_the_line(folder: Path) -> None:
    (folder / "utt2spk").write_bytes("a-1 a\né-1 é\n".encode("latin-1"))
    found = problem(folder)
    assert f"{folder}/utt2spk:2: expected UTF-8, found byte 0xe9" in found
    assert "iconv" in found
    with pytest.raises(DataError, match="no such file"):
        read_lines(folder / "none")


def test_a_line_that_is_very_long_is_not_repeated_whole(folder: Path) -> None:
    for name in FILES[:4]:
        before = (folder / name).read_text()
        for text in ("x" * 1_000_000, "x y " * 250_000):
            (folder / name).write_text(before.replace("b-s1-x", text, 1))
            assert len(problem(folder)) < 1500
        (folder / name).write_text(before)
    (folder / "trials").write_text("x" * 1_000_000)
    assert len(problem(folder)) < 1000
    (folder / "trials").write_text("x" * 1_000_000 + " b-s1-x target")
    assert len(problem(folder)) < 1000


def test_notes_are_kept(folder: Path) -> None:
    noted = replace(TRIALS, notes=("all trials enrol one speaker", "few: 3"))
    write_data_dir(folder, WAV, UTT2SPK, UTT2DUR, noted)
    read = read_data_dir(folder).trials
    assert read is not None
    assert read.notes == noted.notes
    write_data_dir(folder, WAV, UTT2SPK, UTT2DUR, TRIALS)
    assert not (folder / "notes").exists()


def test_speakers_must_be_in_order_too(tmp_path: Path) -> None:
    utt2spk = {"a+b-1": "a+b", "a-1": "a"}  # 'a+b-1' comes before 'a-1', but 'a' before 'a+b'
    wav, utt2dur = {utt: Path("/a.wav") for utt in utt2spk}, dict.fromkeys(utt2spk, 1.0)
    with pytest.raises(DataError, match=r"utt2spk:2: expected speakers in C order too, found 'a' after 'a\+b'; rename"):
        write_data_dir(tmp_path / "dir", wav, utt2spk, utt2dur)
    assert not list(tmp_path.iterdir())


def test_one_kind_of_trials_is_read(folder: Path) -> None:
    edit(folder / "trials", "a-s1-x a-s2-y target\n", "")
    read = read_data_dir(folder).trials
    assert read is not None
    assert (read.one_kind, read.num_target, TRIALS.one_kind) == (True, 0, False)


def test_invalid_content_leaves_the_old_directory(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(DataError, match="begins with its speaker"):
        write_data_dir(folder, WAV, {**UTT2SPK, "a-s1-x": "z"}, UTT2DUR)
    with pytest.raises(DataError, match="found 3 fields"):
        write_data_dir(folder, {"a b": Path("x")}, {"a b": "a"}, {"a b": 1.0})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["dir"]


def test_leftovers_of_an_interrupted_run_do_no_harm(folder: Path) -> None:
    (folder.parent / ".dir.part" / "deep").mkdir(parents=True)
    (folder.parent / ".dir.old").mkdir()
    write_data_dir(folder, WAV, UTT2SPK, UTT2DUR)
    assert [path.name for path in folder.parent.iterdir()] == ["dir"]


def test_foreign_files_are_never_deleted(folder: Path, tmp_path: Path) -> None:
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"also holds 'thesis\.tex'; move it away"):
        write_data_dir(folder, WAV, UTT2SPK, UTT2DUR)
    with pytest.raises(DataError, match=r"thesis\.tex"):
        remove_data_dir(folder)
    assert (folder / "thesis.tex").exists()
    with pytest.raises(DataError, match="it is a file"):
        write_data_dir(folder / "thesis.tex", WAV, UTT2SPK, UTT2DUR)


def test_a_linked_directory_is_written_where_it_points(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    write_data_dir(tmp_path / "link", WAV, UTT2SPK, UTT2DUR)
    assert (tmp_path / "link").is_symlink()
    assert not (folder / "trials").exists()
    remove_data_dir(tmp_path / "link")
    assert not folder.exists()
    remove_data_dir(tmp_path / "nowhere")


def test_reading_is_fast_and_leaves_the_collector_on(tmp_path: Path) -> None:
    utts = [f"s{number % 1000:04d}-x-{number:06d}" for number in range(50_000)]
    write_data_dir(
        tmp_path / "dir",
        dict.fromkeys(utts, Path("/a/b.wav")),
        {utt: utt[:5] for utt in utts},
        dict.fromkeys(utts, 1.0),
    )
    start = time.process_time()
    assert len(read_data_dir(tmp_path / "dir").spk2utt) == 1000
    assert time.process_time() - start < 2.0  # about 0.3 s: a million utterances in a few seconds
    assert gc.isenabled()


def test_trial_dirs_are_found_and_hidden_ones_are_not(tmp_path: Path) -> None:
    for name in ("b/two", "a/one", "a/.one.new", ".old/x", "a/no_trials"):
        (tmp_path / name).mkdir(parents=True)
        if name != "a/no_trials":
            (tmp_path / name / "trials").touch()
    assert trial_dirs(tmp_path) == [tmp_path / "a/one", tmp_path / "b/two"]
    with pytest.raises(DataError, match="found none; prepare the data"):
        trial_dirs(tmp_path / "none")


MODELS = {"a": ("a-s1-x", "a-s2-y"), "bob": ("b-s1-x",)}
WITH_MODELS = Trials(("bob", "a", "b-s1-x"), ("a-s1-x", "a-s2-y", "a-s1-x"), np.array([0, 1, 0], np.int8), MODELS)


@pytest.fixture
def enrolled(tmp_path: Path) -> Path:
    write_data_dir(tmp_path / "test/root/list", WAV, UTT2SPK, UTT2DUR, WITH_MODELS)
    return tmp_path / "test/root/list"


def test_models_are_written_and_read(enrolled: Path) -> None:
    assert (enrolled / "enrol").read_text() == "a a-s1-x a-s2-y\nbob b-s1-x\n"
    read = read_data_dir(enrolled).trials
    assert read is not None
    assert (read.enrol, read.models) == (WITH_MODELS.enrol, MODELS)
    assert read.utts == {"a-s1-x", "a-s2-y", "b-s1-x"}
    assert all_models(enrolled.parents[1]) == MODELS
    assert remove_data_dir(enrolled) is None


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("enrol", "bob b-s1-x", "bob", "enrol:2: expected '<model> <utt> [<utt> ...]', found 'bob' alone"),
        ("enrol", "bob b-s1-x", "bob b-s9-x", "enrol:2: expected utterances of utt2spk, found 'b-s9-x'"),
        ("enrol", "bob b-s1-x", "b-s1-x b-s1-x", "the model 'b-s1-x' has the name of an utterance"),
        ("enrol", "bob b-s1-x", "bob b-s1-x b-s1-x", "names a recording twice"),
        ("enrol", "bob b-s1-x", "bob b-s1-x a-s1-x", "expected recordings of one speaker"),
        ("enrol", "bob b-s1-x", "a b-s1-x", "expected one line for 'a', found a second one"),
        ("enrol", "bob b-s1-x", "Bob b-s1-x", "expected C order, found 'Bob' after 'a'"),
        ("enrol", "bob b-s1-x", "\nbob b-s1-x", "enrol:2: expected a model, found an empty line"),
        ("trials", "bob a-s1-x", "eve a-s1-x", "(or, on the left, models of enrol), found 'eve a-s1-x'"),
        ("trials", "bob a-s1-x", "a-s1-x bob", "trials:1: expected utterances of utt2spk"),
    ],
)
def test_broken_rules_of_models_are_found(name: str, old: str, new: str, words: str, enrolled: Path) -> None:
    edit(enrolled / name, old, new)
    assert words in problem(enrolled)


def test_models_without_trials_and_two_of_one_name_are_refused(enrolled: Path) -> None:
    other = Trials(("a", "bob"), ("a-s1-x", "a-s1-x"), np.array([1, 0], np.int8), {**MODELS, "a": ("a-s1-x",)})
    write_data_dir(enrolled.with_name("other"), WAV, UTT2SPK, UTT2DUR, other)
    with pytest.raises(DataError, match="'a' has other recordings in another list"):
        all_models(enrolled.parents[1])
    (enrolled / "trials").unlink()
    assert "expected trials of these models" in problem(enrolled)


def test_paths_are_a_mapping_that_equals_a_dict(folder: Path) -> None:
    wav, plain = read_data_dir(folder).wav, dict(WAV)
    assert wav == plain
    assert plain == wav
    assert wav["a-s1-x"] == WAV["a-s1-x"]
    assert "none" not in wav
    assert (dict(wav), len(wav), list(wav.values())) == (WAV, 4, [WAV[utt] for utt in sorted(WAV)])


def test_the_strings_of_a_directory_are_shared(folder: Path) -> None:
    data = read_data_dir(folder)
    for table in (data.wav, data.utt2dur):
        assert all(mine is its for mine, its in zip(table, data.utt2spk, strict=True))
    assert data.utt2spk["a-s1-x"] is data.utt2spk["a-s2-y"]


@pytest.fixture
def segmented(tmp_path: Path) -> Path:
    """Two utterances of one recording and one that is a recording of its own; sessions are named."""
    wav = {"a-1": Path("/x/long.wav"), "a-2": Path("/x/own.wav"), "b-1": Path("/x/long.wav")}
    parts = {"b-1": Segment(0.5, 1.25), "a-1": Segment(2, 3.000063), "a-2": Segment(0, 1)}
    spk, dur = {utt: utt[0] for utt in wav}, dict.fromkeys(wav, 1.0)
    read = write_data_dir(tmp_path / "s", wav, spk, dur, segments=parts, sessions=dict.fromkeys(wav, "x"))
    assert (read.wav, read.segments, read.sessions) == (wav, parts, dict.fromkeys(wav, "x"))
    return tmp_path / "s"


def test_segments_are_those_of_kaldi(segmented: Path) -> None:
    texts = {name: (segmented / name).read_text() for name in ("wav.scp", "segments", "utt2session")}
    assert texts == {
        "wav.scp": "a-1 /x/long.wav\na-2 /x/own.wav\n",
        "segments": "a-1 a-1 2.000000 3.000063\na-2 a-2 0.000000 1.000000\nb-1 a-1 0.500000 1.250000\n",
        "utt2session": "a-1 x\na-2 x\nb-1 x\n",
    }


@pytest.mark.parametrize(
    ("name", "old", "new", "expected"),
    [
        ("segments", "2.000000 3.000063", "2.000000", "segments:1: expected '<recording> <start> <end>'"),
        ("segments", "0.500000", "1.500000", "segments:3: expected '<recording> <start> <end>' with 0 <= start < end"),
        ("segments", "0.500000", "-1", "segments:3: expected '<recording>"),
        ("segments", "1.250000", "inf", "segments:3: expected '<recording>"),
        ("segments", "a-2 a-2 0.000000 1.000000\n", "", "segments: no line for 'a-2' of utt2spk"),
        ("segments", "a-2 a-2", "a-2 a-3", "segments: expected the recordings of wav.scp, 'a-2' is in one of both"),
        ("wav.scp", "a-2 /x/own.wav\n", "", "segments: expected the recordings of wav.scp, 'a-2'"),
        ("utt2session", "a-2 x\n", "", "utt2session: no line for 'a-2'"),
        ("utt2session", "a-2 x", "a-2 x y", "utt2session:2: expected '<utt> <session>', found 3 fields"),
    ],
)
def test_a_broken_rule_of_segments_is_found(name: str, old: str, new: str, expected: str, segmented: Path) -> None:
    edit(segmented / name, old, new)
    assert f"{segmented}/{expected}" in problem(segmented)
