"""The README's code and commands run and give what they say; its tables fit the column in which they are read."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from ham.bin.front import main
from tests.pages import DOCS, code_blocks
from tests.speaking import thresholds, write_decisions, write_voice
from tests.tiny_system import write_model

README = (DOCS.parent / "README.md").read_text(encoding="utf-8")

WIDEST_ROW, WIDEST_CODE = 112, 96
"""Letters of a table's row, and of a line of code, that fit 838 pixels, the width of a README on the web."""


def test_use_the_parts(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = code_blocks("../README.md")
    found: dict[str, Any] = {}
    exec(code, found)
    assert found["embeddings"].shape == (4, 192)
    assert 0 <= found["out"].accuracy <= 1
    assert found["backbone"].embedding_dim == found["loss"].embedding_dim
    assert any(parameter.grad is not None for parameter in found["backbone"].parameters())
    printed = re.search(r"prints ([\d.]+)", code)
    assert printed
    assert capsys.readouterr().out == f"{printed[1]}\n"


def test_tables_and_code_are_narrow() -> None:
    rows = [re.sub(r"\]\([^)]*\)|\*\*|`", "", row) for row in README.splitlines() if row.startswith("|")]
    assert len(rows) > 30
    assert [row for row in rows if len(row) > WIDEST_ROW] == []
    code = re.findall(r"^    .*$", README, flags=re.MULTILINE) + code_blocks("../README.md")[0].splitlines()
    assert [line for line in code if len(line.strip()) > WIDEST_CODE] == []


def test_the_commands_for_a_trained_model_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_model(tmp_path / "M", "ham_softmax")
    write_decisions(tmp_path / "M", thresholds())
    for pitch_hz, name in enumerate(("one", "other", "ada1", "ada2", "somebody", "recordings/1"), 120):
        write_voice(tmp_path / f"{name}.wav", 3, pitch_hz)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HAM_MODEL", "M")
    lines = re.findall(r"^    python -m (ham .*)$", README, re.MULTILINE)
    commands = [shlex.split(line.replace("$HAM_MODEL", "M"), comments=True)[1:] for line in lines]
    assert {"verify", "enrol", "identify", "embed", "pack", "demo"} == {words[0] for words in commands}
    for words in commands:
        if words[0] == "pack":
            (tmp_path / "M/results.json").unlink()  # it holds thresholds alone
        if words[0] != "demo":  # which serves till it is interrupted
            assert main(words) in ((0, 1) if words[0] in ("verify", "identify") else (0,)), words
