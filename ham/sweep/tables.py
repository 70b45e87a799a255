"""The tables of a corpus, as its ``conf/tables.yaml`` describes them; ``egs/README.md`` explains the keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ham.errors import ConfigError
from ham.schema import check_count, closest
from ham.train.estimate import Sizes
from ham.words import quote
from ham.yaml_core import read_yaml

_KINDS: dict[type, str] = {str: "words", list: "a list", dict: "a block of keys", bool: "true or false"}
_SIZES = ("num_utts", "num_speakers", "num_test_utts", "num_trials")
OF_MODEL = "model"
"""In place of a configuration: that of the model directory whose fine-tunings the table compares with it."""

_Kind = TypeVar("_Kind", str, list[Any], dict[str, Any], bool)


@dataclass(frozen=True)
class System:
    """What a row trains.

    Attributes:
        loss: its loss.
        changes: of the configuration, as ``--set`` takes them.
    """

    loss: str
    changes: str = ""


@dataclass(frozen=True)
class Table:
    """Experiments that stand side by side: one configuration with several losses.

    Attributes:
        name: of the table.
        config: the configuration, a file of ``conf/`` without its ending, or :data:`OF_MODEL`.
        losses: the rows: names of losses, or of ``systems``.
        backends: ways of scoring, words in one line.
        reference: the row that the others are compared with.
        data_dir: folder of data directories and stores.
        options: further options of ``run.sh`` and their values, one after the other.
        sizes: of the data, while they are not prepared; None where they are not known before.
        systems: rows that are more than the loss of their name.
        hierarchy: whether the measures of hierarchy are wanted too.
        on_request: whether it is made only where it is asked for by name.
        changes: of every row's configuration, as ``--set`` takes them.
    """

    name: str
    config: str
    losses: tuple[str, ...]
    backends: str
    reference: str
    data_dir: str
    options: tuple[str, ...] = ()
    sizes: Sizes | None = None
    systems: Mapping[str, System] = field(default_factory=dict)
    hierarchy: bool = False
    on_request: bool = False
    changes: str = ""

    def system(self, row: str) -> System:
        """What a row trains.

        Args:
            row: name of a loss, or of one of ``systems``.

        Returns:
            The loss and the changes of the configuration.
        """
        return self.systems.get(row, System(row))


def read_tables(path: Path, data_dir: str) -> tuple[tuple[int, ...], dict[str, Table]]:
    """Read the tables of a corpus.

    Args:
        path: its ``conf/tables.yaml``.
        data_dir: the corpus's folder of data directories and stores, ``{data_dir}`` in the file.

    Returns:
        The seeds of every row, and the tables by name.

    Raises:
        ConfigError: if the file is missing, or a key is unknown or has a value that it cannot have.
    """
    tree = _block(str(path), read_yaml(path), ("seeds", "tables"))
    seeds = tuple(check_count(f"{path}: seeds", seed, least=0) for seed in _get(str(path), tree, "seeds", list))
    blocks = _get(str(path), tree, "tables", dict)
    return seeds, {name: _table(f"{path}: {name}", name, block, data_dir) for name, block in blocks.items()}


def _table(place: str, name: str, tree: object, data_dir: str) -> Table:
    keys = ("config", "losses", "backends", "reference", "data_dir", "options", "sizes", "systems", "hierarchy")
    block = _block(place, tree, (*keys, "on_request", "set"))
    losses = tuple(map(str, _get(place, block, "losses", list)))
    if not losses:
        raise ConfigError(f"{place}: losses: expected some, found none")
    options = _get(place, block, "options", dict, {})
    sizes = _block(f"{place}: sizes", block.get("sizes") or {}, _SIZES)
    counts = [check_count(f"{place}: sizes: {key}", sizes.get(key), least=0) for key in _SIZES] if sizes else []
    systems = _get(place, block, "systems", dict, {})
    return Table(
        name=name,
        config=_get(place, block, "config", str, name),
        losses=losses,
        backends=_get(place, block, "backends", str),
        reference=_get(place, block, "reference", str, losses[0]),
        data_dir=_get(place, block, "data_dir", str, "{data_dir}").replace("{data_dir}", data_dir),
        options=tuple(
            word for key, text in options.items() for word in (f"--{key}", str(text).replace("{data_dir}", data_dir))
        ),
        sizes=Sizes(*counts) if counts else None,
        systems={row: _system(f"{place}: systems: {row}", row, found) for row, found in systems.items()},
        hierarchy=_get(place, block, "hierarchy", bool, False),
        on_request=_get(place, block, "on_request", bool, False),
        changes=_get(place, block, "set", str, ""),
    )


def _system(place: str, row: str, tree: object) -> System:
    block = _block(place, tree, ("loss", "set"))
    return System(_get(place, block, "loss", str, row), _get(place, block, "set", str, ""))


def _block(place: str, tree: object, keys: tuple[str, ...]) -> dict[str, Any]:
    """A block that has none but these keys."""
    if not isinstance(tree, dict):
        raise ConfigError(f"{place}: expected a block of keys, found {quote(tree)}")
    for key in tree:
        if key not in keys:
            raise ConfigError(f"{place}: expected keys among {', '.join(keys)}, found {quote(key)}{closest(key, keys)}")
    return tree


def _get(place: str, block: Mapping[str, Any], key: str, kind: type[_Kind], default: _Kind | None = None) -> _Kind:
    """The value of a key, which must be of a kind."""
    value = block.get(key, default)
    if not isinstance(value, kind):
        raise ConfigError(f"{place}: {key}: expected {_KINDS[kind]}, found {quote(value)}")
    return value
