"""Scores of trial lists by back-ends: normalisation and calibration on training speakers, shared steps done once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ham.data.trials import Trials
from ham.embeddings.table import EmbeddingTable, with_models
from ham.errors import ConfigError, DataError
from ham.losses.base import SpeakerLoss
from ham.score.backends import WESPEAKER, Backend, check_top_n
from ham.score.calibration import Calibration, Columns, choose_ridge, fit
from ham.score.measures import cosine_scores, crop_scores, distance_scores
from ham.score.normalisation import (
    NORMS,
    TOP_N,
    Cohort,
    CohortStatistics,
    cohort_statistics,
    normalise,
    subtract_mean,
    usual_top_n,
)
from ham.score.quality import durations, embedding_norms, hyperbolic_radii, quality_columns

WESPEAKER_PRIOR, WESPEAKER_LONGEST_S = 0.5, 20.0
"""Prior that wespeaker's calibration is trained for, and the duration at which it cuts longer ones off."""

_CURE = "run stage 5 with these --backends"

Rows = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class EmbeddedTrials:
    """A trial list with the embeddings of both sides, and whatever else scoring it takes.

    Attributes:
        place: what needs the embeddings, for error messages; no two lists of a :class:`Scorer` may have the same.
        embeddings: as they leave the backbone.
        trials: the list.
        utt2dur: durations in seconds of all that ``embeddings`` and the list's models name, for quality measures.
        utt2spk: the speakers, where they may be in the cohort.
        models_are_means: whether an enrolment model is the mean of its recordings (else it has an embedding).
        crops: five rows an utterance called ``<utt>/<number>``; None where there are none.
    """

    place: str
    embeddings: EmbeddingTable
    trials: Trials
    utt2dur: Mapping[str, float]
    utt2spk: Mapping[str, str] = field(default_factory=dict)
    models_are_means: bool = True
    crops: EmbeddingTable | None = None


@dataclass(frozen=True)
class TrainingSpeakers:
    """What back-ends know of the training speakers.

    Attributes:
        mean: mean embedding of the training utterances, shape ``(D,)``.
        cohort: mean embedding of each speaker that the network was trained on.
        cohort_utts: utterances of each speaker in its mean; 0 for all.
        train_chunk_s: seconds of each utterance that were embedded; 0 for all.
        calibration: trials of training speakers to calibrate on; None where no back-end is calibrated.
    """

    mean: Values
    cohort: EmbeddingTable
    cohort_utts: int = 0
    train_chunk_s: float = 0.0
    calibration: EmbeddedTrials | None = None


class _Scored(NamedTuple):
    """Scores of one measure with where they come from."""

    scores: NDArray[np.float32]
    table: EmbeddingTable
    enrol: Rows
    test: Rows


