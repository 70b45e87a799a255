r"""Calibration and fusion: scores, and measures of the recordings' quality, to log-likelihood ratios.

.. math:: \ell = b + \sum_k w_k f_k

The columns :math:`f_k` are the scores of one or several systems and, where wanted, quality measures of the two sides.
Weights and bias minimise the prior-weighted cross-entropy

.. math::
    \frac{p}{T} \sum_{target} \log(1 + e^{-\ell - \lambda}) +
    \frac{1 - p}{N} \sum_{nontarget} \log(1 + e^{\ell + \lambda}), \qquad \lambda = \log\frac{p}{1 - p}

(Bruemmer and du Preez, CSL 20, 2006; for fusion Pigeon, Druyts, Verlinde, DSP 10, 2000). It is convex. What it is
trained on must not be what it is judged on: trials of training speakers, :func:`calibration_trials`. A network has seen
those and tells them apart better than strangers, so that the ratios of strangers come out somewhat too sure; speakers
that were held out of training are the better choice where there are enough.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from ham.data.kaldi_dir import Trials, invert
from ham.data.trial_generation import MAX_TRIALS, generate_trials
from ham.embeddings.table import EmbeddingTable
from ham.errors import DataError
from ham.files import write_text
from ham.score.measures import Distance, distance_scores
from ham.score.metrics import Numbers, validated

RIDGE = 1e-8
"""Weight of half the squared weights of standardised columns: keeps them finite where the classes do not overlap, and
moves no digit that is shown where they do."""

RIDGES = (RIDGE, *(10.0**exponent for exponent in range(-7, 0)))
"""What :func:`choose_ridge` chooses from. To say nothing costs 0.056 at a prior of 0.01: a ridge of 0.1 says little."""

NUM_FOLDS = 5
"""Parts of the speakers in :func:`choose_ridge`, each held out once."""

UTTS_PER_SPEAKER = 10
"""Utterances of a speaker that calibration trials use: 45 pairs."""

Columns = Mapping[str, NDArray[np.floating[Any]]]
"""By name, one number a trial each."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Calibration:
    """A trained calibration.

    Attributes:
        weights: by column.
        bias: natural logarithm of a likelihood ratio.
        p_target: prior that the training weighed the errors for.
        num_target: number of target trials it was trained on.
        num_nontarget: number of non-target trials.
        ridge: weight of half the squared weights of standardised columns.
    """

    weights: Mapping[str, float]
    bias: float
    p_target: float
    num_target: int
    num_nontarget: int
    ridge: float = RIDGE

    def apply(self, columns: Columns) -> NDArray[np.float64]:
        """Log-likelihood ratios of trials.

        Args:
            columns: those of the training, in any order, each of shape ``(M,)``.

        Returns:
            Natural logarithms, shape ``(M,)``.

        Raises:
            DataError: if the columns are others, differ in length, or hold a number that is not finite.
        """
        missing = ", ".join(name for name in self.weights if name not in columns) or "none"
        unknown = ", ".join(name for name in columns if name not in self.weights) or "none"
        if set(self.weights) != set(columns):
            found = f"{missing} missing and {unknown} unknown"
            raise DataError(f"calibration: expected the columns {', '.join(self.weights)}, found {found}")
        matrix = _matrix({name: columns[name] for name in self.weights})
        llrs: NDArray[np.float64] = matrix @ np.array([*self.weights.values()]) + self.bias
        return llrs


def _matrix(columns: Columns) -> NDArray[np.float64]:
    """Columns side by side, checked, shape ``(M, K)``."""
    lengths = {name: np.shape(column) for name, column in columns.items()}
    if not columns or len(set(lengths.values())) > 1 or any(len(shape) != 1 for shape in lengths.values()):
        found = ", ".join(f"{name} {shape}" for name, shape in lengths.items()) or "no columns"
        raise DataError(f"calibration: expected columns of one number a trial, found {found}")
    for name, column in columns.items():
        bad = np.flatnonzero(~np.isfinite(column))
        if len(bad):
            raise DataError(f"calibration: expected finite numbers in {name}, found {column[bad[0]]:g} at {bad[0] + 1}")
    return np.stack([np.asarray(column, np.float64) for column in columns.values()], axis=1)


