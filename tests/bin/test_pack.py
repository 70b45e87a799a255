"""`ham pack`: the files on standard output, what is missing in a remark, one line for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ham.bin.front import main
from ham.files import lock_folder
from ham.model.directory import FILES, load_directory
from tests.tiny_system import write_model


def test_it_prints_the_files_and_says_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path / "exp", "softmax")
    assert main(["pack", str(tmp_path / "exp"), "--out", str(tmp_path / "out"), "--licence", "mit"]) == 0
    out, err = capsys.readouterr()
    paths = [Path(line) for line in out.splitlines()]
    assert {path.name for path in paths} == {path.name for path in (tmp_path / "out").iterdir()} <= {*FILES}
    assert "without numbers, as stage 6 has not been run" in err
    assert "without thresholds" in err
    assert "without licence" not in err
    assert "license: mit\n" in (tmp_path / "out/README.md").read_text()


def test_nothing_is_packed_while_a_stage_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path / "exp", "softmax")
    with lock_folder(tmp_path / "exp", "stage 6"):
        assert main(["pack", str(tmp_path / "exp"), "--out", str(tmp_path / "out")]) == 2
    assert "found at work: stage 6, process" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_programs_get_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path / "exp", "softmax")
    words = ["pack", str(tmp_path / "exp"), "--out", str(tmp_path / "out"), "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert {Path(name) for name in found["files"]} == {*(tmp_path / "out").iterdir()}
    assert found["fingerprint"] == load_directory(tmp_path / "out", "cpu").fingerprint
    assert main([*words, "--licence", "mit"]) == 2
    assert "--force" in json.loads(capsys.readouterr().out)["error"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["exp"], "--out"),
        (["--out", "out"], "EXP"),
        (["nothing", "--out", "out"], "expected an experiment"),
        (["exp", "--out", "exp"], "expected a new folder or a model directory"),
        (["exp", "--out", "out", "--license", "mit"], "--licence"),
        (["exp", "--out", "file/out"], "file"),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path,
    options: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "exp", "softmax")
    (tmp_path / "file").write_text("x")
    assert main(["pack", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert (err.startswith("error: "), err.count("\n")) == (True, 1)
    assert words in err
    assert not (tmp_path / "out").exists()
