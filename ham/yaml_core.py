"""YAML 1.2 with its core schema, and nothing beyond: what a configuration is written in.

PyYAML reads YAML 1.1, where ``010`` is 8, ``1:30`` is 90, ``off`` is false and ``5e-5`` is a word. Here

=======  =============================================================  ===================
value    written                                                        not
=======  =============================================================  ===================
null     nothing, ``~``, ``null``
bool     ``true``, ``false``                                            ``yes``, ``off``
int      ``12``, ``012`` (12), ``0o14`` and ``0xC`` (both 12)           ``1_000``, ``0b11``
float    ``0.5``, ``.5``, ``5e-5``, ``.inf``, ``.nan``                  ``1:30``
=======  =============================================================  ===================

and anything else is a word. Source: yaml.org/spec/1.2.2, 10.3. Keys are words, each once in a block.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode

from ham.errors import ConfigError
from ham.words import clip, count, quote

MAX_BYTES = 1 << 20
"""A configuration is a page; a file above this was named by mistake."""

MAX_DEPTH = 32
"""Blocks within blocks; ours need three."""

MAX_VALUES = 10_000
"""Values with all that aliases repeat: ten nested aliases can stand for a thousand million."""

MAX_INT = 2**63 - 1
"""The largest whole number that a tensor's size can be."""

_TAG = "tag:yaml.org,2002:"
_FORMS: dict[str, tuple[str, str]] = {
    "null": (r"(?:~|null|Null|NULL|)\Z", "~nN"),
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)\Z", "tTfF"),
    "int": (r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)\Z", "-+0123456789"),
    "float": (
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z",
        "-+.0123456789",
    ),
}


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with the core schema's words, bounded depth, and keys that are words and stand once."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as PyYAML declares them
    depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """Compose a node that is not too deep: beyond it Python's own stack would end."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ConstructorError(None, None, f"nested more than {MAX_DEPTH} deep", self.get_mark())
        node: Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        """Compose a block and check its keys."""
        node = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            name = key.value
            if not isinstance(key, ScalarNode) or key.tag != f"{_TAG}str":
                found = quote(name) if isinstance(key, ScalarNode) else "a list or block"
                raise ConstructorError(None, None, f"expected a word as key, found {found}", key.start_mark)
            if name in seen or name == "<<":
                problem = "is given twice" if name in seen else "(a merge) is not YAML 1.2; write the keys out"
                raise ConstructorError(None, None, f"key {quote(name)} {problem}", key.start_mark)
            seen.add(name)
        return node

    def construct_core(self, node: ScalarNode) -> object:
        """A null, a truth value or a number, whether its form or a tag says so."""
        kind = node.tag.removeprefix(_TAG)
        text = self.construct_scalar(node)
        if not re.match(_FORMS[kind][0], text):
            raise ConstructorError(None, None, f"{quote(text)} is no {kind}", node.start_mark)
        if kind == "int":
            return self._whole_number(text, node)
        if kind == "float":
            return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        return text.lower() == "true" if kind == "bool" else None

    def _whole_number(self, text: str, node: Node) -> int:
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        digits = text.lstrip("+-").removeprefix("0o").removeprefix("0x").lstrip("0") or "0"
        # Checked by length first: Python refuses to read thousands of digits.
        number = int(digits, base) if len(digits) <= len(f"{MAX_INT:o}") else MAX_INT + 1
        if number > MAX_INT:
            found = clip(text, 40)
            raise ConstructorError(None, None, f"expected numbers up to {MAX_INT}, found {found}", node.start_mark)
        return -number if text.startswith("-") else number


for _name, (_form, _first) in _FORMS.items():
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", re.compile(_form), [*_first, *([""] if _name == "null" else [])])
_Loader.yaml_constructors = {
    **{f"{_TAG}{name}": _Loader.construct_core for name in _FORMS},
    f"{_TAG}str": _Loader.construct_scalar,
    f"{_TAG}seq": _Loader.construct_yaml_seq,
    f"{_TAG}map": _Loader.construct_yaml_map,
    None: _Loader.construct_undefined,  # any other tag
}


def parse_yaml(text: str, place: str) -> object:
    """Read YAML.

    Args:
        text: one document.
        place: where it comes from, the beginning of an error's message.

    Returns:
        None, a truth value, number or word, or lists and dictionaries of them.

    Raises:
        ConfigError: if it is not YAML, with the line.
    """
    try:
        tree = yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark and text.count("\n") else ""
        reason = " ".join(f"{error.context + ', ' if error.context else ''}{error.problem}".split())
        raise ConfigError(f"{place}{line}: not YAML: {clip(reason, 300)}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{place}: not YAML: {clip(' '.join(str(error).split()), 300)}") from None
    _check_size(tree, place)
    return tree


def _check_size(tree: object, place: str) -> None:
    """Refuse what aliases blow up, or tie to a ring."""
    waiting: list[object] = [tree]
    for _ in range(MAX_VALUES + 1):
        if not waiting:
            return
        value = waiting.pop()
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting.extend(inner)
    raise ConfigError(f"{place}: expected a page of YAML, found more than {MAX_VALUES} values; mind lists and aliases")


def read_yaml(path: Path) -> object:
    """Read a YAML file.

    Args:
        path: the file, UTF-8 with or without a byte order mark.

    Returns:
        As :func:`parse_yaml`.

    Raises:
        ConfigError: naming the file, if there is none, it is something else or is not YAML.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ConfigError(f"{path}: expected a YAML file, found {'a folder' if path.is_dir() else 'no plain file'}")
        if found.st_size > MAX_BYTES:
            size = count(found.st_size, "byte")
            raise ConfigError(f"{path}: expected a page of YAML, at most {MAX_BYTES} bytes, found {size}")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise ConfigError(f"{path}: no such configuration; there are: {', '.join(near) or 'none'}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: expected text in UTF-8, found other bytes; save it as UTF-8") from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    return parse_yaml(text, str(path))
