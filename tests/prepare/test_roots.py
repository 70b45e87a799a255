"""Scanning a folder of speech and reading its lists: ids, and every way in which a layout can be wrong."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from ham.data.names import plain_word
from ham.errors import DataError
from ham.prepare.roots import (
    Root,
    clashes,
    open_root,
    read_sexes,
    read_train_list,
    write_root,
)
from ham.prepare.trial_list import read_trial_list

FILES = ("a/x/1.wav", "a/x/2.FLAC", "a/y/1.ogg", "b/x/1.wav", "b/x/1.2.wav")


def make_root(path: Path, files: tuple[str, ...] = FILES) -> Path:
    """Empty files: nothing here opens audio."""
    for file in files:
        (path / "wav" / file).parent.mkdir(parents=True, exist_ok=True)
        (path / "wav" / file).touch()
    return path


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return open_root(make_root(tmp_path / "corpus"))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def problem(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        open_root(path)
    return str(caught.value)


def test_ids_hold_root_speaker_session_and_stem(root: Root) -> None:
    assert root.name == "corpus"
    assert root.utts == {
        "a/x/1.wav": "corpus-a-x-1",
        "a/x/2.FLAC": "corpus-a-x-2",
        "a/y/1.ogg": "corpus-a-y-1",
        "b/x/1.2.wav": "corpus-b-x-1.2",
        "b/x/1.wav": "corpus-b-x-1",
    }
    assert list(root.utts) == sorted(root.utts)
    assert root.speakers == {"a": "corpus-a", "b": "corpus-b"}
    assert all(utt.startswith(root.speakers[root.speaker(path)]) for path, utt in root.utts.items())


def test_white_space_becomes_an_underscore(tmp_path: Path) -> None:
    root = open_root(make_root(tmp_path / "my corpus", ("Ann Lee/day 1/take  2.wav", "Bo/x/1.wav")))
    assert root.utts["Ann Lee/day 1/take  2.wav"] == "my_corpus-Ann_Lee-day_1-take_2"
    assert root.speakers == {"Ann Lee": "my_corpus-Ann_Lee", "Bo": "my_corpus-Bo"}
    assert [plain_word(name) for name in ("a b", " a\tb\u3000c ", "  ", "é")] == ["a_b", "a_b_c", "_", "é"]


def test_hidden_and_other_files_are_left_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = (*FILES, "a/x/._1.wav", ".cache/x/1.wav", "a/x/1.txt", "README", "a/x/notes.TXT")
    with caplog.at_level(logging.INFO, "ham"):
        assert set(open_root(make_root(tmp_path / "r", files)).utts) == set(FILES)
    assert caplog.messages == [
        f"{tmp_path}/r/wav: files that are not audio are left aside: 2 of .txt, 1 of no extension",
        f"{tmp_path}/r: layout: wav/<speaker>/<session>/<file>, folders are sessions, 2 speakers",
    ]


def test_linked_speakers_are_followed(root: Root, tmp_path: Path) -> None:
    (tmp_path / "other/wav").mkdir(parents=True)
    (tmp_path / "other/wav/c").symlink_to(root.path / "wav/a")
    assert "other-c-x-1" in open_root(tmp_path / "other").utts.values()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("a/x/1.mp3",), ["/wav/a/x/1.mp3: expected .wav, .flac, .ogg, .m4a, found .mp3", "ffmpeg"]),
        (tuple(f"a/{n}.mp3" for n in range(7)), ["7 problems", "and 2 more"]),
        (("a/x/1.wav", "a/x/1.flac"), ["'a/x/1.flac' and 'a/x/1.wav' would both be utterance 'r-a-x-1'"]),
        (("a/x/1.wav", "a/x/1.WAV"), ["would both be utterance"]),
        (("a/b-c/1.wav", "a/b/c-1.wav"), ["would both be utterance 'r-a-b-c-1'"]),
        (("a b/x/1.wav", "a_b/x/2.wav"), ["'a b' and 'a_b' would both be speaker 'r-a_b'"]),
        (("a/x/1.txt",), ["found no audio file"]),
        (("a/x/b\nc.wav",), ["without line ends"]),
    ],
)
def test_wrong_layouts_are_refused(files: tuple[str, ...], words: list[str], tmp_path: Path) -> None:
    found = problem(make_root(tmp_path / "r", files))
    assert all(word in found for word in words)
    assert "\n" not in found


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    make_root(tmp_path / "r", (os.fsdecode(b"a/x/\xe9.wav"), "é/x/ü.wav"))
    assert "/wav/'a/x/\\udce9.wav': expected a name in UTF-8" in problem(tmp_path / "r")


def test_the_folder_wav_is_no_root(tmp_path: Path) -> None:
    make_root(tmp_path / "s")
    assert f"give its parent, {tmp_path}/s" in problem(tmp_path / "s/wav")


def test_the_training_list_is_read(root: Root) -> None:
    write(root.train_list, "b b/x/1.wav\r\na\ta/y/1.ogg\n\n")
    assert read_train_list(root) == ["b/x/1.wav", "a/y/1.ogg"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a a/x/1.wav\na\n", ":2: expected '<speaker> <path>', found 'a'"),
        ("a a/x/9.wav\n", ":1: expected a file below"),
        ("b a/x/1.wav\n", ":1: expected the speaker of 'a/x/1.wav', 'a', found 'b'"),
        ("a a/x/1.wav\na a/x/1.wav\n", ":2: 'a/x/1.wav' is in line 1 too"),
        ("", "is empty"),
        ("a a/x/9.wav\n" * 8, "8 problems: "),
    ],
)
def test_wrong_training_lists_are_refused(text: str, words: str, root: Root) -> None:
    write(root.train_list, text)
    with pytest.raises(DataError) as caught:
        read_train_list(root)
    assert f"{root.train_list}" in str(caught.value)
    assert words in str(caught.value)


def test_trial_lists_are_the_text_files(root: Root) -> None:
    assert root.trial_lists == []
    for name in ("b.txt", "a.txt", "._a.txt", "notes.md"):
        write(root.path / "trials" / name, "")
    assert [path.name for path in root.trial_lists] == ["a.txt", "b.txt"]


def test_sexes_come_from_either_column(tmp_path: Path) -> None:
    path = tmp_path / "speakers.tsv"
    assert read_sexes(path) == {}
    write(path, "speaker\tage\tsex_estimated\nann\t7\tF\nbo\t8\t m \ncy\t9\t\ndi\t3\t?\n")
    assert read_sexes(path) == {"ann": "f", "bo": "m"}
    write(path, "sex\tsex_estimated\tspeaker\nf\tm\tann\n")
    assert read_sexes(path) == {"ann": "f"}
    for text in ("", "speaker\tage\nann\t7\n", "name\tsex\nann\tf\n"):
        write(path, text)
        assert read_sexes(path) == {}
    write(path, "speaker\tsex\nann\tf\nbo\n")
    with pytest.raises(DataError, match=r"speakers\.tsv:3: expected 2 columns like the heading, found 1"):
        read_sexes(path)


def test_clashes_name_the_first_and_each_later_one() -> None:
    assert list(clashes(["aa", "b", "ac", "ad"], lambda word: word[0])) == [("aa", "ac"), ("aa", "ad")]


def test_a_table_takes_the_place_of_wav(root: Root, tmp_path: Path) -> None:
    files = {"b/x/1.wav": "/far/one.flac", "a/x/2.wav": "near/two.m4a"}
    write_root(tmp_path / "corpus2", files, {"trials/t.txt": ["0 a/x/2.wav b/x/1.wav"]})
    table = open_root(tmp_path / "corpus2")
    assert table.utts == {"a/x/2.wav": "corpus2-a-x-2", "b/x/1.wav": "corpus2-b-x-1"}
    assert list(table.utts) == sorted(table.utts)
    assert table.speech.utts["b/x/1.wav"].file == "/far/one.flac"
    assert Path(table.speech.utts["a/x/2.wav"].file) == tmp_path / "corpus2/near/two.m4a"
    assert Path(root.speech.utts["a/x/1.wav"].file) == root.path / "wav/a/x/1.wav"
    assert read_trial_list(table, table.trial_lists[0]).num_nontarget == 1
    write_root(tmp_path / "corpus2", {"a/x/3.wav": "/far/3.wav"}, {})
    assert list(open_root(tmp_path / "corpus2").utts) == ["a/x/3.wav"]
    assert not (tmp_path / "corpus2/trials").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("name", "words"), [("trials/own.txt", "also holds 'trials/own"), ("files.tsv", "was changed")]
)
def test_a_root_in_which_somebody_worked_is_not_replaced(name: str, words: str, tmp_path: Path) -> None:
    made = tmp_path / "made"
    write_root(made, {"a/x/1.wav": "/a"}, {"trials/t.txt": ["0 a/x/1.wav a/x/1.wav"]})
    write(made / name, "b/x/1.wav\t/b\n")
    with pytest.raises(DataError, match=rf"{words}.*; move it away"):
        write_root(made, {"a/x/1.wav": "/a"}, {})
    assert (made / name).read_text() == "b/x/1.wav\t/b\n"
    assert (made / "trials/t.txt").exists()


def test_nothing_else_is_replaced_by_a_root_with_a_table(root: Root) -> None:
    with pytest.raises(DataError, match=r"lacks the mark \.made_by_stage_1; move it away"):
        write_root(root.path, {"a/x/1.wav": "/a"}, {})
    assert len(open_root(root.path).utts) == len(FILES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a/x/1.wav", "files.tsv:1: expected '<path><tab><file>', found 'a/x/1.wav'"),
        ("a/x/1.wav\t/a\na/x/1.wav\t/b", "files.tsv:2: 'a/x/1.wav' was there before"),
        ("a/1.wav\t/a", "found 1 folders above"),
        ("a/x/1.mp3\t/a", "found .mp3"),
        ("", "files.tsv: is empty"),
        ("a/x/1.wav\t/a\na/x/1.flac\t/b", "would both be utterance"),
    ],
)
def test_wrong_tables_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r/files.tsv").write_text(text)
    assert words in problem(tmp_path / "r")


def test_a_table_beside_wav_is_refused(root: Root) -> None:
    write(root.path / "files.tsv", "a/x/1.wav\t/a\n")
    assert "expected one layout, found files.tsv and wav; remove or move one of them" in problem(root.path)
