"""`ham import`: the files on standard output, what is wrong in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ham.bin.front import main
from ham.model.directory import FILES
from tests.public_models import campplus


def test_it_prints_the_files_and_says_that_all_is_in_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(campplus(), "x.pt")
    assert main(["import", "x.pt", "--layout", "campplus", "--out", "out"]) == 0
    out, err = capsys.readouterr()
    assert {Path(line).name for line in out.splitlines()} == {path.name for path in Path("out").iterdir()} <= {*FILES}
    assert "x.pt: layout campplus, 937 tensors in their places" in err
    assert "without licence of the weights, which --licence states" in err
    assert main(["import", "x.pt", "--out", "out", "--licence", "mit", "--json"]) == 2
    assert "--force" in json.loads(capsys.readouterr().out)["error"]
    assert main(["import", "x.pt", "--out", "out", "--licence", "mit", "--json", "--force"]) == 0
    assert json.loads(capsys.readouterr().out)["layout"] == "campplus"
    assert main(["info", "out"]) == 0
    assert "Imported from x.pt, a file of 3D-Speaker's CAM++" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["x.pt", "--out", "out"], "x.pt: expected a file of weights, found nothing"),
        (["x.pt"], "--out"),
        (["x.pt", "--out", "out", "--layout", "ecapa"], "--layout: expected one of campplus"),
        ([".", "--out", "out"], "expected a file of weights, found a folder"),
    ],
)
def test_what_is_wrong_is_one_line(
    words: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["import", *words]) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert err.count("\n") == 1
