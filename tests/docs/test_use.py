"""The page for users of a trained model: every example runs, and its tables are those of the code."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

import ham
from ham.audio import quality
from ham.bin.front import COMMANDS, main
from ham.model import several
from tests.speaking import thresholds, write_decisions, write_voice
from tests.tiny_system import write_model

PAGE = (Path(__file__).parents[2] / "docs/use.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SHELL = re.findall(r"^    (ham .*)$", PAGE, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the examples name."""
    write_model(tmp_path / "MODEL", "ham_softmax")
    found = thresholds()
    point = replace(found.points[0], name="min_dcf_p01")
    write_decisions(tmp_path / "MODEL", replace(found, points=(*found.points, point)))
    for name, pitch_hz in (("alice_1", 120), ("alice_2", 125), ("call", 200), ("calls/1", 120), ("calls/2", 150)):
        write_voice(tmp_path / f"{name}.wav", 3, pitch_hz)
    (tmp_path / "calls.txt").write_text("calls/1.wav\ncalls/2.wav\ncalls/none.wav\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_python_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(PYTHON) == 3
    names: dict[str, object] = {}
    exec("".join(PYTHON), names)
    answer = names["answer"]
    assert answer == names["encoder"].verify(["alice_1.wav", "alice_2.wav"], "call.wav", "min_dcf_p01")
    assert capsys.readouterr().out.split()[0] in ("same", "different")
    assert names["embeddings"].shape == (2, ham.load("MODEL").embedding_dim)


@pytest.mark.parametrize("line", SHELL)
def test_the_commands_run(line: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(line)[1:]
    assert words[0] in COMMANDS
    assert main(words) in ((0, 1) if words[0] == "verify" else (0,))
    assert capsys.readouterr().out
    if words[0] == "embed":
        assert (folder / words[words.index("--out") + 1]).stat().st_size > 0


REQUESTS = {
    "verify": "verify --model MODEL alice_1.wav call.wav",
    "enrol": "enrol --model MODEL --db voices.db Ana alice_1.wav alice_1.wav short.wav",
    "list": "list --db voices.db",
    "identify": "identify --model MODEL --db voices.db call.wav none.wav",
    "remove": "remove --db voices.db Ana",
    "embed": "embed --model MODEL calls --out calls.npz",
    "pack": "pack UNTESTED --out packed",
    "export": "export --model MODEL --out model.pt2",
    "info": "info UNTESTED",
}


def test_its_table_names_what_the_answers_hold(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_voice(folder / "short.wav", 1.2)
    write_model(folder / "UNTESTED", "softmax")
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE[PAGE.index("| command | keys |") :], re.MULTILINE))
    table = {command: {*re.findall(r"`(\w+)`", rows[command])} for command in REQUESTS}
    line = next(line for line in PAGE.splitlines() if line.startswith("`quality` has"))
    qualities = {*re.findall(r"`(\w+)`", line)} - {"quality"}
    for command, words in REQUESTS.items():
        main([*words.split(), "--json"])
        found = json.loads(capsys.readouterr().out)
        assert "error" not in found, words
        if command == "info":
            assert table[command] <= {*found}
            continue
        found.pop("left_out", None)
        held, of_problems = keys(found), {"name", "text", "severity"}
        assert held - qualities - of_problems <= table[command], command
        if command in ("verify", "identify"):
            assert qualities - of_problems <= held


def keys(document: object) -> set[str]:
    """All keys of a document, at any depth."""
    if isinstance(document, dict):
        return {*document}.union(*map(keys, document.values()))
    return set().union(*map(keys, document)) if isinstance(document, list) else set()


def test_its_numbers_are_those_of_the_code() -> None:
    for problem, number in (
        ("silent", f"{quality.SILENT_DB:.0f} dB"),
        ("too_short", f"{quality.LEAST_SPEECH_S} s"),
        ("noisy", f"{quality.NOISY_DB:.0f} dB"),
        ("short", f"{quality.SHORT_S:.0f} s"),
        ("clipped", f"{100 * quality.CLIPPED_SHARE:.0f} %"),
        ("narrow_band", f"{-quality.NARROW_DB:.0f} dB"),
        ("several_speakers", f"{several.LEAST_RATIO:,.0f}"),
    ):
        (row,) = re.findall(rf"^\| `{problem}` \|.*$", PAGE, re.MULTILINE)
        assert number in row
