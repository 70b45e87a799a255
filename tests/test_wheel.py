"""What `pip install .` installs: the whole package, and nothing of the checkout is needed beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from tests.tiny_system import write_model

tomllib = pytest.importorskip("tomllib", reason="Python 3.11 and newer read TOML")

REPOSITORY = Path(__file__).parents[1]
NEEDED_TO_BUILD = ("pyproject.toml", "README.md", "LICENSE", "requirements.txt")


def package_files() -> set[str]:
    """Files of the package, by their names in the repository."""
    found = (path for path in (REPOSITORY / "ham").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(REPOSITORY)) for path in found}


def declared_files() -> set[str]:
    """Modules, and what pyproject.toml declares as data."""
    options = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    data = {
        str(path.relative_to(REPOSITORY))
        for package, patterns in options["package-data"].items()
        for pattern in patterns
        for path in REPOSITORY.joinpath(*package.split(".")).glob(pattern)
    }
    return data | {name for name in package_files() if name.endswith(".py")}


def can_build() -> bool:
    try:
        return int(version("setuptools").split(".")[0]) >= 77
    except PackageNotFoundError:
        return False


def called(installed: Path, *words: str | Path, cwd: Path) -> str:
    """What `python -m ham` prints, of a package that lies in a folder, called from another one."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "ham", *map(str, words)]
    outcome = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout


def check_installed(installed: Path, folder: Path) -> None:
    """The commands work from a folder without a checkout; templates are found."""
    write_model(folder / "exp", "softmax")
    assert "usage: ham COMMAND" in called(installed, "--help", cwd=folder)
    assert "README.md" in called(installed, "pack", "exp", "--out", "model", cwd=folder)
    assert "resnet18" in called(installed, "info", "model", cwd=folder)


def test_every_file_of_the_package_is_declared() -> None:
    assert declared_files() == package_files()


@pytest.mark.recipe
def test_what_is_declared_needs_no_checkout(tmp_path: Path) -> None:
    for name in declared_files():
        (tmp_path / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, tmp_path / "site" / name)
    check_installed(tmp_path / "site", tmp_path)


@pytest.mark.recipe
@pytest.mark.skipif(not can_build(), reason="needs setuptools 77 or newer, as pyproject.toml does")
def test_a_wheel_is_built_without_network(tmp_path: Path) -> None:
    source = tmp_path / "source"  # not here: what an older build left in build/ would get into it
    shutil.copytree(REPOSITORY / "ham", source / "ham", ignore=shutil.ignore_patterns("__pycache__"))
    for name in NEEDED_TO_BUILD:
        shutil.copyfile(REPOSITORY / name, source / name)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", tmp_path]
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", *options, source], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.partition("/")[0].endswith(".dist-info")}
        archive.extractall(tmp_path / "site")
        (scripts,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        assert "ham = ham.bin.front:start" in archive.read(scripts).decode()
    assert names == package_files()
    check_installed(tmp_path / "site", tmp_path)
