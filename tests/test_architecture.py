"""Which way the dependencies run, and that only commands talk to the user; read from the sources with ``ast``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((REPOSITORY / "ham").rglob("*.py"))
}

LEAVES = {"ham.errors", "ham.words", "ham.schema", "ham.geometry", "ham.features"}
# What a module of each layer may import; a name stands for itself and all below it, one ending in ":" for itself
# only. `bases` are what training knows of losses and backbones: the tables of names are for commands alone.
BASES = {"ham.losses.base", "ham.backbones.base"}
LAYERS: dict[str, set[str]] = {
    "ham:": set(),
    "ham.words": set(),
    "ham.errors": {"ham.words"},
    "ham.yaml_core": {"ham.errors", "ham.words"},
    "ham.config": {"ham.errors", "ham.words", "ham.yaml_core"},
    "ham.geometry": {"ham.errors", "ham.geometry"},
    "ham.schema": {"ham.errors", "ham.words"},
    "ham.features": {"ham.errors", "ham.schema"},
    "ham.losses": {"ham.errors", "ham.schema", "ham.geometry", "ham.losses"},
    "ham.backbones": {"ham.errors", "ham.schema", "ham.backbones"},
    "ham.data": {*LEAVES, "ham.data"},
    "ham.score": {*LEAVES, *BASES, "ham.data", "ham.score"},
    "ham.train": {*LEAVES, *BASES, "ham:", "ham.data", "ham.score", "ham.train"},
    "ham.report": {*LEAVES, "ham:", "ham.data", "ham.score"},
    "ham.geometry_page": {*LEAVES, "ham:", "ham.data", "ham.score", "ham.html"},
    "ham.html": {*LEAVES, "ham:", "ham.score"},
    "ham.page": {*LEAVES, "ham:", "ham.data", "ham.score", "ham.report", "ham.html"},
    "ham.table_report": {*LEAVES, "ham:", "ham.data", "ham.score", "ham.report"},
    "ham.table_page": {*LEAVES, "ham:", "ham.data", "ham.score", "ham.report", "ham.html", "ham.table_report"},
    "ham.bin": {"ham"},
}

PARSERS = {"argparse", "optparse", "getopt", "click", "typer", "fire"}
TALKING = {"print", "input", "exit", "quit", "breakpoint", "SystemExit"}
PROCESS = {"sys.exit", "sys.argv", "os._exit", "os.abort", "logging.basicConfig", "logging.captureWarnings"}


def covers(name: str, module: str) -> bool:
    return module == name.removesuffix(":") or (not name.endswith(":") and module.startswith(name + "."))


def layer_of(module: str) -> set[str]:
    found = [allowed for name, allowed in LAYERS.items() if covers(name, module)]
    assert len(found) == 1, f"{module}: in {len(found)} layers; give it one in LAYERS"
    return found[0]


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
    allowed = layer_of(module)
    return [
        f"{module}:{line}: must not import {target}"
        for line, target in imported(ast.parse(source), module, is_package)
        if target.split(".")[0] == "ham" and not any(covers(name, target) for name in allowed)
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
    assert {"ham", "ham.errors", "ham.data.audio", "ham.bin.prepare_data", "ham.losses"} <= MODULES.keys()


@pytest.mark.parametrize("module", MODULES)
def test_dependencies_run_downwards(module: str) -> None:
    path = MODULES[module]
    assert wrong_imports(path.read_text(encoding="utf-8"), module, path.name == "__init__.py") == []


@pytest.mark.parametrize("module", [module for module in MODULES if not covers("ham.bin", module)])
def test_only_commands_parse_print_and_exit(module: str) -> None:
    assert wrong_talk(MODULES[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ham.errors", "import ham.config"),
        ("ham.geometry.poincare", "from ham import losses"),
        ("ham.losses.margin", "from ham.train import loop"),
        ("ham.losses.margin", "from ..data import store"),
        ("ham.data.audio", "def f():\n    from ham.bin._cli import run"),
        ("ham.train.loop", "from ham.losses import LOSSES"),
        ("ham.train.loop", "from ham.losses.margin import AamSoftmax"),
        ("ham.train.loop", "from ham.config import read"),
        ("ham.score.metrics", "import ham.train.loop"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str) -> None:
    assert len(wrong_imports(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ham.losses.margin", "from . import base\nfrom ..geometry import poincare\nimport torch"),
        ("ham.train.loop", "from ham.losses.base import SpeakerLoss\nimport ham"),
        ("ham.bin.train", "from ham.losses import LOSSES\nimport argparse"),
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


def test_a_module_outside_the_layers_is_found() -> None:
    with pytest.raises(AssertionError, match="LAYERS"):
        layer_of("ham.unheard_of")
