"""`ham publish`: a dry run sends nothing and says what it would; a wrong request is one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from ham.bin.front import main
from ham.model.directory import pack
from tests.hub_server import HubServer
from tests.tiny_system import write_model


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    write_model(tmp_path / "exp", "softmax")
    pack(tmp_path / "exp", tmp_path / "out")
    return tmp_path / "out"


def test_a_dry_run_says_what_would_be_sent(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", str(packed), "owner/name", "--dry_run"]) == 0
    out, err = capsys.readouterr()
    assert out.endswith("/owner/name\n")
    assert f"would send {packed / 'model.safetensors'}, {(packed / 'model.safetensors').stat().st_size} bytes" in err


def test_it_is_published(packed: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with HubServer() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", server.token)
        assert main(["publish", str(packed), "owner/name", "--private"]) == 0
        assert capsys.readouterr().out == f"{server.url}/owner/name\n"
        assert main(["publish", str(packed), "owner/name", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["address"], found["sent"]) == (f"{server.url}/owner/name", True)
        assert found["files"].keys() == {path.name for path in packed.iterdir()}
        assert server.repos["owner/name"].private
        assert server.repos["owner/name"].files.keys() == {path.name for path in packed.iterdir()}


@pytest.mark.parametrize("options", [["x"], ["exp", "owner/name"], ["out", "name"], ["out", "owner/name@main"]])
def test_a_wrong_request_is_one_line(
    packed: Path, options: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(packed.parent)
    assert main(["publish", *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert (err.startswith("error: "), err.count("\n")) == (True, 1)
