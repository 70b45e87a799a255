"""ham list and ham remove: who is enrolled, and who no longer is; neither loads a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ham.bin.front import main
from ham.enrolment.database import ModelKey, Recording, SpeakerDatabase


@pytest.fixture
def database(tmp_path: Path) -> str:
    with SpeakerDatabase(tmp_path / "voices.db", ModelKey("f" * 64, 2), write=True, create=True) as known:
        for name, num in (("ana", 2), ("Ómar", 1)):
            rows = [Recording("x", bytes([number]), 2.5, np.ones(2, np.float32)) for number in range(num)]
            known.add({name: rows})
    return str(tmp_path / "voices.db")


def test_list(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--db", database]) == 0
    assert capsys.readouterr().out == "ana: 2 recordings, 5.0 s\nÓmar: 1 recording, 2.5 s\n2 speakers enrolled\n"
    assert main(["list", "--db", database, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["fingerprint"], found["embedding_dim"]) == ("f" * 64, 2)
    assert [(one["name"], one["num_recordings"]) for one in found["speakers"]] == [("ana", 2), ("Ómar", 1)]


def test_nobody_is_enrolled_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--db", str(tmp_path / "none.db"), "--json"]) == 2
    assert "found nothing" in json.loads(capsys.readouterr().out)["error"]
    assert not (tmp_path / "none.db").exists()
