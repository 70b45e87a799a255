"""``ham embed``: every file by its name, against stage 5; bad files are counted, named and left out when asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import pytest

from ham.bin.embed import find_files
from ham.bin.front import main
from ham.embeddings.table import read_embeddings
from ham.errors import DataError
from tests.speaking import write_system, write_voice

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def exp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_system(tmp_path_factory.mktemp("embed"))


@pytest.fixture
def ask(exp: Path, capsys: pytest.CaptureFixture[str]) -> Ask:
    def asked(*words: Any) -> tuple[int, str, str]:
        status = main(["embed", "--model", str(exp), "--device", "cpu", *map(str, words)])
        return status, *capsys.readouterr()

    return asked


def test_a_folder_gives_the_embeddings_of_stage_5(exp: Path, ask: Ask, tmp_path: Path) -> None:
    status, out, _ = ask(exp.parent / "wav", "--out", tmp_path / "x.npz", "--batch_size", "4")
    found, expected = read_embeddings(tmp_path / "x.npz"), read_embeddings(exp / "embeddings.npz")
    assert (status, out) == (0, f"{tmp_path}/x.npz: {len(expected.utts)} files, 8 numbers each\n")
    assert found.utts == tuple(f"{utt}.wav" for utt in expected.utts)
    np.testing.assert_allclose(found.embeddings, expected.embeddings, atol=1e-5)


def test_kaldis_archive_holds_the_same(exp: Path, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ask(exp.parent / "wav", "--out", "new/x.ark")[0] == 0
    monkeypatch.chdir("/")
    expected = read_embeddings(exp / "embeddings.npz")
    rows = kaldiio.load_scp(str(tmp_path / "new/x.scp"))
    for utt, row in zip(expected.utts, expected.embeddings, strict=True):
        np.testing.assert_allclose(rows[f"{utt}.wav"], row, atol=1e-5)


def test_names_of_folders_lists_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("d/b.wav", "d/s/a.FLAC", "d/c d.mp3", "d/.hidden.wav", "d/notes.txt", "e/x.ogg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "list").write_text("d/c d.mp3\n\n/e/x.ogg\n")
    (tmp_path / "wav.scp").write_text("one d/b.wav\ntwo d/c d.mp3\n")
    assert find_files([Path("d")]) == {
        "b.wav": Path("d/b.wav"),
        "c d.mp3": Path("d/c d.mp3"),
        "s/a.FLAC": Path("d/s/a.FLAC"),
    }
    assert find_files([Path("list")]) == {"d/c d.mp3": Path("d/c d.mp3"), "/e/x.ogg": Path("/e/x.ogg")}
    assert find_files([Path("wav.scp")]) == {"one": Path("d/b.wav"), "two": Path("d/c d.mp3")}
    assert list(find_files([Path("e/x.ogg"), Path("d/b.wav")])) == ["e/x.ogg", "d/b.wav"]
    (tmp_path / "bad.scp").write_text("one sph2pipe -f wav a.sph |\n")
    (tmp_path / "empty").touch()
    (tmp_path / "none").mkdir()
    for inputs, words in (
        (["d", "d"], "expected each name once, found 3 names twice"),
        (["none"], "none: expected audio files"),
        (["empty"], "empty: expected audio files"),
        (["gone"], "gone: no such file"),
        (["bad.scp"], "bad.scp:1: expected '<utt> <path>'"),
    ):
        with pytest.raises(DataError) as caught:
            find_files([Path(one) for one in inputs])
        assert words in str(caught.value)


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    for number in range(3):
        write_voice(tmp_path / f"in/good{number}.wav", 1 + number)
    (tmp_path / "in/text.wav").write_text("no speech")
    (tmp_path / "in/cut.wav").write_bytes((tmp_path / "in/good1.wav").read_bytes()[:-100])
    return tmp_path / "in"


def test_bad_files_stop_it_before_anything_is_embedded(mixed: Path, ask: Ask, tmp_path: Path) -> None:
    status, out, err = ask(mixed, "--out", tmp_path / "x.npz")
    assert (status, out, err.count("\n")) == (2, "", 1)
    for words in ("2 problems", "text.wav: is not audio", "cut.wav: is truncated", "of 5 files; --skip_bad"):
        assert words in err
    assert not (tmp_path / "x.npz").exists()


def test_bad_files_are_left_out_when_asked_and_named(mixed: Path, ask: Ask, tmp_path: Path) -> None:
    status, out, err = ask(mixed, "--out", tmp_path / "x.npz", "--skip_bad", "--json")
    found = json.loads(out)
    assert (status, found["num_files"], found["embedding_dim"]) == (0, 3, 8)
    assert sorted(found["left_out"]) == ["cut.wav", "text.wav"]
    assert err.count("warning: left out: ") == 2
    assert read_embeddings(tmp_path / "x.npz").utts == ("good0.wav", "good1.wav", "good2.wav")
    status, _, err = ask(mixed / "text.wav", "--out", tmp_path / "y.npz", "--skip_bad")
    assert (status, (tmp_path / "y.npz").exists()) == (2, False)


def test_names_that_kaldi_cannot_hold_are_refused_before_anything_is_embedded(ask: Ask, tmp_path: Path) -> None:
    write_voice(tmp_path / "in/a b.wav")
    status, _, err = ask(tmp_path / "in", "--out", tmp_path / "x.ark")
    assert (status, err.count("\n")) == (2, 1)
    assert "Kaldi's names hold no white space, found 'a b.wav'" in err


@pytest.mark.parametrize("name", ["x.npy", "x", "x.wav"])
def test_an_unknown_format_is_refused_before_the_model_is_loaded(
    name: str, mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["embed", str(mixed), "--model", "nowhere", "--out", str(tmp_path / name)]) == 2
    assert "expected a name that ends in .npz" in capsys.readouterr().err
