"""The help of every command of shell, and what path.sh says when no environment can be made."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
CORPORA = sorted(path.parents[1].name for path in TOP.glob("egs/*/conf/corpus.sh"))


def output(*command: object, **environment: str) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=True, env={**os.environ, **environment}
    )
    assert done.stderr == ""
    return done.stdout


def shown_options(text: str) -> dict[str, str]:
    return dict(re.findall(r"^  --(\w+) +(.*)$", text, re.MULTILINE))


def variables(path: Path) -> dict[str, str]:
    """The comment behind each default of a shell file that is an option's."""
    return dict(re.findall(r"^(\w+)=(?:\"[^\"]*\"|[^\s\"]*) +# (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("corpus", CORPORA)
def test_every_option_is_told_in_one_line(corpus: str) -> None:
    found = shown_options(output(TOP / "run.sh", "--corpus", corpus, "--help"))
    meanings = {**variables(TOP / "run.sh"), **variables(TOP / f"egs/{corpus}/conf/corpus.sh")}
    assert len(found) >= 27
    for name, line in found.items():
        meaning = line.rpartition(" [")[0] or line
        assert line.startswith(meanings[name]), name
        assert 8 < len(meaning) < 150, name
        assert not re.match(r"(of|than|others|the same) ", meaning), f"{name}: {meaning}"


def test_a_corpus_tells_its_own_meaning_and_value() -> None:
    mini, folder = (shown_options(output(TOP / "run.sh", "--corpus", name, "--help")) for name in ("mini", "folder"))
    assert mini["top_n"].endswith("[50]")
    assert "192 speakers" in mini["top_n"]
    assert "192 speakers" not in folder["top_n"]
    assert "mini_seed" in mini
    assert "mini_seed" not in folder


def test_values_of_any_length_leave_the_columns_alone() -> None:
    long = "/a very long folder/" + "x" * 300
    text = output(TOP / "run.sh", "--corpus", "folder", "--train_roots", long, "--backends", "all cosine", "--help")
    found = shown_options(text)
    assert found["train_roots"].endswith(f"[{long}]")
    starts = {re.match(r"  --\w+ +", line).end() for line in text.splitlines() if line.startswith("  --")}  # type: ignore[union-attr]
    assert len(starts) == 1


@pytest.mark.parametrize("option", ["--help", "-h"])
def test_losses_has_help(option: str) -> None:
    text = output(TOP / "egs/mini/losses.sh", option)
    assert "losses.sh [SEED...]" in text
    assert "set -euo" not in text


@pytest.mark.parametrize(
    ("has_ensurepip", "words", "not_words"),
    [(True, "the lines above say why", "apt-get"), (False, "it lacks ensurepip", "the lines above")],
)
def test_the_cure_for_a_missing_environment_is_the_one_that_helps(
    tmp_path: Path, has_ensurepip: bool, words: str, not_words: str
) -> None:
    python = tmp_path / "python"
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        '  *"-m venv"*) echo "no room" >&2; exit 1 ;;\n'
        f'  *ensurepip*) exit {0 if has_ensurepip else 1} ;;\n'
        "  *print*) echo python3.99-venv ;;\n"
        "esac\n"
    )  # fmt: skip
    python.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", f". {TOP}/path.sh"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "HAM_PYTHON": str(python), "HAM_VENV": str(tmp_path / "venv")},
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error:"))
    assert words in line
    assert not_words not in line
    if not has_ensurepip:
        assert ("apt-get install python3.99-venv" in line) == Path("/etc/debian_version").exists()
