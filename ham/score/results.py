"""``results.json``: the numbers of an experiment and what they came from."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ham.errors import DataError
from ham.score.intervals import NUM_RESAMPLES, Speakers, eer_interval
from ham.score.metrics import Numbers, eer, min_dcf, validated
from ham.score.scores import write_text

INTERVAL_SEED = 0
"""The bootstrap's seed, fixed so that scoring twice gives the same file; it is not the training's seed."""

HEADER = ("list", "back-end", "EER % [95 %]", "minDCF 0.01", "minDCF 0.05", "targets", "non-targets")
"""Heads of the table that :func:`table` fills."""


@dataclass(frozen=True)
class ListResult:
    """The numbers of one trial list under one back-end; ``eer`` and its interval are fractions.

    Attributes:
        trial_list: ``<root>/<list>``; the key ``list`` of the file.
        backend: ``cosine``, ``hyperbolic``, ...
        num_target: number of target trials.
        num_nontarget: number of non-target trials.
        eer: interpolated equal error rate.
        eer_low: low end of its 95 % interval (bootstrap over speakers).
        eer_high: high end of it.
        min_dcf_p01: normalised minimum detection cost at ``p_target`` 0.01, costs 1.
        min_dcf_p05: the same at 0.05.
    """

    trial_list: str
    backend: str
    num_target: int
    num_nontarget: int
    eer: float
    eer_low: float
    eer_high: float
    min_dcf_p01: float
    min_dcf_p05: float


@dataclass(frozen=True)
class Results:
    """Everything in ``results.json``.

    Attributes:
        name: the experiment's name.
        seed: the training's seed.
        commit: of the source tree, ``-dirty`` appended where it had changes; None outside a checkout.
        versions: package name to version.
        command: the command that gives these numbers.
        results: one entry a trial list and back-end.
    """

    name: str
    seed: int
    commit: str | None
    versions: Mapping[str, str]
    command: str
    results: tuple[ListResult, ...]


def evaluate(
    trial_list: str,
    backend: str,
    scores: Numbers,
    labels: Numbers,
    enrol_speakers: Speakers,
    test_speakers: Speakers,
    *,
    num_resamples: int = NUM_RESAMPLES,
) -> ListResult:
    """Compute the numbers of one trial list under one back-end.

    Args:
        trial_list: ``<root>/<list>``.
        backend: what made the scores.
        scores: one score a trial, higher for "same speaker".
        labels: 1 for a target trial, 0 for a non-target trial.
        enrol_speakers: the speaker of each trial's enrolment side.
        test_speakers: the speaker of each trial's test side.
        num_resamples: draws of the bootstrap.

    Returns:
        The numbers.

    Raises:
        DataError: if scores, labels and speakers do not fit each other.
    """
    targets = validated(scores, labels)[1]
    interval = eer_interval(
        scores, labels, enrol_speakers, test_speakers, num_resamples=num_resamples, seed=INTERVAL_SEED
    )
    return ListResult(
        trial_list=trial_list,
        backend=backend,
        num_target=int(targets.sum()),
        num_nontarget=int((~targets).sum()),
        eer=eer(scores, labels),
        eer_low=interval.low,
        eer_high=interval.high,
        min_dcf_p01=min_dcf(scores, labels, p_target=0.01),
        min_dcf_p05=min_dcf(scores, labels, p_target=0.05),
    )


def table(results: Sequence[ListResult]) -> list[tuple[str, ...]]:
    """Rows of the results table as text, in the columns of :data:`HEADER`; the EER in per cent.

    Args:
        results: the numbers.

    Returns:
        One row an entry.
    """
    return [
        (
            result.trial_list,
            result.backend,
            f"{100 * result.eer:.2f} [{100 * result.eer_low:.2f}, {100 * result.eer_high:.2f}]",
            f"{result.min_dcf_p01:.3f}",
            f"{result.min_dcf_p05:.3f}",
            f"{result.num_target:,}",
            f"{result.num_nontarget:,}",
        )
        for result in results
    ]


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay a table out for a terminal: the first two columns to the left, numbers to the right.

    Args:
        header: heads of the columns.
        rows: as many cells each.

    Returns:
        Lines without a line end after the last.
    """
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) if at < 2 else cell.rjust(width) for at, (cell, width) in enumerate(row))
        for row in (list(zip(cells, widths, strict=True)) for cells in (header, *rows))
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def write_results(path: Path, results: Results) -> None:
    """Write ``results.json``, whole or not at all; the same results give the same bytes.

    Args:
        path: the file.
        results: what to write.
    """
    content = asdict(results)
    content["versions"] = dict(results.versions)
    content["results"] = [{"list": entry.pop("trial_list"), **entry} for entry in content["results"]]
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_results(path: Path) -> Results:
    """Read ``results.json``.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        DataError: if the file is missing or lacks a field.
    """
    cure = "score the trials again (stage 6)"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        entries = tuple(_entry(dict(entry)) for entry in content.pop("results"))
        return Results(**content, results=entries)
    except FileNotFoundError as error:
        raise DataError(f"{path}: expected results, found nothing; {cure}") from error
    except KeyError as error:
        raise DataError(f"{path}: expected the field {error}, found none; {cure}") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: expected results as stage 6 writes them, found something else; {cure}") from error


def _entry(entry: dict[str, Any]) -> ListResult:
    return ListResult(trial_list=entry.pop("list"), **entry)


def git_commit(package: Path) -> str | None:
    """Commit of the checkout that a package is run from.

    ``-dirty`` is appended where a file under version control was changed, as ``git describe --dirty`` does.

    Args:
        package: folder of the package, directly below the root of the checkout.

    Returns:
        The full hash, or None where the package is installed elsewhere or git does not answer.
    """
    root = package.resolve().parent
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() != root:
            return None
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
        return _git(root, "rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
