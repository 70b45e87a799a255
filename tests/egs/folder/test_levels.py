"""Levels of two made-up roots, each of one language, whose speakers differ by sex."""

from __future__ import annotations

from pathlib import Path

import levels
import numpy as np
import pytest

from ham.cli import run
from ham.embeddings.table import write_embeddings


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Two roots of four speakers with two sessions of two utterances, and two experiments."""
    generator = np.random.default_rng(0)
    utts, sexes = [], []
    for root, column in (("one", "sex"), ("two", "sex_estimated")):
        (tmp_path / root).mkdir()
        rows = [f"p{at}\t{'fm'[at % 2]}\t{root}ish" for at in range(4)]
        (tmp_path / root / "speakers.tsv").write_text("\n".join([f"speaker\t{column}\tlanguage", *rows]) + "\n")
        for at in range(4):
            utts += [f"{root}-p{at}-s{session}-{n}" for session in (1, 2) for n in (1, 2)]
            sexes += ["fm"[at % 2]] * 4
    for name, gap in (("plain", 0.0), ("sexed", 6.0)):
        rows = generator.normal(size=(len(utts), 8)).astype(np.float32)
        rows[:, 0] += gap * np.array([1.0 if sex == "f" else -1.0 for sex in sexes], np.float32)
        (tmp_path / name).mkdir()
        write_embeddings(tmp_path / name / "embeddings.npz", utts, rows)
    return tmp_path


def call(made: Path, *roots: str) -> int:
    folders = [str(made / root) for root in roots]
    return run(levels.main, ["--roots", *folders, "--exp_dirs", str(made / "plain"), str(made / "sexed")])


def test_every_level_has_a_row_an_experiment(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(made, "one", "two") == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[:2] for row in rows] == [
        [level, name] for level in ("sex", "language", "speaker", "session") for name in ("plain", "sexed")
    ]
    assert float(rows[1][2]) > 0.9
    assert abs(float(rows[0][2])) < 0.5
    assert rows[0][-1] == "-"


def test_a_speaker_of_no_root_and_tables_without_language_or_sex(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(made, "one") == 1
    assert "expected the speaker of two-p0-s1-1 in a speakers.tsv" in capsys.readouterr().err
    (made / "two/speakers.tsv").write_text("speaker\tsex\np0\tf\n")
    assert call(made, "one", "two") == 1
    assert "two/speakers.tsv:2: expected a value for language, found none" in capsys.readouterr().err
    (made / "two/speakers.tsv").write_text("speaker\tlanguage\np0\ttwoish\n")
    assert call(made, "one", "two") == 1
    assert "two/speakers.tsv:2: expected a value for sex or sex_estimated, found none" in capsys.readouterr().err
