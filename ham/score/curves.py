"""The curves that a report draws of a trial list, small enough to keep: a DET curve and two histograms of scores.

Stage 6 writes ``curves.json`` beside ``results.json``; the report then needs neither trials nor scores.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ham.errors import DataError
from ham.files import write_text
from ham.score.metrics import Numbers, det_points, error_rates, validated

NUM_BINS = 80


@dataclass(frozen=True)
class Curves:
    """The score distribution of one trial list under one back-end.

    Attributes:
        trial_list: ``<root>/<list>``.
        backend: ``cosine``, ``hyperbolic``, ...
        threshold: score at the operating point where the two error rates are nearest.
        miss: miss rates along the DET curve, rising, fractions.
        false_alarm: false-alarm rates of the same operating points, falling.
        edges: borders of the histogram's bins, one more than there are bins.
        target: number of target trials in each bin.
        nontarget: number of non-target trials in each bin.
    """

    trial_list: str
    backend: str
    threshold: float
    miss: tuple[float, ...]
    false_alarm: tuple[float, ...]
    edges: tuple[float, ...]
    target: tuple[int, ...]
    nontarget: tuple[int, ...]


def summarise_scores(
    trial_list: str, backend: str, scores: Numbers, labels: Numbers, num_bins: int = NUM_BINS
) -> Curves:
    """Reduce the scores of a trial list to its curves.

    Args:
        trial_list: ``<root>/<list>``.
        backend: what made the scores.
        scores: one finite score a trial, higher for "same speaker".
        labels: 1 for a target trial, 0 for a non-target trial.
        num_bins: bins of the histogram, from the lowest score to the highest.

    Returns:
        The curves; numbers are rounded to six digits.

    Raises:
        DataError: as :func:`ham.score.metrics.validated`.
    """
    values, targets = validated(scores, labels)
    rates = error_rates(values, targets)
    nearest = np.argmin(np.abs(rates.miss[:-1] - rates.false_alarm[:-1]))
    kept = det_points(rates)
    edges = np.histogram_bin_edges(values, num_bins)
    return Curves(
        trial_list=trial_list,
        backend=backend,
        threshold=_short(rates.threshold[nearest]),
        miss=tuple(map(_short, kept.miss)),
        false_alarm=tuple(map(_short, kept.false_alarm)),
        edges=tuple(map(_short, edges)),
        target=tuple(np.histogram(values[targets], edges)[0].tolist()),
        nontarget=tuple(np.histogram(values[~targets], edges)[0].tolist()),
    )


def _short(number: float) -> float:
    return float(f"{number:.6g}")


def write_curves(path: Path, curves: Iterable[Curves]) -> None:
    """Write ``curves.json``, whole or not at all.

    Args:
        path: the file.
        curves: one entry a trial list and back-end.
    """
    write_text(path, json.dumps([asdict(curve) for curve in curves], separators=(",", ":")) + "\n")


def read_curves(path: Path) -> list[Curves]:
    """Read ``curves.json``.

    Args:
        path: the file.

    Returns:
        Its entries.

    Raises:
        DataError: if the file is missing or something else.
    """
    cure = "score the trials again (stage 6)"
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [_curve(entry) for entry in entries]
    except FileNotFoundError as error:
        raise DataError(f"{path}: expected the curves of the trial lists, found nothing; {cure}") from error
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path}: expected curves as stage 6 writes them, found something else; {cure}") from error


def _curve(entry: Mapping[str, Any]) -> Curves:
    values: dict[str, Any] = {
        field.name: tuple(value) if isinstance(value := entry[field.name], list) else value for field in fields(Curves)
    }
    return Curves(**values)
