"""The commit that a number says it comes from, versions, hardware."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from ham.provenance import git_commit, hardware, versions


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True).stdout


def test_commit_of_a_checkout_and_its_changes(tmp_path: Path) -> None:
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "a.py").write_text("a = 1\n")
    git(tmp_path, "init", "-q")
    assert git_commit(package) is None  # no commit yet
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "one")
    head = git(tmp_path, "rev-parse", "HEAD").strip()
    assert git_commit(package) == head
    (tmp_path / "notes").write_text("not under version control")
    assert git_commit(package) == head
    (package / "a.py").write_text("a = 2\n")
    assert git_commit(package) == f"{head}-dirty"


def test_a_package_installed_inside_some_checkout_has_no_commit(tmp_path: Path) -> None:
    package = tmp_path / ".venv" / "site-packages" / "pkg"
    package.mkdir(parents=True)
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-qm", "one", "--allow-empty")
    assert git_commit(package) is None


def test_no_git_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit(tmp_path / "pkg") is None


def test_versions_and_hardware_say_what_made_a_number() -> None:
    assert versions()["torch"] == torch.__version__
    assert "core" in hardware()