def fit(columns: Columns, labels: Numbers, p_target: float = 0.01, ridge: float = RIDGE) -> Calibration:
    """Train a calibration, or a fusion where several columns are scores.

    The columns are standardised for the search, so that their units do not matter; a column that does not vary gets
    the weight 0.

    Args:
        columns: scores and quality measures of trials, each of shape ``(M,)``.
        labels: 1 for a target trial, 0 for a non-target trial.
        p_target: prior probability of a target trial that the errors are weighed for, strictly between 0 and 1.
        ridge: weight of half the squared weights of standardised columns; see :func:`choose_ridge`.

    Returns:
        The calibration.

    Raises:
        DataError: if columns and labels do not fit each other, a number is not finite, no column varies, there is
            only one class, or the search fails.
        ValueError: if ``p_target`` is out of range.
    """
    if not 0 < p_target < 1:
        raise ValueError(f"expected p_target strictly between 0 and 1, found {p_target}")
    matrix = _matrix(columns)
    targets = validated(matrix[:, 0], labels)[1]
    centre, spread = matrix.mean(axis=0), matrix.std(axis=0)
    spread[spread <= 1e-9 * np.abs(centre)] = 0.0
    if not spread.any():
        raise DataError(f"calibration: expected columns that vary, found {', '.join(columns)} the same in every trial")
    scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
    solution = _minimise(_Entropy((matrix - centre) * scale, targets, p_target, ridge))
    weights = solution[:-1] * scale
    return Calibration(
        weights=dict(zip(columns, weights.tolist(), strict=True)),
        bias=float(solution[-1] - weights @ centre),
        p_target=p_target,
        num_target=int(targets.sum()),
        num_nontarget=int((~targets).sum()),
        ridge=ridge,
    )


def choose_ridge(
    columns: Columns,
    labels: Numbers,
    enrol_speakers: Sequence[str],
    test_speakers: Sequence[str],
    p_target: float = 0.01,
) -> float:
    """Ridge whose calibrations do best on speakers that they were not trained on: cross-validation over speakers.

    With few speakers many columns separate the training trials by chance, and the weights grow until the ratios of
    strangers are wrong with certainty. The speakers are divided into :data:`NUM_FOLDS` parts; each part's trials are
    judged, by the cross-entropy of the training, with the calibration of trials between the others.

    Args:
        columns: as :func:`fit` takes them.
        labels: 1 for a target trial, 0 for a non-target trial.
        enrol_speakers: the speaker of each trial's enrolment side.
        test_speakers: the speaker of each trial's test side.
        p_target: as :func:`fit` takes it.

    Returns:
        One of :data:`RIDGES`; the least where no part has trials of both classes.

    Raises:
        DataError: as :func:`fit`.
    """
    part = {speaker: number % NUM_FOLDS for number, speaker in enumerate(sorted({*enrol_speakers, *test_speakers}))}
    enrol, test = (np.array([part[speaker] for speaker in side]) for side in (enrol_speakers, test_speakers))
    targets = np.asarray(labels) == 1
    matrix = {name: np.asarray(column, np.float64) for name, column in columns.items()}
    folds = [((enrol != fold) & (test != fold), (enrol == fold) & (test == fold)) for fold in range(NUM_FOLDS)]
    usable = [fold for fold in folds if all(0 < targets[mask].sum() < mask.sum() for mask in fold)]
    if not usable:
        return RIDGE
    costs = [sum(_held_out_cost(matrix, targets, *fold, p_target, ridge) for fold in usable) for ridge in RIDGES]
    return RIDGES[int(np.argmin(costs))]


def _held_out_cost(
    columns: Columns,
    targets: NDArray[np.bool_],
    train: NDArray[np.bool_],
    held_out: NDArray[np.bool_],
    p_target: float,
    ridge: float,
) -> float:
    """Cross-entropy on the trials of one part."""
    found = fit({name: column[train] for name, column in columns.items()}, targets[train], p_target, ridge)
    llrs = found.apply({name: column[held_out] for name, column in columns.items()})
    value, _ = _Entropy(llrs[:, None], targets[held_out], p_target, 0.0).value_and_gradient(np.array([1.0, 0.0]))
    return value


