"""Every layout from made files through stage 2 to the written directories, and through stage 3 to the samples."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ham.bin.make_store import main as make_store
from ham.bin.prepare_data import main as prepare_data
from ham.cli import run
from ham.data.kaldi_dir import read_data_dir
from ham.data.store import ArrayStore, to_int16
from ham.errors import DataError
from ham.prepare.recognise import lists_folder, read_speech
from tests.layouts_of_speech import LAYOUTS, RATE, SPEAKERS, WITH_SEGMENTS, WITHOUT_SESSIONS, clips, kaldi, write

CONFIG = str(Path(__file__).parents[2] / "conf/mini.yaml")


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_reaches_the_store_sample_by_sample(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x/voices").mkdir(parents=True)
    root, data = LAYOUTS[name](tmp_path / "x/voices"), tmp_path / "data"
    assert run(prepare_data, ["--train_roots", str(root), "--data_dir", str(data)]) == 0
    said = capsys.readouterr().err
    assert said.count("layout: ") == 1
    assert "6 speakers" in said
    train = read_data_dir(data / "train")
    assert len(train.spk2utt) == len(SPEAKERS)
    assert sorted(map(len, train.spk2utt.values())) == [4] * 6
    assert bool(train.segments) == (name in WITH_SEGMENTS)
    for speaker, utts in train.spk2utt.items():
        sessions = {train.sessions[utt] if train.sessions else train.wav[utt].parent.name for utt in utts}
        assert len(sessions) == (4 if name in WITHOUT_SESSIONS else 2)
        assert speaker.endswith(SPEAKERS)
    assert run(make_store, ["--data_dir", str(data), "--config", CONFIG]) == 0
    store = ArrayStore(data / "store/train")
    packed = {len(samples): samples for samples in map(store.read, range(len(store)))}
    assert not (data / "store/test").exists()
    for clip in clips():
        utt = next(utt for utt, seconds in train.utt2dur.items() if round(seconds * RATE) == len(clip.samples))
        assert train.utt2spk[utt].endswith(clip.speaker)
        assert np.abs(packed[len(clip.samples)].astype(int) - to_int16(clip.samples)).max() <= 1


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_split_and_tested(name: str, tmp_path: Path) -> None:
    (tmp_path / "x/voices").mkdir(parents=True)
    root, data = str(LAYOUTS[name](tmp_path / "x/voices")), tmp_path / "data"
    assert run(prepare_data, ["--train_roots", root, "--test_roots", root, "--data_dir", str(data)]) == 0
    train = read_data_dir(data / "train")
    (folder,) = (path for path in data.glob("test/*/*") if path.name == "all")
    test = read_data_dir(folder)
    assert test.trials is not None
    assert len(test.spk2utt) == 2
    assert not train.spk2utt.keys() & test.spk2utt.keys()
    targets = [
        pair for *pair, label in zip(test.trials.enrol, test.trials.test, test.trials.labels, strict=True) if label
    ]
    sessions = test.sessions or {utt: file.parent.name for utt, file in test.wav.items()}
    assert all(sessions[enrol] != sessions[other] for enrol, other in targets)


def test_a_second_run_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("shards", "Kaldi with segments", "lhotse"):
        place = tmp_path / name
        place.mkdir()
        argv = ["--csv", str(LAYOUTS[name](place)), "--data_dir", str(tmp_path / "data")]
        assert run(prepare_data, argv) == 0
        assert "nothing has changed" not in capsys.readouterr().err
        assert run(prepare_data, argv) == 0
        assert "nothing has changed" in capsys.readouterr().err


def _beside(first: str, second: str) -> Callable[[Path], Path]:
    def _make(place: Path) -> Path:
        LAYOUTS[first](place)
        LAYOUTS[second](place)
        return place

    return _make


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_beside("wav with sessions", "Hugging Face"), "found metadata.csv and wav; remove or move one"),
        (_beside("wav with sessions", "Kaldi"), "found wav and wav.scp; remove or move one"),
        (_beside("Hugging Face", "raw.list"), "found metadata.csv and raw.list"),
        (_beside("lhotse", "Kaldi with segments"), "my_recordings_all.jsonl.gz and wav.scp"),
        (lambda place: write(place / "a/b/c/d.wav", clips()[0].samples).parents[3], "1 with 3 folders above"),
        (lambda place: write(place / "d.wav", clips()[0].samples), "found a binary file"),
        (lambda place: write(place / "d.wav", clips()[0].samples).parent, "1 with 0 folders above ('d.wav')"),
    ],
)
def test_what_cannot_be_told_is_refused(make: Callable[[Path], Path], words: str, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    with pytest.raises(DataError) as caught:
        read_speech(make(tmp_path / "r"))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_mark_stands_for_its_folder(tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    _beside("wav with sessions", "Kaldi with segments")(tmp_path / "r")
    assert "Kaldi" in read_speech(tmp_path / "r/wav.scp").layout
    assert lists_folder(tmp_path / "r/wav.scp") == lists_folder(tmp_path / "r") == tmp_path / "r"
    table = LAYOUTS["CSV"](tmp_path / "r")
    assert lists_folder(table) == tmp_path / "r/my"


def test_what_was_made_of_a_kaldi_directory_is_passed_over(tmp_path: Path) -> None:
    kaldi(tmp_path / "r")
    for name in ("raw.list", "shard.list"):
        (tmp_path / "r" / name).write_text("x\n")
    assert "Kaldi" in read_speech(tmp_path / "r").layout


@pytest.mark.parametrize("row", ["./ann-10-1.wav,bob", "../audio/ann-10-1.wav,ann"])
def test_the_same_audio_twice_is_refused(row: str, tmp_path: Path) -> None:
    table = LAYOUTS["CSV without a heading"](tmp_path)
    table.write_text(f"{table.read_text()}audio/{row}\n")
    with pytest.raises(DataError, match=r"my\.csv: 'audio/.*ann-10-1\.wav' and .* are the same audio, .*; remove one"):
        read_speech(table)


def test_folders_without_audio_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = LAYOUTS["flat"](tmp_path / "r")
    for name in ("gus", "trials", ".git"):
        (root / name).mkdir()
    with caplog.at_level(logging.INFO, "ham"):
        read_speech(root)
    assert caplog.messages[-1] == f"{root}: left aside without audio: 1 folder, gus"
