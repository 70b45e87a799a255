"""The ``scores`` file, one line ``<enrol> <test> <score>`` a trial, and how it is joined to its trial list.

A fourth column ``target`` or ``nontarget`` may follow: wespeaker's ``compute_metrics.py`` and ``compute_det.py`` read
files with it. It is not needed here, where the trial list says so, and is not read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ham.errors import DataError, summarise
from ham.files import write_text

FORMAT = "%s %s %.9g"
"""Nine significant digits: a float32 read back is the one that was written, so no ties arise in the file."""


@dataclass(frozen=True)
class Scores:
    """The scores of one trial list and one back-end.

    Attributes:
        enrol: utterance (or model) on the enrolment side of each trial.
        test: utterance on the test side of each trial.
        values: score of each trial, float32, higher for "same speaker".
    """

    enrol: tuple[str, ...]
    test: tuple[str, ...]
    values: NDArray[np.float32]

    def __post_init__(self) -> None:
        if not len(self.enrol) == len(self.test) == len(self.values):
            found = f"{len(self.enrol)} enrolment ids, {len(self.test)} test ids and {len(self.values)} scores"
            raise DataError(f"expected one score a trial, found {found}")

    def join(self, enrol: Sequence[str], test: Sequence[str], place: str = "scores") -> NDArray[np.float32]:
        """Bring the scores into the order of a trial list; the two sides of a trial are the key.

        Lines for pairs that are no trial are ignored; a trial that the list holds twice gets its score twice.

        Args:
            enrol: enrolment side of each trial.
            test: test side of each trial.
            place: the file that an error message names.

        Returns:
            One score a trial, shape ``(M,)``.

        Raises:
            DataError: if a trial has no score, or one pair has two different ones.
        """
        if self.enrol == tuple(enrol) and self.test == tuple(test):
            return self.values
        found = self._by_key(place)
        trials = list(zip(enrol, test, strict=True))
        missing = [f"{place}: expected a score for '{a} {b}', found none" for a, b in trials if (a, b) not in found]
        if missing:
            raise DataError(f"{summarise(missing)}; score this trial list again (stage 6)")
        return np.array([found[trial] for trial in trials], dtype=np.float32)

    def _by_key(self, place: str) -> Mapping[tuple[str, str], float]:
        found: dict[tuple[str, str], float] = {}
        for enrol, test, value in zip(self.enrol, self.test, self.values.tolist(), strict=True):
            if found.setdefault((enrol, test), value) != value:
                raise DataError(f"{place}: expected one score for '{enrol} {test}', found two different ones")
        return found


def write_scores(path: Path, scores: Scores, labels: NDArray[np.int8] | None = None) -> None:
    """Write a ``scores`` file; it appears under its name only when it is complete.

    Args:
        path: the file; its folder is made where needed.
        scores: what to write.
        labels: 1 for a target trial, 0 for a non-target trial, to be a fourth column; None for three.
    """
    lines = list(map(FORMAT.__mod__, zip(scores.enrol, scores.test, scores.values.tolist(), strict=True)))
    if labels is not None:
        lines = [f"{line} {'target' if label else 'nontarget'}" for line, label in zip(lines, labels, strict=True)]
    write_text(path, "\n".join(lines) + "\n")


def read_scores(path: Path) -> Scores:
    """Read a ``scores`` file.

    Args:
        path: the file.

    Returns:
        Its lines, in the order of the file.

    Raises:
        DataError: if the file is missing or a line is not ``<enrol> <test> <score>`` with a score that is a number.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise DataError(f"{path}: expected a scores file, found nothing; score the trials first (stage 6)") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected text in UTF-8, found other bytes; score again (stage 6)") from error
    fields = [line.split() for line in lines]
    values = [_number(parts[2]) if _is_trial(parts) else math.nan for parts in fields]
    problems = [
        f"{path}:{number}: expected '<enrol> <test> <score>', found {line!r}"
        for number, (line, value) in enumerate(zip(lines, values, strict=True), 1)
        if math.isnan(value)
    ]
    if problems or not fields:
        raise DataError(summarise(problems or [f"{path}: expected lines '<enrol> <test> <score>', found none"]))
    enrol, test, *_ = zip(*fields, strict=False)
    return Scores(enrol, test, np.array(values, dtype=np.float32))


def _is_trial(parts: Sequence[str]) -> bool:
    return len(parts) == 3 or (len(parts) == 4 and parts[3] in ("target", "nontarget"))


def _number(text: str) -> float:
    """The number, or NaN, which no score may be."""
    try:
        return float(text)
    except ValueError:
        return math.nan