class _Entropy:
    """The cross-entropy with its first two derivatives, as functions of the weights and, last, the bias."""

    def __init__(
        self, standardised: NDArray[np.float64], targets: NDArray[np.bool_], p_target: float, ridge: float
    ) -> None:
        num_target, num = int(targets.sum()), len(targets)
        self.inputs = np.column_stack([standardised, np.ones(num)])
        self.sign = np.where(targets, 1.0, -1.0)
        self.weight = np.where(targets, p_target / num_target, (1 - p_target) / (num - num_target))
        self.log_odds = math.log(p_target / (1 - p_target))
        self.ridge = np.append(np.full(standardised.shape[1], ridge), 0.0)

    def _margin(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        margin: NDArray[np.float64] = self.sign * (self.inputs @ theta + self.log_odds)
        return margin

    def value_and_gradient(self, theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Value and gradient."""
        margin = self._margin(theta)
        value = self.weight @ np.logaddexp(0.0, -margin) + 0.5 * self.ridge @ np.square(theta)
        return float(value), -self.inputs.T @ (self.weight * self.sign * expit(-margin)) + self.ridge * theta

    def hessian(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Second derivatives."""
        margin = self._margin(theta)
        curvature = self.weight * expit(margin) * expit(-margin)
        matrix: NDArray[np.float64] = (self.inputs * curvature[:, None]).T @ self.inputs + np.diag(self.ridge)
        return matrix


def _minimise(entropy: _Entropy) -> NDArray[np.float64]:
    start = np.zeros(entropy.inputs.shape[1])
    start[-1] = -entropy.log_odds
    options = {"gtol": 1e-9, "maxiter": 500}
    found = minimize(
        entropy.value_and_gradient, start, jac=True, hess=entropy.hessian, method="trust-exact", options=options
    )
    # The search also stops, rightly, where rounding hides any further progress.
    if not np.isfinite(found.x).all() or np.abs(found.jac).max() > 1e-6:
        raise DataError(f"calibration: expected the regression to converge, found {found.message!r}")
    solution: NDArray[np.float64] = found.x
    return solution


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration as JSON, whole or not at all.

    Args:
        path: the file.
        calibration: what to write.
    """
    write_text(path, json.dumps(asdict(calibration), indent=2) + "\n")


def read_calibration(path: Path) -> Calibration:
    """Read a calibration.

    Args:
        path: the file.

    Returns:
        The same numbers to the last bit.

    Raises:
        DataError: if the file is missing or something else.
    """
    cure = "score again by this back-end (stage 6)"
    try:
        entry = json.loads(path.read_text(encoding="utf-8"))
        found = Calibration(
            weights={str(name): float(weight) for name, weight in entry["weights"].items()},
            bias=float(entry["bias"]),
            p_target=float(entry["p_target"]),
            num_target=int(entry["num_target"]),
            num_nontarget=int(entry["num_nontarget"]),
            ridge=float(entry["ridge"]),
        )
    except FileNotFoundError as error:
        raise DataError(f"{path}: expected a calibration, found nothing; {cure}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DataError(f"{path}: expected a calibration as JSON, found something else; {cure}") from error
    if not found.weights or not all(map(math.isfinite, (*found.weights.values(), found.bias))):
        raise DataError(f"{path}: expected finite weights and bias, found others; {cure}")
    return found


def quality_columns(
    name: str, values: NDArray[np.floating[Any]], enrol: Rows, test: Rows, *, ratio: bool = False
) -> dict[str, Any]:
    """Columns of a quality measure: the lesser and the greater of the two sides.

    A score does not depend on which side is which, and so neither do these; a weighted sum of them can be the sum of
    the two sides and their absolute difference, but not their ratio.

    Args:
        name: the measure's.
        values: of each utterance, by row of the embeddings' table, shape ``(N,)``.
        enrol: row of each trial's enrolment side.
        test: row of each trial's test side.
        ratio: whether the greater divided by the lesser is a column too.

    Returns:
        ``<name>/lesser``, ``<name>/greater`` and, where wanted, ``<name>/ratio``, shape ``(M,)``.
    """
    lesser, greater = (choose(values[enrol], values[test]) for choose in (np.minimum, np.maximum))
    found = {f"{name}/lesser": lesser, f"{name}/greater": greater}
    if ratio:
        with np.errstate(divide="ignore", invalid="ignore"):  # a calibration refuses what is not finite
            found[f"{name}/ratio"] = greater / lesser
    return found


def durations(table: EmbeddingTable, utt2dur: Mapping[str, float], rows: Rows) -> NDArray[np.float64]:
    """Durations in seconds by row of a table.

    Args:
        table: the embeddings.
        utt2dur: durations in seconds.
        rows: rows of the table whose duration is wanted, repeated or not.

    Returns:
        Shape ``(N,)``, NaN in the other rows.

    Raises:
        DataError: if an utterance that is wanted has no duration above 0.
    """
    found = np.full(len(table.utts), math.nan)
    wanted = np.unique(rows)
    found[wanted] = [utt2dur.get(table.utts[row], math.nan) for row in wanted]
    bad = wanted[~(found[wanted] > 0)]
    if len(bad):
        utt = table.utts[bad[0]]
        raise DataError(f"{table.place}: expected a duration above 0 s for {utt}, found {utt2dur.get(utt, 'none')}")
    return found


def embedding_norms(table: EmbeddingTable) -> NDArray[np.float64]:
    """Euclidean length of each embedding as it leaves the backbone.

    Args:
        table: the embeddings.

    Returns:
        Shape ``(N,)``.
    """
    squares: NDArray[np.float64] = np.einsum("nd,nd->n", table.embeddings, table.embeddings, dtype=np.float64)
    return np.sqrt(squares)


def hyperbolic_radii(table: EmbeddingTable, distance: Distance) -> NDArray[np.float64]:
    """Hyperbolic distance of each embedding from the origin, which the embedding 0 is mapped to.

    Args:
        table: the embeddings.
        distance: row by row, as :func:`ham.score.measures.distance_scores` takes it.

    Returns:
        Shape ``(N,)``.

    Raises:
        DataError: if a distance is not finite.
    """
    rows = np.arange(len(table.utts))
    return -distance_scores(table, rows, rows, lambda x, _: distance(x, torch.zeros_like(x))).astype(np.float64)


def calibration_trials(
    utt2spk: Mapping[str, str],
    utt2dur: Mapping[str, float],
    *,
    sessions: Mapping[str, str] | None = None,
    max_trials: int = MAX_TRIALS,
    utts_per_speaker: int = UTTS_PER_SPEAKER,
    seed: int = 0,
) -> Trials:
    """Trials of training speakers to calibrate on, the same for the same arguments.

    Of each speaker up to ``utts_per_speaker`` utterances are taken, spread evenly over its durations from the
    shortest to the longest, so that what duration does to a score can be seen. These are paired as
    :func:`ham.data.trial_generation.generate_trials` pairs, targets across sessions where sessions are known. Only the
    utterances in the result need embeddings.

    Args:
        utt2spk: the speaker of each training utterance.
        utt2dur: durations in seconds.
        sessions: the recording session of each utterance; None where unknown. Two pieces of one recording are too easy
            a target: give this where it is known.
        max_trials: target trials, and likewise non-target trials, at most; non-targets are as many as there can be.
        utts_per_speaker: at least 2.
        seed: of every choice.

    Returns:
        The trials, sorted.

    Raises:
        DataError: if an utterance has no duration or session, or there are no two speakers or no target trial.
        ValueError: if ``utts_per_speaker`` or ``max_trials`` is out of range.
    """
    if utts_per_speaker < 2 or max_trials < 1:
        raise ValueError(f"expected utts_per_speaker >= 2 and max_trials >= 1, found {utts_per_speaker}, {max_trials}")
    for name, known in (("duration", utt2dur), ("session", sessions)):
        lacking = [utt for utt in utt2spk if known is not None and utt not in known]
        if lacking:
            raise DataError(
                f"calibration: expected the {name} of every training utterance, found none for {lacking[0]}"
            )
    speakers: dict[str, dict[str, list[str]]] = {}
    for speaker, utts in invert(utt2spk).items():
        by_session = speakers.setdefault(speaker, {})
        for utt in _spread(sorted(utts, key=lambda utt: (utt2dur[utt], utt)), utts_per_speaker):
            by_session.setdefault(sessions[utt] if sessions else "", []).append(utt)
    return generate_trials(speakers, seed, max_trials=max_trials, num_nontarget=max_trials)["all"]


def _spread(utts: list[str], count: int) -> list[str]:
    """At most ``count`` of them, evenly spaced, the first and the last among them."""
    if len(utts) <= count:
        return utts
    return [utts[round(i * (len(utts) - 1) / (count - 1))] for i in range(count)]
