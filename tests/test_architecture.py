"""Which way the dependencies run, and that only commands talk to the user; read from the sources with ``ast``."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


def module_name(path: Path) -> str:
    """Dotted, as it would be if ``egs`` were a package too."""
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in sorted((REPOSITORY / "ham").rglob("*.py"))}
RECIPES = {module_name(path): path for path in sorted(REPOSITORY.glob("egs/*/local/*.py"))}

FLOORS: tuple[tuple[str, ...], ...] = (
    ("ham.words", "ham.markdown"),
    ("ham.errors",),
    ("ham.files", "ham.schema", "ham.yaml_core", "ham.pool", "ham.provenance", "ham.cli"),
    ("ham.config",),
    ("ham.geometry", "ham.audio"),
    ("ham.frontends", "ham.backbones", "ham.losses", "ham.data"),
    ("ham.augment", "ham.corpora", "ham.embeddings"),
    ("ham.prepare", "ham.score"),
    ("ham.model",),
    ("ham.train", "ham.analysis", "ham.enrolment"),
    ("ham.report", "ham.sweep", "ham.demo"),
    ("ham.bin", "ham.__main__", "egs"),
)
"""The rooms, lowest floor first. A module imports from its own room, from lower floors, and ``ham`` itself for its
version."""

DOORS = {"ham.cli"}
"""What only the highest floor may import: it parses, prints and exits."""

ENTRANCE = "ham.__main__"
"""``python -m ham``: it hands on to ``FRONT`` and ends with its status."""

FRONT = "ham.bin.front"

LARGEST_SHARE = 0.15
"""Of the lines of ``ham``, in one room."""

TABLES = {"ham.losses", "ham.backbones"}
"""Rooms of which the floors between them and the model know the base class alone, never one loss or one network."""

BASE_ONLY = {"ham.data", "ham.embeddings", "ham.score", "ham.train", "ham.analysis", "ham.report"}

PARSERS = {"argparse", "optparse", "getopt", "click", "typer", "fire"}
TALKING = {"print", "input", "exit", "quit", "breakpoint", "SystemExit"}
PROCESS = {"sys.exit", "sys.argv", "os._exit", "os.abort", "logging.basicConfig", "logging.captureWarnings"}


def covers(room: str, module: str) -> bool:
    return module == room or module.startswith(room + ".")


def place_of(module: str) -> tuple[int, str]:
    """Floor and room of a module."""
    found = [(floor, room) for floor, rooms in enumerate(FLOORS) for room in rooms if covers(room, module)]
    assert len(found) == 1, f"{module}: in {len(found)} rooms; give it one in FLOORS"
    return found[0]


def is_command(module: str) -> bool:
    return covers("ham.bin", module) and module != "ham.bin" and not module.startswith("ham.bin._")


def may_import(module: str, target: str) -> bool:
    if target == "ham":
        return True
    if module == ENTRANCE:
        return target == FRONT
    (floor, room), (below, other) = place_of(module), place_of(target)
    if room == other:
        return not is_command(target)
    if target in DOORS:
        return floor == len(FLOORS) - 1
    if room in BASE_ONLY and other in TABLES:
        return target == f"{other}.base"
    return below < floor


def imported(tree: ast.Module, module: str, is_package: bool) -> Iterator[tuple[int, str]]:
    """Every module of ham that is imported, with its line, also inside functions and relatively."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = module.split(".")
            upwards = node.level - is_package
            base = parts[: len(parts) - upwards] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield node.lineno, inner if inner in MODULES else source


