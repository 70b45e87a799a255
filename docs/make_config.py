"""Write docs/config.md: every key of a configuration, out of the constructors that read them.

``python docs/make_config.py`` writes the page anew. Names, types, defaults and ranges are those of the code; what a key
means is what the docstring of its class or function says under ``Args:`` or ``Attributes:``.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ham.backbones import BACKBONES
from ham.config import Config
from ham.frontends import FRONTENDS
from ham.losses import LOSSES
from ham.losses.spaces import build_space
from ham.schema import Range, keyword_options, option_types
from ham.train.blocks import TABLES

PAGE = Path(__file__).resolve().parent / "config.md"

Part = Callable[..., object]

ALL_TABLES: Mapping[str, Mapping[str, Part]] = {
    "frontend": FRONTENDS,
    "backbone": BACKBONES,
    "loss": LOSSES,
    **TABLES,
}

HANDED_ON: Mapping[str, Part] = {"loss": build_space}
"""What takes the options that a constructor only hands on."""

LARGE = 65536
"""A limit above this is beyond every use and not worth a reader's time."""

TEXT = """# The keys of a configuration

A system is one page of YAML, `conf/<system>.yaml`; every key may be left out. `./run.sh --config FILE` takes it, and
so do the commands of `ham.bin`. `--set "train.epochs=3 data.batch_size=64"` changes keys on the command line, `--loss
NAME` takes another loss at its published settings. What a training was asked for, every key spelt out, lies in
`exp/<name>/config.yaml`. `--config` takes that file too; its `seed`, which `--seed` says, and its `fingerprint` and
`materials`, which describe the speech and noises it was trained on, count for nothing then.

- Values are YAML 1.2: `012` is 12, `off` and `yes` are words, `5e-5` is a number.
- Eight blocks choose a part by its `name` (`augment` by its `mode`); their other keys belong to that part. An unknown
  key, a value of another type and one out of range are refused before any work is done.
- In `augment`, `optimiser`, `schedule`, `margin` and `curvature` a key that only another choice takes is checked and
  left out, and that is said: to edit the name is enough (`--set margin.name=constant` on a system with a margin
  schedule). `frontend`, `backbone` and `loss` refuse it; `--loss NAME` drops the options of the file's loss.
- `train.average_last` above `train.epochs` is cut to it, and that is said.

This page is made from the code by `python docs/make_config.py`.
"""


def explanations(part: Part) -> dict[str, str]:
    """What the docstring of a class or function says of each parameter or attribute.

    Args:
        part: a class, also by its bases where it says nothing itself, or a function.

    Returns:
        The sentences by name, in Markdown.
    """
    found: dict[str, str] = {}
    for one in reversed(part.__mro__ if isinstance(part, type) else [part]):
        sections = re.findall(r"^(?:Args|Attributes):\n((?: +.*\n?|\n)+)", inspect.getdoc(one) or "", re.MULTILINE)
        for section in sections:
            for name, text in re.findall(r"^ {4}(\w+): (.*\n?(?: {5,}.*\n?)*)", section, re.MULTILINE):
                found[name] = markdown(" ".join(text.split()), one)
    return found


def summary(part: Part) -> str:
    """The first paragraph of a docstring, in Markdown."""
    return markdown(" ".join((inspect.getdoc(part) or "").partition("\n\n")[0].split()), part)


def markdown(text: str, part: Part) -> str:
    """A sentence of a docstring in Markdown; names of classes and of lists of words become what they stand for.

    Raises:
        LookupError: if the module of the part, or of what it is made of, knows no such list.
    """
    names = {one.__name__: name for table in ALL_TABLES.values() for name, one in table.items()}
    modules = [vars(sys.modules[one.__module__]) for one in (inspect.getmro(part) if inspect.isclass(part) else [part])]

    def _words(match: re.Match[str]) -> str:
        for module in modules:
            if match[1] in module:
                return ", ".join(f"`{word}`" for word in module[match[1]])
        raise LookupError(f"{part.__module__}.{part.__qualname__}: a docstring names {match[1]}, which is not there")

    text = re.sub(r":math:`(.+?)`", r"$\1$", text)
    text = re.sub(r":mod:`(.+?)`", r"`\1`", text)
    text = re.sub(r":\w+:`(?:\w+\.)*(\w+)`", lambda match: f"`{names.get(match[1], match[1])}`", text)
    text = re.sub(r"\bNone\b", "`null`", re.sub(r"``(.+?)``", r"`\1`", text))
    return re.sub(r"`([A-Z_]{4,})`", _words, text)


