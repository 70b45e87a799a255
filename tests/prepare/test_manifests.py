"""Kaldi's directories, lhotse's manifests and wespeaker's shards: what is read, and what is refused."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ham.data.speech import Span
from ham.errors import DataError
from ham.prepare.manifests import lhotse_pair, read_kaldi, read_lhotse, read_shards

Files = dict[str, str]

KALDI: Files = {
    "wav.scp": "t1 audio/b c.wav\ns-x-1 audio/a.wav\ns-x-2 audio/a.wav\ns9 audio/a.wav\n",
    "utt2spk": "s-x-1 s\ns-x-2 s\nt1 t\ns9 s\n",
}
SEGMENTS: Files = {"wav.scp": "r1 audio/a.wav\n", "utt2spk": "u1 s\nu2 t\n", "segments": "u1 r1 0 1.5\nu2 r1 2 -1\n"}


def directory(folder: Path, files: Files) -> Path:
    (folder / "audio").mkdir(parents=True)
    for name in ("a.wav", "b c.wav"):
        (folder / "audio" / name).touch()
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


def test_ids_stay_and_paths_may_hold_spaces(tmp_path: Path) -> None:
    speech = read_kaldi(directory(tmp_path / "d", KALDI))
    assert speech.has_own_ids
    assert list(speech.utts) == ["s-x-1", "s-x-2", "s9", "t1"]
    assert [(utt.session, utt.words) for utt in speech.utts.values()] == [
        ("x", ("s-x-1",)),
        ("x", ("s-x-2",)),
        ("9", ("s9",)),
        ("1", ("t1",)),
    ]
    assert speech.utts["t1"].file == f"{tmp_path}/d/audio/b c.wav"


def test_segments_are_parts_of_a_recording_which_is_a_session(tmp_path: Path) -> None:
    speech = read_kaldi(directory(tmp_path / "d", {**SEGMENTS, "spk2gender": "s f\nt m\n"}))
    assert [utt.span for utt in speech.utts.values()] == [Span(0, 1.5), Span(2, None)]
    assert [(utt.session, utt.words) for utt in speech.utts.values()] == [("r1", ("s-u1",)), ("r1", ("t-u2",))]
    assert (
        "in front of 2 ids without their speaker at the beginning it is written: 'u1' becomes 's-u1'" in speech.layout
    )
    assert speech.sexes == {"s": "f", "t": "m"}


@pytest.mark.parametrize(
    ("base", "name", "text", "words"),
    [
        (KALDI, "wav.scp", "", "wav.scp: is empty"),
        (KALDI, "wav.scp", "t1\n", "wav.scp:1: expected '<id> <path>', found 't1'"),
        (KALDI, "wav.scp", KALDI["wav.scp"] + "t1 a.wav\n", "wav.scp:5: 't1' was there before"),
        (KALDI, "wav.scp", "t1 a.wav\n", "utt2spk: 's-x-1' is not in wav.scp; Kaldi: `utils/fix_data_dir.sh"),
        (KALDI, "utt2spk", "t1 t\n", "3 problems: "),
        (KALDI, "utt2spk", KALDI["utt2spk"] + "x x x\n", "utt2spk:5: expected '<utt> <spk>', found 'x x x'"),
        (KALDI, "wav.scp", KALDI["wav.scp"].replace("audio/b c.wav", "sox a.wav -t wav - |"), "found a pipe"),
        (KALDI, "wav.scp", KALDI["wav.scp"].replace("audio/b c.wav", "flac -c -d -s /x/a.flac |"), "itself, /x/a.flac"),
        (KALDI, "wav.scp", KALDI["wav.scp"].replace("audio/b c.wav", "/x/raw.ark:17"), "found a Kaldi archive"),
        (KALDI, "wav.scp", KALDI["wav.scp"].replace("audio/b c.wav", "/x/a.sph"), "found .sph; convert it"),
        (KALDI, "wav.scp", KALDI["wav.scp"].replace("audio/", "elsewhere/"), "found no 'elsewhere/b c.wav'; write abs"),
        (SEGMENTS, "segments", "", "segments: is empty; list the segments, or remove it"),
        (SEGMENTS, "segments", "u1 r1 0\n", "segments:1: expected '<utt> <recording> <start> <end>'"),
        (SEGMENTS, "segments", "u1 r1 0 x\n", "found 'u1 r1 0 x'"),
        (SEGMENTS, "segments", "u1 r1 2 1\nu2 r1 0 1\n", "segments:1: expected 0 <= start < end"),
        (SEGMENTS, "segments", "u1 r1 -1 1\nu2 r1 0 1\n", "expected 0 <= start"),
        (SEGMENTS, "segments", "u1 r1 0 nan\nu2 r1 0 1\n", "expected 0 <= start"),
        (SEGMENTS, "segments", "u1 r2 0 1\nu2 r1 0 1\n", "segments:1: 'r2' is not in wav.scp"),
        (SEGMENTS, "segments", SEGMENTS["segments"] + "u1 r1 0 1\n", "segments:3: 'u1' was there before"),
        (SEGMENTS, "segments", "u1 r1 0 1\n", "utt2spk: 'u2' is not in segments"),
        (SEGMENTS, "utt2spk", "u1 s\n", "segments: 'u2' is not in utt2spk"),
    ],
)
def test_wrong_directories_are_refused(base: Files, name: str, text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_kaldi(directory(tmp_path / "d", {**base, name: text}))
    assert words in str(caught.value)
    assert str(tmp_path / "d") in str(caught.value)


def test_a_directory_without_utt2spk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found no utt2spk; write its lines"):
        read_kaldi(directory(tmp_path / "d", {"wav.scp": KALDI["wav.scp"]}))


RECORDING = {
    "id": "r",
    "sources": [{"type": "file", "channels": [0], "source": "audio/a.wav"}],
    "duration": 4.0,
}
SUPERVISION = {"id": "u", "recording_id": "r", "start": 0.0, "duration": 4.0, "speaker": "s", "gender": "Female"}


def manifests(folder: Path, recording: object, supervision: object) -> Path:
    directory(folder, {})
    (folder / "x_recordings_y.jsonl").write_text(json.dumps(recording) + "\n")
    rows = [{**SUPERVISION, "id": "v", "start": 1.0, "duration": 2.0}, supervision]
    (folder / "x_supervisions_y.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_supervisions_are_utterances(tmp_path: Path) -> None:
    (pair,) = lhotse_pair(manifests(tmp_path / "d", RECORDING, SUPERVISION))
    for file in (pair, pair.with_name("x_supervisions_y.jsonl")):
        speech = read_lhotse(file)
        assert [utt.span for utt in speech.utts.values()] == [None, Span(1.0, 3.0)]
        assert [utt.session for utt in speech.utts.values()] == ["r", "r"]
        assert speech.sexes == {"s": "f"}


@pytest.mark.parametrize(
    ("recording", "supervision", "words"),
    [
        ({"sources": []}, {}, "recordings_y.jsonl:1: expected a recording that is one file, found several sources"),
        ({"sources": [{"type": "command", "source": "cat"}]}, {}, "the type 'command', not 'file'"),
        ({"sources": [{"type": "file", "channels": [0, 1], "source": "a"}]}, {}, "found 2 channels, which would be"),
        ({"sources": [{}]}, {}, "found no 'type'"),
        ({"duration": "long"}, {}, "recordings_y.jsonl:1"),
        ({}, {"speaker": None}, "supervisions_y.jsonl:2: expected a speaker, found none"),
        ({}, {"recording_id": "q"}, "supervisions_y.jsonl:2: expected a supervision of a speaker, found no 'q'"),
        ({}, {"start": "x"}, "supervisions_y.jsonl:2"),
        ({}, {"id": "v"}, "'v' is in line 1 too"),
        ({}, {"gender": "male"}, "the sex of 's' was another before"),
    ],
)
def test_wrong_manifests_are_refused(
    recording: dict[str, object], supervision: dict[str, object], words: str, tmp_path: Path
) -> None:
    folder = manifests(tmp_path / "d", {**RECORDING, **recording}, {**SUPERVISION, **supervision})
    with pytest.raises(DataError) as caught:
        read_lhotse(folder / "x_recordings_y.jsonl")
    assert words in str(caught.value)


def pack(folder: Path, members: dict[str, str]) -> Path:
    folder.mkdir(parents=True)
    with tarfile.open(folder / "s.tar", "w") as tar:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    (folder / "shard.list").write_text("s.tar\n")
    return folder / "shard.list"


def test_shards_are_unpacked_once(tmp_path: Path) -> None:
    table = pack(tmp_path / "d", {"b.wav": "12", "b.spk": "t", "sub/a.wav": "1", "sub/a.spk": "s\n"})
    speech = read_shards(table, tmp_path / "out")
    assert [(utt.speaker, utt.words) for utt in speech.utts.values()] == [("t", ("b",)), ("s", ("sub/a",))]
    files = sorted((tmp_path / "out").rglob("*.wav"))
    assert [file.read_text() for file in files] == ["12", "1"]
    before = [file.stat().st_ino for file in files]
    read_shards(table, tmp_path / "out")
    assert [file.stat().st_ino for file in files] == before
    files[0].write_text("spoiled")
    read_shards(table, tmp_path / "out")
    assert files[0].read_text() == "12"


def test_what_shards_hold_and_nobody_reads_is_said(tmp_path: Path) -> None:
    table = pack(tmp_path / "d", {"b.wav": "1", "b.spk": "t", "b.vad": "[]", "a.wav": "2", "a.spk": "s", "a.vad": "[]"})
    assert f"unpacked to {tmp_path}/out (not used: <key>.vad)" in read_shards(table, tmp_path / "out").layout


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("t1 a A\nt2 b 1\n", None),
        (
            "t1 a A\nt2 a B\n",
            "reco2file_and_channel:2: expected channel A, found 't2 a B'; write each channel to a file",
        ),
        ("t1 a\n", "reco2file_and_channel:1: expected channel A, found 't1 a'"),
    ],
)
def test_a_second_channel_is_refused(lines: str, words: str | None, tmp_path: Path) -> None:
    folder = directory(tmp_path / "d", {**KALDI, "reco2file_and_channel": lines})
    if words is None:
        assert read_kaldi(folder).utts
    else:
        with pytest.raises(DataError) as caught:
            read_kaldi(folder)
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "s.tar: expected <key>.wav and <key>.spk of every key"),
        ({"a.wav": "1"}, "found 'a' alone; make it again"),
        ({"a.wav": "1", "a.spk": "s", "b.spk": "s"}, "found 'b' alone"),
        ({"../a.wav": "1", "../a.spk": "s"}, "would leave the folder ('..'); do not use this archive"),
        ({"/a.wav": "1", "/a.spk": "s"}, "has an absolute name"),
        ({"a.wav": "1", "a.flac": "1", "a.spk": "s"}, "'a' is there twice, or"),
        ({"a/b.wav": "1", "a_b.wav": "2", "a/b.spk": "s", "a_b.spk": "s"}, "'a_b' is there twice"),
        ({"a.wav": "1", "a.spk": ""}, "shard.list:1: expected a speaker, found none"),
        ({"a.mp3": "1", "a.spk": "s"}, "found 'a' alone"),
    ],
)
def test_wrong_shards_are_refused(members: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        read_shards(pack(tmp_path / "d", members), tmp_path / "out")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda d: (d / "s.tar").write_text("no tar"), "s.tar: is no whole tar file"),
        (lambda d: (d / "s.tar").write_bytes((d / "s.tar").read_bytes()[:700]), "s.tar: is no whole tar file"),
        (lambda d: (d / "s.tar").unlink(), "found no 's.tar'"),
        (lambda d: (d / "shard.list").write_text("s.tar\nt.tar\n"), "shard.list:2: no file"),
        (lambda d: (d / "shard.list").write_text("s.tar\n./s.tar\n"), "several shards have the name 's'"),
        (
            lambda d: (d / "shard.list").write_text("https://x.y/s.tar\n"),
            "shard.list: expected files, found an address",
        ),
        (lambda d: (d / "shard.list").write_text(""), "shard.list: holds no utterance"),
    ],
)
def test_wrong_lists_of_shards_are_refused(spoil: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    table = pack(tmp_path / "d", {"a.wav": "1" * 600, "a.spk": "s"})
    spoil(tmp_path / "d")
    with pytest.raises(DataError) as caught:
        read_shards(table, tmp_path / "out")
    assert words in str(caught.value)


def test_shards_need_a_place_and_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pack(tmp_path / "d", {"a.wav": "1", "a.spk": "s"})
    with pytest.raises(DataError, match="give --data_dir"):
        read_shards(table, None)
    monkeypatch.setattr("ham.prepare.manifests.shutil.disk_usage", lambda _: type("U", (), {"free": 17}))
    with pytest.raises(DataError, match=r"expected 0\.0 GB free"):
        read_shards(table, tmp_path / "out")
