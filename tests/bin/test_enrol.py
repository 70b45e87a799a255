"""ham enrol: names with recordings, folders of speakers, what is refused, and that wrong requests lose nothing."""

from __future__ import annotations

import io
import json
import shutil
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import ham
from ham.bin.front import main
from ham.enrolment.database import SpeakerDatabase, unit
from tests.speaking import voice, write_voice
from tests.tiny_system import RATE, write_model


@pytest.fixture(scope="module")
def exp_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_model(folder, "softmax")
    return folder


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "voices.db"


@pytest.fixture(autouse=True)
def _model(exp_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAM_MODEL", str(exp_dir))


def write(path: Path, samples: NDArray[np.float32]) -> Path:
    soundfile.write(path, np.rint(32767 * samples).astype(np.int16), RATE)
    return path


def noise() -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(0, 0.1, 4 * RATE).astype(np.float32)


def write_speakers(folder: Path, num_recordings: int = 2) -> dict[str, list[Path]]:
    """Recordings ``<speaker>/<session>/<number>.wav`` of three speakers."""
    return {
        f"spk{speaker}": [
            write_voice(folder / f"spk{speaker}/s{number}/{number}.wav", 4.0, 90 + 40 * speaker + number)
            for number in range(num_recordings)
        ]
        for speaker in range(3)
    }


def enrol(database: Path, *words: object) -> int:
    return main(["enrol", "--device", "cpu", "--db", str(database), *map(str, words)])


def test_standard_input_and_a_file(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_speakers(tmp_path / "speech")["spk1"]
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(files[0].read_bytes())))
    assert enrol(database, "Ada", "-", files[1]) == 0
    assert enrol(database, "Ada", files[0]) == 0
    assert capsys.readouterr().out == "Ada: 2 recordings enrolled\nAda: 0 recordings enrolled, 1 enrolled before\n"


def test_a_speaker_of_several_files(
    database: Path, tmp_path: Path, exp_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_speakers(tmp_path / "speech", 3)["spk0"]
    assert enrol(database, "Ana María", *files[:2]) == 0
    assert enrol(database, "Ana María", files[2], files[0]) == 0
    assert capsys.readouterr().out == (
        "Ana María: 2 recordings enrolled\nAna María: 1 recording enrolled, 1 enrolled before\n"
    )
    with SpeakerDatabase(database) as known:
        gallery = known.gallery()
        assert known.speakers()[0][:3] == ("Ana María", 3, 12.0)
    mean = unit(ham.load(exp_dir, "cpu").embed_many(files)).mean(axis=0)
    np.testing.assert_allclose(gallery.embeddings[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_a_folder_of_speakers(database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_speakers(tmp_path / "speech")
    write(tmp_path / "speech/spk0/noise.wav", noise())
    (tmp_path / "speech/spk0/notes.txt").write_text("no audio")
    write_voice(tmp_path / "speech/of_nobody.wav")
    assert enrol(database, "--from", tmp_path / "speech", "--json") == 0
    out, err = capsys.readouterr()
    assert [(one["name"], one["added"], len(one["refused"])) for one in json.loads(out)["speakers"]] == [
        ("spk0", 2, 1),
        ("spk1", 2, 0),
        ("spk2", 2, 0),
    ]
    assert "noise.wav: not enrolled" in err


@pytest.mark.parametrize(
    ("samples", "word"),
    [
        (voice(1.0), "speech"),
        (voice(0.3), "speech"),
        (1e-4 * voice(4.0), "silent"),
        (np.clip(30 * voice(4.0), -1, 1), "clipped"),
        (voice(4.0) + noise(), "nois"),
    ],
    ids=["short", "too short", "silent", "clipped", "noisy"],
)
def test_poor_speech_is_said_and_not_enrolled(
    database: Path, tmp_path: Path, samples: NDArray[np.float32], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert enrol(database, "ana", write(tmp_path / "a.wav", samples.astype(np.float32))) == 3
    out, err = capsys.readouterr()
    assert out == "ana: 0 recordings enrolled, 1 refused\n"
    assert err.startswith(f"warning: {tmp_path}/a.wav: not enrolled. ")
    assert word in err
    with SpeakerDatabase(database) as known:
        assert known.speakers() == []


def test_a_file_that_cannot_be_read_is_found_before_anybody_is_enrolled(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_speakers(tmp_path / "speech")
    for speaker in ("spk1", "spk2"):
        (tmp_path / f"speech/{speaker}/text.wav").write_text("no audio")
    assert enrol(database, "--from", tmp_path / "speech") == 2
    err = capsys.readouterr().err
    assert "spk1/text.wav" in err
    assert "spk2/text.wav" in err
    assert not database.exists()


def test_a_recording_of_two_names_is_said(database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "a.wav", voice(4.0))
    flac = write(tmp_path / "a.flac", voice(4.0))
    assert enrol(database, "ana", path, flac) == 0
    assert "1 recording enrolled, 1 enrolled before" in capsys.readouterr().out
    assert enrol(database, "eva", flac) == 0
    assert "the same recording is enrolled as ana" in capsys.readouterr().err


def test_bad_requests_have_one_line_and_lose_nothing(
    database: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write_speakers(tmp_path / "speech")["spk0"]
    assert enrol(database, "spk0", *files) == 0
    (tmp_path / "text.wav").write_text("no audio")
    (tmp_path / "text.db").write_text("no database at all" * 99)
    (tmp_path / "empty").mkdir()
    with sqlite3.connect(tmp_path / "foreign.db") as connection:
        connection.execute("CREATE TABLE photos (id)")
    shutil.copy(database, tmp_path / "newer.db")
    with sqlite3.connect(tmp_path / "newer.db") as connection:
        connection.execute("PRAGMA user_version = 2")
    shutil.copy(database, tmp_path / "another.db")
    with sqlite3.connect(tmp_path / "another.db") as connection:
        connection.execute("UPDATE model SET fingerprint = 'x'")
    good = tmp_path / "speech/spk1/s0/0.wav"
    cases: list[tuple[list[object], str]] = [
        (["eva", good, tmp_path / "missing.wav"], "missing.wav: cannot be read"),
        (["eva", good, tmp_path / "text.wav"], "text.wav"),
        (["eva", tmp_path / "empty"], "empty"),
        (["eva"], "expected a name and at least one recording"),
        ([], "expected a name and at least one recording"),
        (["", good], "found an empty one"),
        (["a\nb", good], "control characters"),
        (["eva", good, "--from", tmp_path], "found both"),
        (["--from", tmp_path / "nowhere"], "found none"),
        (["--from", tmp_path / "empty"], "found none"),
        (["eva", good, "--db", tmp_path / "text.db"], "another kind of file"),
        (["eva", good, "--db", tmp_path / "foreign.db"], "another program's"),
        (["eva", good, "--db", tmp_path / "newer.db"], "version 2"),
        (["eva", good, "--db", tmp_path / "another.db"], "another model"),
        (["eva", good, "--db", tmp_path], "found a folder"),
        (["eva", good, "--db", tmp_path / "no/where.db"], "cannot be opened"),
        (["eva", good, "--model", tmp_path / "nowhere"], "nowhere"),
        (["eva", good, "--frm", "x"], "did you mean --from?"),
    ]
    before = database.read_bytes()
    capsys.readouterr()
    for words, sentence in cases:
        assert enrol(database, *words) == 2, words
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1), err
        assert err.startswith("error: ")
        assert sentence in err
    assert database.read_bytes() == before


def test_errors_as_json(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert enrol(database, "eva", "missing.wav", "--json") == 2
    assert "missing.wav" in json.loads(capsys.readouterr().out)["error"]
