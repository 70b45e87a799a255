"""``conf/published.yaml`` of a corpus: the numbers that others have published, each with what it is a number of."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ham.errors import ConfigError, DataError, summarise
from ham.score.backends import parse_backend

TRIAL_LIST = re.compile(r"[^/\s]+/[^/\s]+")
"""``<root>/<list>``."""

_WORDS = ("config", "system", "list", "backend", "source")
_NUMBERS = ("eer", "min_dcf_p01", "min_dcf_p05")
_FLAGS = ("verified", "finetuned")
_OPTIONAL = {"min_dcf_p01", "min_dcf_p05", *_FLAGS}
_TAG = "tag:yaml.org,2002:"
_CURE = "write '- {config: NAME, system: LOSS, list: ROOT/LIST, backend: NAME, eer: PER_CENT, source: TEXT}'"


@dataclass(frozen=True)
class Published:
    """One published number: a system on a trial list under a back-end.

    Attributes:
        config: stem of the file of ``conf/`` that stands for the system.
        system: its loss.
        trial_list: ``<root>/<list>``; the key ``list`` of the file.
        backend: ``cosine``, ``cosine+crops``, ``cosine+mean+as_norm``, ...
        eer: equal error rate, a fraction (the file has per cent).
        min_dcf_p01: normalised minimum detection cost at ``p_target`` 0.01; None where none was published.
        min_dcf_p05: the same at 0.05.
        source: where it was read.
        verified: whether it comes with what it was computed from (logs, a recipe), and not from hearsay.
        finetuned: whether the system had large-margin fine-tuning, as stage 8 does.
    """

    config: str
    system: str
    trial_list: str
    backend: str
    eer: float
    min_dcf_p01: float | None
    min_dcf_p05: float | None
    source: str
    verified: bool
    finetuned: bool


def read_published(path: Path) -> tuple[Published, ...]:
    """Read and check the published numbers of a corpus.

    Args:
        path: a YAML list of mappings, as ``egs/voxceleb/conf/published.yaml`` explains them.

    Returns:
        The entries in the file's order; an empty file has none.

    Raises:
        DataError: if the file cannot be read, or an entry lacks a key, has an unknown one, one twice or a value that it
            cannot have, or stands twice.
    """
    entries = [_scalars(path, node) for node in _nodes(path)]
    problems = [problem for place, entry in entries for problem in _problems(place, entry)]
    if not problems:
        problems = _repeated(entries)
    if problems:
        raise DataError(f"{summarise(problems)}; {_CURE}")
    return tuple(_published(entry) for _, entry in entries)


def _nodes(path: Path) -> list[yaml.Node]:
    """The nodes of the file's list; nodes know their line, which values do not."""
    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected published numbers, cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise DataError(f"{path}: expected a YAML list, found: {' '.join(str(error).split())}; {_CURE}") from error
    if root is None:
        return []
    if not isinstance(root, yaml.SequenceNode):
        raise DataError(f"{path}: expected a YAML list of entries, found something else; {_CURE}")
    return list(root.value)


def _scalars(path: Path, node: yaml.Node) -> tuple[str, dict[str, yaml.ScalarNode]]:
    """Place of an entry and its values by key."""
    place = f"{path}:{node.start_mark.line + 1}"
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    if not pairs or not all(isinstance(part, yaml.ScalarNode) for pair in pairs for part in pair):
        raise DataError(f"{place}: expected an entry of keys and plain values, found something else; {_CURE}")
    twice = [key for key, count in Counter(key.value for key, _ in pairs).items() if count > 1]
    if twice:
        raise DataError(f"{place}: the key '{twice[0]}' is given twice; leave one out")
    return place, {key.value: value for key, value in pairs}


def _problems(place: str, entry: Mapping[str, yaml.ScalarNode]) -> list[str]:
    """Everything that is wrong with an entry."""
    known = (*_WORDS, *_NUMBERS, *_FLAGS)
    found = [f"{place}: unknown key '{key}'" for key in entry if key not in known]
    found += [f"{place}: expected the key '{key}', found none" for key in known if key not in {*entry, *_OPTIONAL}]
    for key in known:
        if key in entry and (expected := _expected(key, entry[key])):
            found.append(f"{place}: {key}: expected {expected}, found {entry[key].value!r}")
    return found


def _expected(key: str, node: yaml.ScalarNode) -> str:
    """What should stand there; empty if it does."""
    kind, text = str(node.tag).removeprefix(_TAG), str(node.value)
    if key in _FLAGS:
        return "" if kind == "bool" and text in ("true", "false") else "true or false"
    if key in _NUMBERS:
        most, what = (
            (50.0, "per cent above 0 and at most 50") if key == "eer" else (1.0, "a cost above 0 and at most 1")
        )
        return "" if kind in ("float", "int") and 0 < _number(text) <= most else what
    if key == "backend":
        return "" if _is_backend(text) else "a back-end such as cosine, cosine+crops or cosine+mean+as_norm"
    if key == "list":
        return "" if TRIAL_LIST.fullmatch(text) else "ROOT/LIST"
    return "" if kind == "str" and text.strip() else "words"


def _number(text: str) -> float:
    """The number that YAML saw; NaN for the spellings of it that only YAML knows (hexadecimal, base 60)."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _repeated(entries: Sequence[tuple[str, Mapping[str, yaml.ScalarNode]]]) -> list[str]:
    """Entries that are a number of the same thing as one before them."""
    found, first = [], dict[tuple[str, ...], str]()
    for place, entry in entries:
        tuned = entry["finetuned"].value if "finetuned" in entry else "false"
        key = (*(entry[name].value for name in ("config", "system", "list", "backend")), tuned)
        if key in first:
            found.append(f"{place}: the same system, list and back-end as {first[key]}")
        first.setdefault(key, place)
    return found


def _published(entry: Mapping[str, yaml.ScalarNode]) -> Published:
    """A checked entry as values."""
    numbers = {name: float(entry[name].value) if name in entry else None for name in ("min_dcf_p01", "min_dcf_p05")}
    return Published(
        config=entry["config"].value,
        system=entry["system"].value,
        trial_list=entry["list"].value,
        backend=entry["backend"].value,
        eer=float(entry["eer"].value) / 100,
        min_dcf_p01=numbers["min_dcf_p01"],
        min_dcf_p05=numbers["min_dcf_p05"],
        source=entry["source"].value,
        verified="verified" not in entry or entry["verified"].value == "true",
        finetuned="finetuned" in entry and entry["finetuned"].value == "true",
    )


def _is_backend(name: str) -> bool:
    try:
        parse_backend(name)
    except ConfigError:
        return False
    return True
