"""Answers of the demo, against those of the commands for the same files; and that nothing else stays behind."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ham
from ham.bin.front import main
from ham.demo.answers import Answers, read
from ham.errors import ConfigError, DataError
from tests.demo.serving import wav, write_demo_model
from tests.speaking import voice, write_voice

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_demo_model(tmp_path_factory.mktemp("model") / "exp")
    write_voice(folder / "one.wav")
    write_voice(folder / "other.wav", 4, 200, 44100)
    return folder


@pytest.fixture
def answers(model: Path, tmp_path: Path) -> Answers:
    return Answers(ham.load(model, "cpu"), tmp_path / "speakers.db")


@pytest.fixture
def command(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    def called(name: str, *words: str) -> Any:
        options = [] if name == "list" else ["--model", str(model), "--device", "cpu"]
        main([name, *(str(model / word) if word.endswith(".wav") else word for word in words), *options, "--json"])
        return json.loads(capsys.readouterr().out)

    return called


def test_they_are_those_of_the_commands(answers: Answers, command: Command, model: Path) -> None:
    one, other = (model / "one.wav").read_bytes(), (model / "other.wav").read_bytes()
    assert command("verify", "one.wav", "other.wav") == json.loads(json.dumps(answers.verify(one, other, None)))
    assert answers.enrol(one, " Ada ") == {"name": "Ada", "added": 1, "others": []}
    assert answers.enrol(other, "Bob")["added"] == 1
    (expected,) = command("identify", "one.wav", "--db", str(answers.database))["files"]
    found = json.loads(json.dumps(answers.identify(one)))
    assert {key: found[key] for key in ("name", "threshold", "threshold_from", "candidates")} == {
        key: expected[key] for key in ("name", "threshold", "threshold_from", "candidates")
    }
    assert found["name"] == "Ada"
    assert answers.speakers()["speakers"] == command("list", "--db", str(answers.database))["speakers"]


def test_the_same_recording_does_not_count_again(answers: Answers) -> None:
    samples = (32767 * voice()).astype(np.int16)
    answers.enrol(wav(samples), "Ada")
    assert answers.enrol(wav(samples, form="FLAC"), "Ada") == {"name": "Ada", "added": 0, "others": []}
    assert answers.enrol(wav(samples), "Bob") == {"name": "Bob", "added": 1, "others": ["Ada"]}


def test_what_is_not_fit_to_know_somebody_by_is_not_enrolled(answers: Answers) -> None:
    with pytest.raises(DataError, match=r"^not enrolled: It holds .* s of speech"):
        answers.enrol(wav(voice(1.2)), "Ada")
    with pytest.raises(ConfigError, match="name"):
        answers.enrol(wav(), "\n")
    assert answers.speakers() == {"speakers": []}


def test_nobody_is_found_among_nobody(answers: Answers) -> None:
    found = answers.identify(wav())
    assert (found["name"], found["candidates"]) == (None, [])
    with pytest.raises(ConfigError, match="expected an enrolled speaker, found 'Ada'"):
        answers.remove(["Ada"])


def test_recordings_leave_nothing_behind(answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    answers.hear(wav())
    answers.enrol(wav(form="FLAC"), "Ada")
    answers.verify(wav(), wav(form="OGG"), None)
    with pytest.raises(DataError):
        answers.identify(b"garbage")
    assert [path.name for path in tmp_path.iterdir()] == ["speakers.db"]
    assert b"RIFF" not in answers.database.read_bytes()


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
def test_every_form_is_read_by_its_content(form: str) -> None:
    samples = voice(rate=44100)
    found = read(wav(samples, 44100, form), "the recording")
    assert len(found) == pytest.approx(48000, abs=1200)
    assert np.abs(found).max() == pytest.approx(np.abs(samples).max(), rel=0.2)


def test_two_hundred_channels_are_refused_before_they_are_decoded() -> None:
    many = wav(np.zeros((160_000, 200), np.int16), subtype="PCM_U8", form="WAVEX")
    with pytest.raises(DataError, match=r"^the recording: expected at most 5 minutes"):
        read(many, "the recording")
