"""ham identify: named, nobody, cannot say; the threshold of a list; many files, one of which cannot be read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from ham.bin.front import main
from ham.score.decisions import Decisions, OperatingPoint
from tests.speaking import write_decisions, write_voice
from tests.tiny_system import RATE, write_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, speech of three speakers, and a database of them."""
    folder = tmp_path_factory.mktemp("identify")
    write_model(folder / "exp", "softmax")
    write_model(folder / "measured", "softmax")
    rates = {"eer": 0.2, "far_1": 0.01, "far_0_1": 0.001, "far_0_01": 0.0001}
    thresholds = {"eer": -1.0, "far_1": -0.5, "far_0_1": 0.999999, "far_0_01": None}
    points = tuple(OperatingPoint(name, thresholds[name], None, None, 0.1, rate) for name, rate in rates.items())
    write_decisions(folder / "measured", Decisions("cosine", 1.0, 0.0, points, "nobody", 2, 2, 2))
    for number in range(3):
        write_voice(folder / f"speech/spk{number}/s0/0.wav", 3.0, 90 + 40 * number)
    write_voice(folder / "stranger.wav", 3.0, 230)
    write_voice(folder / "short.wav", 1.0, 90)
    soundfile.write(folder / "noise.wav", np.random.default_rng(1).normal(0, 0.1, 4 * RATE), RATE)
    soundfile.write(folder / "silence.wav", np.zeros(2 * RATE), RATE)
    common = ["--model", str(folder / "exp"), "--device", "cpu", "--db", str(folder / "voices.db")]
    for name in ("spk0", "spk1", "spk2"):
        assert main(["enrol", name, str(folder / f"speech/{name}/s0/0.wav"), *common]) == 0
    return folder


def identify(folder: Path, *words: object, model: str = "exp") -> int:
    common = ["--model", str(folder / model), "--device", "cpu", "--db", str(folder / "voices.db")]
    return main(["identify", *common, *map(str, words)])


def test_the_enrolled_recording_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "speech/spk1/s0/0.wav"
    assert identify(folder, path, "--threshold", "0.999999", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["files"]
    assert (found["name"], found["decision"], found["threshold"]) == ("spk1", "named", 0.999999)
    assert found["score"] == pytest.approx(1, abs=1e-6)
    assert found["candidates"][0]["name"] == "spk1"
    assert len(found["candidates"]) == 3
    assert found["quality"]["problems"] == []


def test_nobody(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert identify(folder, folder / "stranger.wav", "--threshold", "0.999999", "--top", "1") == 1
    line, threshold = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{folder}/stranger.wav: nobody (spk")
    assert threshold == "threshold 1.000 (given)"


@pytest.mark.parametrize("name", ["noise", "silence"])
def test_poor_speech_is_not_decided_on(folder: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert identify(folder, folder / f"{name}.wav", "--threshold", "-1", "--json") == 3
    (found,) = json.loads(capsys.readouterr().out)["files"]
    assert (found["name"], found["score"], found["candidates"]) == (None, None, [])
    assert found["quality"]["problems"]


def test_short_speech_is_matched_with_a_warning(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert identify(folder, folder / "short.wav", "--threshold", "-1") == 0
    assert "short.wav: It holds 1.0 s of speech" in capsys.readouterr().out


def test_without_a_threshold_nothing_is_decided(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert identify(folder, folder / "stranger.wav", "--json") == 3
    (found,) = json.loads(capsys.readouterr().out)["files"]
    assert found["candidates"]
    assert "no thresholds" in found["threshold_from"]


def test_the_threshold_is_that_of_the_list(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of three enrolled speakers, a rate of 0.1 % each keeps 1 % over the list; 1 % each does not."""
    assert identify(folder, folder / "stranger.wav", "--json", model="measured") == 1
    (found,) = json.loads(capsys.readouterr().out)["files"]
    assert found["threshold"] == 0.999999
    assert found["threshold_from"].startswith("far_0_1, measured on nobody; compared with 3, 0.3 % of strangers")
    assert identify(folder, folder / "stranger.wav", "--threshold", "far_1", model="measured") == 0
    assert "compared with 3, 3 % of strangers may be named" in capsys.readouterr().out


def test_many_files_and_one_that_cannot_be_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [folder / f"speech/spk{number % 3}/s0/0.wav" for number in range(70)]
    files[66:66] = [folder / "missing.wav", folder / "noise.wav"]
    assert identify(folder, *files, "--threshold", "0.999999", "--json") == 2
    out, err = capsys.readouterr()
    found = json.loads(out)["files"]
    assert [one.get("name") for one in found] == [
        None if number in (66, 67) else path.parts[-3] for number, path in enumerate(files)
    ]
    assert "missing.wav" in found[66]["error"]
    assert err.count("\n") == 1
    assert identify(folder, files[0], folder / "stranger.wav", "--threshold", "0.999999") == 1
    assert identify(folder, files[0], folder / "noise.wav", folder / "stranger.wav", "--threshold", "1") == 3


def test_standard_input(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    content = (folder / "speech/spk2/s0/0.wav").read_bytes()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    assert identify(folder, "-", "--threshold", "0.999999") == 0
    assert capsys.readouterr().out.startswith("-: spk2 (spk2 1.000")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["missing.wav"], "cannot be read"),
        (["-", "-"], "expected - once"),
        (["stranger.wav", "--threshold", "2"], "from -1 to 1"),
        (["stranger.wav", "--threshold", "far_9"], "far_9"),
        (["stranger.wav", "--top", "0"], "at least 1"),
        (["stranger.wav", "--cohort", "model"], "the model brings none"),
        (["stranger.wav", "--cohort", "x"], "invalid choice"),
        (["stranger.wav", "--db", "missing.db"], "found nothing"),
        ([], "FILE"),
    ],
)
def test_wrong_requests_have_one_line(
    folder: Path, words: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert identify(folder, *words) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert sentence in err
