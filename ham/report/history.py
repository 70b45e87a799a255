"""What a training logged, read from its ``train.jsonl``."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ham.errors import DataError
from ham.words import count

logger = logging.getLogger(__name__)

_DIAGNOSTIC = "diag/"
"""Epoch values whose names begin so are drawn in a section of their own."""


@dataclass(frozen=True)
class History:
    """What a training run logged.

    Attributes:
        steps: the step events, oldest first.
        epochs: the epoch events, oldest first.
        facts: what all other events say, such as the hardware.
    """

    steps: tuple[Mapping[str, Any], ...] = ()
    epochs: tuple[Mapping[str, Any], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def values(self, name: str, *, of_steps: bool = False, scale: float = 1.0) -> tuple[list[float], list[float]]:
        """Positions, counted in epochs, and values of one logged quantity.

        Args:
            name: its key.
            of_steps: the steps' values, not the epochs'.
            scale: factor on the values, 100 for per cent.

        Returns:
            Two lists of one length; events without the key, and values that are no finite number, are left out.
        """
        events = [event for event in (self.steps if of_steps else self.epochs) if _is_number(event.get(name))]
        return [self._position(event, of_steps) for event in events], [scale * float(event[name]) for event in events]

    def _position(self, event: Mapping[str, Any], of_steps: bool) -> float:
        last = self.epochs[-1] if self.epochs else {}
        if of_steps and _is_number(event.get("step")) and _is_number(last.get("step")) and last["step"] > 0:
            return float(event["step"] * last["epoch"] / last["step"])
        return float(event["epoch"])

    def diagnostics(self) -> dict[str, list[str]]:
        """Names of the diagnostics, grouped: ``diag/radius/q05`` and ``diag/radius/q95`` share the group ``radius``.

        Returns:
            Group to the full names in it, in the order in which they were logged.
        """
        groups: dict[str, list[str]] = {}
        for name in dict.fromkeys(key for event in self.epochs for key in event if key.startswith(_DIAGNOSTIC)):
            if self.values(name)[0]:
                short = name.removeprefix(_DIAGNOSTIC)
                groups.setdefault(short.rpartition("/")[0] or short, []).append(name)
        return groups


def read_history(path: Path) -> History:
    """Read ``train.jsonl``; a line that is no JSON object (a run was killed while writing it) is left out and counted.

    Args:
        path: the file; if it is missing the history is empty.

    Returns:
        The events. Where an epoch or a step was logged twice, by a resumed run, the later one counts.
    """
    steps: dict[Any, Mapping[str, Any]] = {}
    epochs: dict[Any, Mapping[str, Any]] = {}
    facts: dict[str, Any] = {}
    for event in _events(read_if_there(path).splitlines(), path):
        if event.get("event") == "step" and _is_number(event.get("epoch")):
            steps[event.get("step", len(steps))] = event
        elif event.get("event") == "epoch" and _is_number(event.get("epoch")):
            epochs[event["epoch"]] = event
        else:
            facts.update(event)
    return History(tuple(steps.values()), tuple(epochs.values()), facts)


def _events(lines: Iterable[str], path: Path) -> list[dict[str, Any]]:
    events, damaged = [], 0
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        if isinstance(event, dict):
            events.append(event)
        else:
            damaged += 1
    if damaged:
        logger.warning("%s: left out, since no JSON object: %s", path, count(damaged, "line"))
    return events


def read_if_there(path: Path) -> str:
    """Read a text that an experiment may lack.

    Args:
        path: the file.

    Returns:
        Its text; empty if there is no such file.

    Raises:
        DataError: if it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8, found other bytes") from error


def _is_number(value: object) -> bool:
    """Whether a logged value can be drawn; a truth value cannot, though Python counts it as an integer."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
