"""The page on enrolled speakers: every example runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ham.bin.front import main
from tests.speaking import thresholds, write_decisions, write_voice
from tests.tiny_system import write_model

PAGE = (Path(__file__).parents[2] / "docs/identify.md").read_text(encoding="utf-8")
(PYTHON,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SHELL = re.findall(r"^    (ham .*)$", PAGE, re.MULTILINE)


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path / "M", "ham_softmax")
    write_decisions(tmp_path / "M", thresholds())
    for pitch_hz, name in enumerate(("ana1.wav", "ana2.flac", "SPEAKERS/ben/1.wav", "SPEAKERS/eva/1.wav"), 120):
        write_voice(tmp_path / name, 3, pitch_hz)
    for name in ("meeting1.wav", "meeting2.wav"):
        write_voice(tmp_path / name, 3, 200)
    monkeypatch.chdir(tmp_path)
    assert len(SHELL) == 5
    for line in SHELL:
        words = shlex.split(line.replace("meeting2.mp3", "meeting2.wav"), comments=True)[1:]
        assert main(words) in ((0, 1) if words[0] == "identify" else (0,))
    assert main(["list", "--db", "voices.db"]) == 0
    assert "2 speakers enrolled" in capsys.readouterr().out
    names: dict[str, object] = {}
    exec(PYTHON, names)
    assert names["answer"].decision in ("named", "nobody")
