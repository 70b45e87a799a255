"""The README's code runs and gives what it says; its tables fit the column in which they are read."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.pages import DOCS, code_blocks

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
