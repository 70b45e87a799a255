"""`ham info`: the same of an experiment and of its directory, for people and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ham.bin.front import main
from ham.model.directory import pack
from ham.model.encoder import SpeakerEncoder
from ham.score.decisions import Decisions, OperatingPoint
from ham.score.results import ListResult, Results, write_results
from tests.tiny_system import write_model


@pytest.fixture
def exp(tmp_path: Path) -> Path:
    write_model(tmp_path / "exp", "softmax")
    entry = ListResult("mini/all", "cosine", 20, 30, 0.0198, 0.015, 0.024, 0.1, 0.2)
    point = OperatingPoint("eer", 0.5, 0.4, 0.6, 0.02, 0.02)
    decisions = {"cosine": Decisions("cosine", 10, -4, (point,), "16 speakers kept aside", 16, 10, 20)}
    digest = SpeakerEncoder.load(tmp_path / "exp", "cpu").fingerprint
    found = Results("exp", 3, "0123abc", {"ham": "0"}, "./run.sh", (entry,), decisions=decisions, fingerprint=digest)
    write_results(tmp_path / "exp/results.json", found)
    return tmp_path / "exp"


def test_an_experiment_and_its_directory_say_the_same(
    exp: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack(exp, tmp_path / "out", licence="mit")
    documents = []
    for folder in (exp, tmp_path / "out"):
        assert main(["info", str(folder), "--json"]) == 0
        documents.append(json.loads(capsys.readouterr().out))
    first, second = documents
    assert (first.pop("licence"), second.pop("licence")) == (None, "mit")
    assert (first.pop("folder"), second.pop("folder")) == (str(exp), str(tmp_path / "out"))
    assert first == second
    assert (first["backbone"], first["embedding_dim"], first["sample_rate"]) == ("resnet18", 8, 16000)
    assert first["results"][0]["list"] == "mini/all"
    assert first["results"][0]["eer_low"] == 0.015
    assert first["decisions"]["points"][0]["threshold"] == 0.5
    assert first["provenance"]["commit"] == "0123abc"


def test_people_read_intervals_and_thresholds(
    exp: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HAM_MODEL", str(exp))
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for words in (
        "1.98 [1.50, 2.40]",
        "0.500 [0.400, 0.600]",
        "chosen on 16 speakers kept aside",
        "not stated",
        "0123abc",
    ):
        assert words in out


def test_nothing_measured_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path, "softmax")
    assert main(["info", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "not tested" in out
    assert "no thresholds" in out


@pytest.mark.parametrize("name", ["", "nothing", "a/b/c"])
def test_no_model_is_one_document(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HAM_MODEL", raising=False)
    assert main(["info", *([name] if name else []), "--json"]) == 2
    out, err = capsys.readouterr()
    assert "expected" in json.loads(out)["error"]
    assert err.count("\n") == 1