def value(hint: Any) -> str:
    """What may stand for a key, in a user's words."""
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if kind is Annotated:
        limits: Range = inner[1]
        if limits.above > -float("inf"):
            return f"{value(inner[0])} above {limits.above:g}"
        most = f" to {limits.most:g}" if limits.most <= LARGE else " or more"
        return f"{value(inner[0])}, {limits.least:g}{most}"
    if kind is Literal:
        return " or ".join(f"`{word}`" for word in inner)
    if isinstance(hint, UnionType):
        return " or ".join(value(one) for one in inner)
    if kind is dict:
        return f"block, {value(inner[1])} each"
    if kind is not None:
        return f"list of {value(inner[0])}s"
    return {int: "whole number", float: "number", str: "word", bool: "`true` or `false`", type(None): "`null`"}[hint]


def shown(default: object) -> str:
    """A default as YAML has it."""
    if isinstance(default, (list, tuple)):
        return f"[{', '.join(map(shown, default))}]"
    return str(default).lower() if isinstance(default, bool) else "null" if default is None else str(default) or '""'


def field_rows(block: Any) -> list[list[str]]:
    """The rows of a dataclass's own keys: key, value, default, meaning."""
    hints = typing.get_type_hints(type(block), include_extras=True)
    said = explanations(type(block))
    return [
        [f"`{f.name}`", value(hints[f.name]), f"`{shown(getattr(block, f.name))}`", said[f.name]]
        for f in dataclasses.fields(block)
        if f.name != "options" and not dataclasses.is_dataclass(getattr(block, f.name))
    ]


def option_rows(kind: str, table: Mapping[str, Part]) -> list[list[str]]:
    """The rows of the options of a table's parts; one that several parts share stands once, with their names."""
    owners: dict[tuple[str, ...], list[str]] = {}
    for name, part in table.items():
        further = HANDED_ON.get(kind, part)
        types = {**option_types(further), **option_types(part)}
        said = {**explanations(further), **explanations(part)}
        for option, default in _options(part).items():
            cells = (f"`{option}`", value(types[option]), f"`{shown(default)}`")
            meaning = said.get(option, "as of")
            if meaning.startswith(("as in", "as of")):
                meaning = next((row[3] for row in owners if row[:3] == cells), "")
            if not meaning:
                raise ValueError(f"{kind} {name}: {option}: expected a line under Args: of its docstring, found none")
            owners.setdefault((*cells, meaning), []).append(name)
    keys = [row[0] for row in owners]
    return [
        [*row[:3], "all" if len(names) == len(table) else ", ".join(f"`{name}`" for name in names), row[3]]
        for row, names in sorted(owners.items(), key=lambda item: keys.index(item[0][0]))
    ]


def _options(part: Any) -> dict[str, Any]:
    options: dict[str, Any] = part.options() if hasattr(part, "options") else keyword_options(part)
    return options


def table_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def block_text(kind: str, block: Any, said: str) -> str:
    """The part of the page about one block."""
    text = f"\n## `{kind}`\n\n{said[0].upper()}{said[1:]}\n"
    rows = field_rows(block)
    if kind not in ALL_TABLES:
        return f"{text}\n{table_of(['key', 'value', 'default', 'meaning'], rows)}"
    table, (choice, *own) = ALL_TABLES[kind], rows
    choices = [[f"`{name}`", summary(part)] for name, part in table.items()]
    text += f"\n{table_of([f'{choice[0]}, by default {choice[2]}', 'what it is'], choices)}"
    rows = [[*row[:3], "all", row[3]] for row in own] + option_rows(kind, table)
    return f"{text}\n{table_of(['key', 'value', 'default', 'of', 'meaning'], rows)}"


def page() -> str:
    """The whole page."""
    config = Config()
    said = explanations(Config)
    top = table_of(["key", "value", "default", "meaning"], field_rows(config))
    blocks = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    parts = [
        block_text(kind, block, said.get(kind) or summary(type(block)))
        for kind, block in blocks.items()
        if dataclasses.is_dataclass(block)
    ]
    return f"{TEXT}\n{top}{''.join(parts)}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
