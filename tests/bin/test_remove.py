"""ham remove: those named and nobody else, all of them or none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ham.bin.front import main
from ham.enrolment.database import ModelKey, Recording, SpeakerDatabase


@pytest.fixture
def database(tmp_path: Path) -> Path:
    with SpeakerDatabase(tmp_path / "voices.db", ModelKey("f" * 64, 2), write=True, create=True) as known:
        known.add({name: [Recording("x", b"x", 2.5, np.ones(2, np.float32))] for name in ("ana", "ben", "Ómar")})
    return tmp_path / "voices.db"


def left(database: Path) -> tuple[str, ...]:
    with SpeakerDatabase(database) as known:
        return known.gallery().names


def test_those_named(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["remove", "--db", str(database), "ana", "Ómar", "ana"]) == 0  # the last but one decomposed
    assert capsys.readouterr().out == "ana: removed\nÓmar: removed\n"
    assert left(database) == ("ben",)
    assert main(["remove", "--db", str(database), "ben", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"removed": ["ben"]}
    assert left(database) == ()


@pytest.mark.parametrize("names", [["ana", "nobody"], [""], []])
def test_all_or_none(database: Path, names: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["remove", "--db", str(database), *names]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert left(database) == ("ana", "ben", "Ómar")