class Scorer:
    """Scores trial lists by back-ends; what several of them share is computed once.

    ``qmf_wespeaker`` calibrates with wespeaker's columns: the score and, for the duration cut at 20 s, the length of
    the embedding after the mean subtraction, and the mean of the cohort scores, the lesser, the greater and the ratio
    of the two sides, trained for a prior of 0.5 without a ridge. wespeaker has the difference of the two sides as well,
    which is a weighted sum of columns that are there and changes no ratio.

    Args:
        loss: the trained loss, whose distance the hyperbolic back-ends take; None where there are none.
        training: the training speakers; None where no back-end needs them.
        top_n: highest cohort scores that ``as_norm`` keeps; 0 for :func:`~.normalisation.usual_top_n` of the cohort.
        p_target: prior that calibrations are trained for.
    """

    def __init__(
        self,
        loss: SpeakerLoss | None = None,
        training: TrainingSpeakers | None = None,
        *,
        top_n: int = TOP_N,
        p_target: float = 0.01,
    ) -> None:
        self._loss = loss
        self._training = training
        self._top_n = top_n or usual_top_n(0 if training is None else len(training.cohort.utts))
        self._p_target = p_target
        self._scored: dict[tuple[str, str, bool], _Scored] = {}
        self._statistics: dict[tuple[str, str, bool, bool], CohortStatistics] = {}
        self._calibrations: dict[str, Calibration] = {}

    @property
    def calibrations(self) -> Mapping[str, Calibration]:
        """Calibrations trained so far, by the back-end's name."""
        return dict(self._calibrations)

    def settings(self, backends: Sequence[Backend]) -> dict[str, int | float | str]:
        """What the scores of these back-ends depend on, beside the model and the trial lists.

        Args:
            backends: the ways.

        Returns:
            The values that matter to one of them, by option.
        """
        found: dict[str, int | float | str] = {}
        if any(backend.uses_top_n for backend in backends):
            found["top_n"] = self._top_n
        if self._training is not None:
            found |= {"cohort_utts": self._training.cohort_utts, "train_chunk_s": self._training.train_chunk_s}
        if any(backend.uses_p_target for backend in backends):
            found["p_target"] = self._p_target
        return found

    def check(self, backend: Backend) -> None:
        """Refuse a back-end that cannot score any list, before the first one is scored.

        Args:
            backend: the way.

        Raises:
            ConfigError: if the loss has no distance, or the cohort is smaller than ``top_n``.
            DataError: if the training speakers are needed and not known.
        """
        if backend.needs_distance:
            self._hyperbolic()
        if not backend.needs_training:
            return
        cohort = self._known().cohort
        check_top_n([backend], self._top_n, len(cohort.utts), cohort.place)
        if backend.calibrated:
            self._calibration_trials()

    def scores(self, backend: Backend, embedded: EmbeddedTrials) -> NDArray[np.float32]:
        """Scores of a trial list.

        Args:
            backend: the way.
            embedded: the list.

        Returns:
            One score a trial, higher for "same speaker", shape ``(M,)``.

        Raises:
            ConfigError: if the loss has no distance, or the cohort is smaller than ``top_n``.
            DataError: if an embedding is missing or has no direction, or a score is not finite.
        """
        if backend.crops:
            return _crop_scores(embedded)
        if not backend.calibrated:
            return self._normed(backend, backend.measures[0], embedded)
        return self._calibration(backend).apply(self._columns(backend, embedded)).astype(np.float32)

    def forget(self, embedded: EmbeddedTrials) -> None:
        """Drop what was kept of a list that no further back-end will score.

        Args:
            embedded: the list.
        """
        self._scored = {key: kept for key, kept in self._scored.items() if key[0] != embedded.place}
        self._statistics = {key: kept for key, kept in self._statistics.items() if key[0] != embedded.place}

    def _known(self) -> TrainingSpeakers:
        if self._training is None:
            raise DataError(f"back-ends that know training speakers need their embeddings; {_CURE}")
        return self._training

    def _calibration_trials(self) -> EmbeddedTrials:
        embedded = self._known().calibration
        if embedded is None:
            raise DataError(f"calibrated back-ends need trials of training speakers; {_CURE}")
        return embedded

    def _hyperbolic(self) -> SpeakerLoss:
        if self._loss is None or not self._loss.has_distance:
            raise ConfigError("--backends: expected a loss with a hyperbolic distance, found one without; use cosine")
        return self._loss

    def _table(self, embedded: EmbeddedTrials, mean: bool, unit: bool) -> EmbeddingTable:
        """The embeddings less the mean or not, enrolment models among them; ``unit``: these as means of directions."""
        table = subtract_mean(embedded.embeddings, self._known().mean) if mean else embedded.embeddings
        if not embedded.models_are_means:
            return table
        return with_models(table, embedded.trials.models, unit, embedded.place)

    def _raw(self, backend: Backend, measure: str, embedded: EmbeddedTrials) -> _Scored:
        cosine, place = measure == "cosine", embedded.place
        mean = backend.mean and cosine
        key = place, measure, mean
        if key not in self._scored:
            table = self._table(embedded, mean, unit=cosine)
            enrol, test = table.rows(embedded.trials.enrol, place), table.rows(embedded.trials.test, place)
            if cosine:
                scores = cosine_scores(table, enrol, test)
            else:
                scores = distance_scores(table, enrol, test, self._hyperbolic().distance)
            self._scored[key] = _Scored(scores, table, enrol, test)
        return self._scored[key]

    def _normed(self, backend: Backend, measure: str, embedded: EmbeddedTrials) -> NDArray[np.float32]:
        raw = self._raw(backend, measure, embedded)
        if not backend.norm:
            return raw.scores
        statistics = self._cohort_statistics(backend, measure, embedded)
        return normalise(backend.norm, raw.scores, raw.enrol, raw.test, statistics)

    def _cohort_statistics(self, backend: Backend, measure: str, embedded: EmbeddedTrials) -> CohortStatistics:
        """Statistics of a norm; without one, those of as_norm, for the quality measure."""
        mean = backend.mean and measure == "cosine"
        adaptive = NORMS[backend.norm].adaptive if backend.norm else True
        key = embedded.place, measure, mean, adaptive
        if key not in self._statistics:
            raw, cohort = self._raw(backend, measure, embedded), self._cohort(measure, mean)
            rows = np.concatenate([raw.enrol, raw.test])
            own = cohort.own(raw.table, embedded.utt2spk)
            top_n = self._top_n if adaptive else None
            self._statistics[key] = cohort_statistics(raw.table, rows, cohort, top_n=top_n, own=own)
        return self._statistics[key]

    def _cohort(self, measure: str, mean: bool) -> Cohort:
        training = self._known()
        means = subtract_mean(training.cohort, training.mean) if mean else training.cohort
        return Cohort.by_cosine(means) if measure == "cosine" else Cohort.by_distance(means, self._pairwise)

    def _pairwise(self, x: Tensor, y: Tensor) -> Tensor:
        """In float64: the form by matrix products loses digits near the boundary."""
        return self._hyperbolic().pairwise_distance(x.double(), y.double()).float()

    def _calibration(self, backend: Backend) -> Calibration:
        if backend.name not in self._calibrations:
            embedded = self._calibration_trials()
            columns = self._columns(backend, embedded)
            if backend.quality == WESPEAKER:
                found = fit(columns, embedded.trials.labels, WESPEAKER_PRIOR)
            else:
                found = self._with_ridge(columns, embedded)
            self._calibrations[backend.name] = found
        return self._calibrations[backend.name]

    def _with_ridge(self, columns: Columns, embedded: EmbeddedTrials) -> Calibration:
        trials = embedded.trials
        enrol, test = ([embedded.utt2spk[utt] for utt in utts] for utts in (trials.enrol, trials.test))
        ridge = choose_ridge(columns, trials.labels, enrol, test, self._p_target)
        return fit(columns, trials.labels, self._p_target, ridge)

    def _columns(self, backend: Backend, embedded: EmbeddedTrials) -> dict[str, NDArray[np.floating]]:
        columns: dict[str, NDArray[np.floating]] = {}
        ratio = backend.quality == WESPEAKER
        for measure in backend.measures:
            columns[measure] = self._normed(backend, measure, embedded)
            if backend.quality:
                raw = self._raw(backend, measure, embedded)
                for name, values in self._quality(backend, measure, embedded).items():
                    columns.update(quality_columns(name, values, raw.enrol, raw.test, ratio=ratio))
        return columns

    def _quality(self, backend: Backend, measure: str, embedded: EmbeddedTrials) -> dict[str, Values]:
        """Quality measures by row of the measure's table; the same names for every list."""
        raw = self._raw(backend, measure, embedded)
        seconds = durations(raw.table, embedded.utt2dur, np.concatenate([raw.enrol, raw.test]))
        cohort = {f"{measure}/cohort": self._cohort_statistics(backend, measure, embedded).mean}
        if backend.quality == WESPEAKER:
            norms = embedding_norms(self._table(embedded, backend.mean, unit=False))
            return {"duration": np.minimum(seconds, WESPEAKER_LONGEST_S), "cosine/norm": norms, **cohort}
        plain = self._table(embedded, mean=False, unit=False)  # a length tells more before the mean is gone
        if measure == "cosine":
            size = {"cosine/norm": embedding_norms(plain)}
        else:
            size = {"hyperbolic/radius": hyperbolic_radii(plain, self._hyperbolic().distance)}
        return {"duration": np.log(seconds), **size, **cohort}


def _crop_scores(embedded: EmbeddedTrials) -> NDArray[np.float32]:
    place, trials = embedded.place, embedded.trials
    if embedded.crops is None:
        raise DataError(f"{place}: cosine+crops needs crops.npz, found none; {_CURE}")
    if trials.models:
        raise ConfigError(f"{place}: cosine+crops is for trials of two recordings, found models of several")
    return crop_scores(embedded.embeddings, embedded.crops, trials.enrol, trials.test, place)
