"""The command of commands: what it lists, and the exit status of every way in which one can end."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from types import SimpleNamespace

import pytest

import ham.bin.front as entrance
from ham.bin.front import COMMANDS, main
from ham.cli import BUG
from ham.errors import CheckpointError, ConfigError, DataError


def ending(monkeypatch: pytest.MonkeyPatch, end: object) -> None:
    """A command ``verify`` that ends so."""

    def command(argv: Sequence[str]) -> object:
        if isinstance(end, BaseException):
            raise end
        return end

    monkeypatch.setattr(entrance.importlib, "import_module", lambda name: SimpleNamespace(main=command))


@pytest.mark.parametrize("argv", [[], ["--help"], ["-h"]])
def test_alone_it_lists_every_command_with_a_line(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    for name, (_, sentence) in COMMANDS.items():
        assert any(line.split() == [name, *sentence.split()] for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_there_and_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert callable(import_module(COMMANDS[name][0]).main)
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    assert f"usage: ham {name}" in capsys.readouterr().out


def test_a_command_that_is_not_there_is_refused_with_the_closest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verfy"]) == 2
    assert capsys.readouterr().err == "error: ham verfy: no such command; did you mean verify?\n"
    assert main(["zzz"]) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in COMMANDS)


@pytest.mark.parametrize(
    ("end", "status"),
    [
        (None, 0), (0, 0), (1, 1), (3, 3),
        (ConfigError("x"), 2), (DataError("x"), 2), (CheckpointError("x"), 2),
        (FileNotFoundError(2, "No such file", "x"), 2), (PermissionError(13, "Denied", "x"), 2),
        (ValueError("a bug"), BUG), (ZeroDivisionError(), BUG), (KeyError("a bug"), BUG),
        (KeyboardInterrupt(), 130),
    ],
)  # fmt: skip
def test_every_end_has_its_status(
    end: object, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ending(monkeypatch, end)
    assert main(["verify"]) == status
    said = capsys.readouterr().err
    assert ("Traceback" in said) == (status == BUG)
    assert ("error: " in said) == (status in (2, 130, BUG))


@pytest.mark.parametrize("error", [DataError('a "file": is empty'), PermissionError(13, "Denied", "x")])
def test_with_json_an_error_is_one_document(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ending(monkeypatch, error)
    assert main(["verify", "--json"]) == 2
    out, err = capsys.readouterr()
    assert err == f"error: {json.loads(out)['error']}\n"
    assert main(["verify"]) == 2
    assert capsys.readouterr().out == ""


def test_with_json_a_bug_is_one_document_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ending(monkeypatch, IndexError("of a list"))
    assert main(["verify", "--json"]) == BUG
    assert json.loads(capsys.readouterr().out) == {"error": "a bug: IndexError: of a list"}


def test_neither_ham_nor_its_list_loads_torch() -> None:
    code = (
        "import sys, ham, ham.bin.front; ham.bin.front.main([]); print(sorted({'torch', 'numpy'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
