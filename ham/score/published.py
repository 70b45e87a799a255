"""Other people's numbers, to stand beside ours: ``egs/<corpus>/conf/published.yaml``.

The file is a list of mappings with the keys ``config`` (name of a configuration of ``conf/``), ``system`` (name of a
loss), ``list`` (``<root>/<list>``), ``backend``, ``eer`` (per cent), where known ``min_dcf_p01`` and ``min_dcf_p05``,
and ``source``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ham.errors import ConfigError, DataError, summarise

_TEXTS = ("config", "system", "list", "backend", "source")
_COSTS = ("min_dcf_p01", "min_dcf_p05")


@dataclass(frozen=True)
class Published:
    """One published result.

    Attributes:
        system: name of the loss.
        trial_list: ``<root>/<list>``.
        backend: the protocol, as our back-ends are called.
        eer: a fraction, by whatever rule its authors used.
        min_dcf_p01: normalised minimum detection cost at 0.01; None if it was not published.
        min_dcf_p05: the same at 0.05.
        source: where it was published.
    """

    system: str
    trial_list: str
    backend: str
    eer: float
    min_dcf_p01: float | None
    min_dcf_p05: float | None
    source: str


def read_published(path: Path, config: str) -> list[Published]:
    """Read the numbers that were published for one configuration.

    Args:
        path: the file.
        config: name of the configuration.

    Returns:
        Its entries, in the order of the file.

    Raises:
        DataError: if the file is missing, or an entry is not what the format says, or one stands twice.
        ConfigError: if nothing was published for the configuration.
    """
    entries = _entries(path)
    problems = [f"{path}: entry {at}: {problem}" for at, entry in enumerate(entries, 1) for problem in _wrong(entry)]
    if problems:
        raise DataError(summarise(problems))
    names = list(dict.fromkeys(entry["config"] for entry in entries))
    if config not in names:
        raise ConfigError(f"--published_config: expected one of {', '.join(names)} ({path}), found '{config}'")
    found = [_published(entry) for entry in entries if entry["config"] == config]
    keys = [(entry.system, entry.trial_list, entry.backend) for entry in found]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice:
        raise DataError(f"{path}: expected each number once, found {config} {' '.join(twice)} twice")
    return found


def _entries(path: Path) -> list[Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: expected published numbers, found nothing; name another file") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: expected YAML, found something else ({' '.join(str(error).split())})") from error
    if not isinstance(content, list) or not content:
        raise DataError(f"{path}: expected a list of published numbers, found {type(content).__name__}")
    return content


def _wrong(entry: Any) -> list[str]:
    """What an entry does not have, or has too much."""
    if not isinstance(entry, Mapping):
        return [f"expected a mapping, found {entry!r}"]
    problems = [f"unknown key {key!r}" for key in entry if key not in (*_TEXTS, "eer", *_COSTS)]
    problems += [f"{key}: expected text, found {entry.get(key)!r}" for key in _TEXTS if not _is_text(entry.get(key))]
    if not _is_within(entry.get("eer"), 100):
        problems.append(f"eer: expected per cent between 0 and 100, found {entry.get('eer')!r}")
    costs = [key for key in _COSTS if entry.get(key) is not None and not _is_within(entry[key], 1)]
    return problems + [f"{key}: expected a cost between 0 and 1, found {entry[key]!r}" for key in costs]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_within(value: Any, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


def _published(entry: Mapping[str, Any]) -> Published:
    at_01, at_05 = (None if entry.get(key) is None else float(entry[key]) for key in _COSTS)
    return Published(
        entry["system"], entry["list"], entry["backend"], entry["eer"] / 100, at_01, at_05, entry["source"]
    )