def wrong_imports(source: str, module: str, is_package: bool = False) -> list[str]:
    place_of(module)
    return [
        f"{module}:{line}: must not import {target}"
        for line, target in imported(ast.parse(source), module, is_package)
        if target.split(".")[0] == "ham" and not may_import(module, target)
    ]


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def wrong_talk(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name) and node.id in TALKING:
            found.append(f"line {node.lineno}: {node.id}")
        elif isinstance(node, ast.Attribute) and dotted(node) in PROCESS:
            found.append(f"line {node.lineno}: {dotted(node)}")
        elif isinstance(node, ast.Import):
            found += [f"line {node.lineno}: {a.name}" for a in node.names if a.name.split(".")[0] in PARSERS]
        elif isinstance(node, ast.ImportFrom):
            names = {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
            found += [f"line {node.lineno}: {name}" for name in sorted(names & (PARSERS | PROCESS))]
    return found


def test_the_tree_was_found() -> None:
    assert {"ham", "ham.errors", "ham.audio.decoding", "ham.bin.prepare_data", "ham.losses"} <= MODULES.keys()


@pytest.mark.parametrize("module", [module for module in (*MODULES, *RECIPES) if module != "ham"])
def test_dependencies_run_downwards(module: str) -> None:
    path = {**MODULES, **RECIPES}[module]
    assert wrong_imports(path.read_text(encoding="utf-8"), module, path.name == "__init__.py") == []


def test_no_room_holds_more_than_its_share() -> None:
    lines = Counter[str]()
    for module, path in MODULES.items():
        if module != "ham":
            lines[place_of(module)[1]] += len(path.read_text(encoding="utf-8").splitlines())
    most = LARGEST_SHARE * lines.total()
    assert {room: num for room, num in lines.items() if num > most} == {}


@pytest.mark.parametrize(
    "module", [module for module in MODULES if not covers("ham.bin", module) and module not in {*DOORS, ENTRANCE}]
)
def test_only_commands_parse_print_and_exit(module: str) -> None:
    assert wrong_talk(MODULES[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ham.errors", "import ham.config"),
        ("ham.geometry.poincare", "from ham import losses"),
        ("ham.losses.margin", "from ham.train import loop"),
        ("ham.losses.margin", "from ..data import store"),
        ("ham.audio.decoding", "def f():\n    from ham.cli import run"),
        ("ham.config", "from ham import cli"),
        ("ham.train.loop", "from ham.losses import LOSSES"),
        ("ham.train.loop", "from ham.losses.margin import AamSoftmax"),
        ("ham.geometry.poincare", "from ham.audio import riff"),
        ("ham.augment.noise", "from ham.corpora import web"),
        ("ham.score.metrics", "import ham.train.loop"),
        ("ham.bin.compare", "from ham.bin import report"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    assert len(wrong_imports(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ham.losses.margin", "from . import base\nfrom ..geometry import poincare\nimport torch"),
        ("ham.train.loop", "from ham.losses.base import SpeakerLoss\nimport ham"),
        ("ham.bin.train", "from ham.losses import LOSSES\nfrom ham.cli import Parser"),
        ("egs.mini.local.plan", "from ham.cli import Parser"),
    ],
)
def test_a_right_import_is_accepted(module: str, source: str) -> None:
    assert wrong_imports(source, module) == []


def test_relative_imports_of_a_package_start_in_it() -> None:
    assert list(imported(ast.parse("from .base import x"), "ham.losses", True)) == [(1, "ham.losses.base")]
    assert list(imported(ast.parse("from .base import x"), "ham.losses.margin", False)) == [(1, "ham.losses.base")]


@pytest.mark.parametrize(
    "source",
    [
        "print(1)",
        "import sys\nsys.exit(1)",
        "raise SystemExit(2)",
        "import sys\nx = sys.argv[1:]",
        "from sys import argv",
        "import argparse",
        "from argparse import ArgumentParser",
        "import logging\nlogging.basicConfig()",
        "f = print",
    ],
)
def test_talk_is_found(source: str) -> None:
    assert len(wrong_talk(source)) == 1


def test_a_module_outside_the_rooms_is_found() -> None:
    with pytest.raises(AssertionError, match="FLOORS"):
        place_of("ham.unheard_of")
