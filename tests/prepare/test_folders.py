"""Trees of folders: how lists name their files, which ids come out, and what is no such tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from ham.errors import DataError
from ham.prepare.folders import read_files_table, read_tree, read_wav, without_audio


def touch(folder: Path, *files: str) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return folder


def test_a_session_is_the_folder_or_the_file(tmp_path: Path) -> None:
    found = read_wav(touch(tmp_path / "a", "wav/s/x/1.wav", "wav/t/x/1.wav")).utts
    assert found["s/x/1.wav"][:4] == (f"{tmp_path}/a/wav/s/x/1.wav", "s", "x", ("x", "1"))
    for speech in (
        read_wav(touch(tmp_path / "b", "wav/s/1.a.wav", "wav/t/1.wav")),
        read_tree(touch(tmp_path / "c", "s/1.a.wav", "t/1.wav")),
    ):
        assert [utt[1:4] for utt in speech.utts.values()] == [("s", "1.a", ("1.a",)), ("t", "1", ("1",))]
        assert list(speech.utts) == ["s/1.a.wav", "t/1.wav"]
        assert not speech.are_paths_sessions


def test_librispeech_is_known_by_its_names_below_any_parts(tmp_path: Path) -> None:
    root = touch(tmp_path / "L", "dev-clean/84/121/84-121-0001.flac", "train-clean-100/19/198/19-198-0000.flac")
    (root / "SPEAKERS.TXT").write_text(";ID |SEX| ...\n19  | F | train-clean-100 | 25 | x\n84 | M | dev-clean\n")
    speech = read_tree(root)
    assert [utt[1:4] for utt in speech.utts.values()] == [
        ("84", "121", ("121", "84-121-0001")),
        ("19", "198", ("198", "19-198-0000")),
    ]
    assert "LibriSpeech" in speech.layout
    assert speech.sexes == {"19": "f", "84": "m"}
    assert "LibriSpeech" in read_tree(root / "dev-clean").layout
    assert read_tree(root / "dev-clean").sexes == {"19": "f", "84": "m"}
    assert "LibriSpeech" not in read_tree(touch(tmp_path / "M", "84/121/84-122-0001.flac", "85/121/1.wav")).layout


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (("a/1.wav", "a/x/2.wav", "b/x/1.wav"), "found 1 with 1 folder above ('a/1.wav') and 2 with 2 folders above"),
        (("1.wav", "a/1.wav"), "found 1 with 0 folders above ('1.wav') and 1 with 1 folder above"),
        (("1.wav", "2.wav"), "found 2 with 0 folders above ('1.wav')"),
        (("a/x/y/1.wav", "b/x/y/1.wav"), "2 with 3 folders above ('a/x/y/1.wav'); move them so that all lie alike"),
        (("train/a/1.wav", "test/b/1.wav"), "found parts of a corpus, 'test' and 'train'; give each as a root"),
        (("dev-clean/a/1.wav", "train-other/b/1.wav"), "parts of a corpus"),
        (("Train/1.wav", "Valid/2.wav"), "parts of a corpus"),
        (("audio/a/1.wav", "audio/b/1.wav"), "found only 'audio'; if its folders are the speakers, give"),
        (("notes.txt",), "found no audio file"),
        ((), "found no audio file"),
    ],
)
def test_what_is_no_tree_of_speakers(files: tuple[str, ...], words: str, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    with pytest.raises(DataError) as caught:
        read_tree(touch(tmp_path / "r", *files))
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"{tmp_path}/r: ")


@pytest.mark.parametrize("files", [("1.wav",), ("a/x/y/1.wav",), ("a/1.wav", "b/x/1.wav")])
def test_what_does_not_lie_alike_in_wav(files: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"/r/wav: expected all files as <speaker>/<file> or all as <speaker>/<session>"
    ):
        read_wav(touch(tmp_path / "r", *(f"wav/{file}" for file in files)))


def test_folders_without_audio(tmp_path: Path) -> None:
    root = touch(tmp_path / "r", "wav/a/x/1.wav", "wav/b/x/notes.txt", "wav/.c/1.wav", "wav/README", "trials/t.txt")
    (root / "wav/trials").mkdir()
    assert without_audio(root, read_wav(root)) == ["b", "trials"]
    tree = touch(tmp_path / "t", "a/1.wav", "b/1.txt", "trials/t.txt", "enrol/t.txt", "splits/train_list.txt")
    assert without_audio(tree, read_tree(tree)) == ["b"]
    (tree / "files.tsv").write_text("a/x/1.wav\ta/1.wav\n")
    assert without_audio(tree, read_files_table(tree)) == []
