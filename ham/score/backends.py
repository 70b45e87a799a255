"""Back-ends by name: ways from embeddings to the scores of a trial list.

A name is a measure and the steps that follow it, joined by ``+`` and in this order:

===========================  ==========================================================================================
part                         meaning
===========================  ==========================================================================================
``cosine``                   cosine of the two embeddings of full utterances
``hyperbolic``               negative distance of the loss's space
``fusion``                   both, joined by a trained calibration
``+crops``                   cosine only: mean of it and of the mean cosine of 5 x 5 crops of 3 s, as published
``+mean``                    cosine only: the training utterances' mean embedding is subtracted first
``+s_norm`` or ``+as_norm``  normalisation against the cohort of training speakers (:mod:`ham.score.normalisation`)
``+llr``                     logistic calibration: log-likelihood ratios (:mod:`ham.score.calibration`)
``+qmf``                     the same with quality measures of both sides: duration, length or radius, cohort mean
``+qmf_wespeaker``           cosine only: the same as wespeaker does it, see :meth:`Scorer.scores`
===========================  ==========================================================================================

``cosine+mean+as_norm`` for one. What a step is trained on are training speakers only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ham.data.kaldi_dir import Trials
from ham.embeddings.table import EmbeddingTable, with_models
from ham.errors import ConfigError, DataError
from ham.losses.base import SpeakerLoss
from ham.score.calibration import (
    Calibration,
    Columns,
    choose_ridge,
    durations,
    embedding_norms,
    fit,
    hyperbolic_radii,
    quality_columns,
)
from ham.score.measures import Distance, cosine_scores, crop_scores, distance_scores
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

DEFAULT = ("cosine", "hyperbolic")
"""What stage 6 scores by unless asked otherwise: needs nothing but the test embeddings."""

EVERY = (
    "cosine",
    "cosine+crops",
    "cosine+mean",
    "cosine+s_norm",
    "cosine+as_norm",
    "cosine+mean+as_norm",
    "cosine+llr",
    "cosine+mean+as_norm+qmf",
    "hyperbolic",
    "hyperbolic+s_norm",
    "hyperbolic+as_norm",
    "hyperbolic+llr",
    "hyperbolic+as_norm+qmf",
    "fusion",
    "fusion+mean+as_norm+qmf",
)
"""What the word ``all`` stands for."""

FORM = "cosine[+crops|+mean][+NORM][+llr|+qmf|+qmf_wespeaker], hyperbolic[+NORM][+llr|+qmf], fusion[+mean][+NORM][+qmf]"

WESPEAKER = "qmf_wespeaker"
"""The step that calibrates as wespeaker does."""

WESPEAKER_PRIOR, WESPEAKER_LONGEST_S = 0.5, 20.0
"""Prior that wespeaker's calibration is trained for, and the duration at which it cuts longer ones off."""

_EXTRACT = "run stage 5 with these --backends"

Rows = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Backend:
    """A parsed name.

    Attributes:
        name: as it was given.
        measures: ``cosine``, ``hyperbolic``, or both for a fusion.
        crops: whether crops count too.
        mean: whether the cosine is taken after subtracting the training mean.
        norm: a name of :data:`ham.score.normalisation.NORMS`; empty for none.
        calibrated: whether the scores are log-likelihood ratios.
        quality: ``qmf`` or ``qmf_wespeaker``, where the calibration sees quality measures; else empty.
    """

    name: str
    measures: tuple[str, ...]
    crops: bool = False
    mean: bool = False
    norm: str = ""
    calibrated: bool = False
    quality: str = ""

    @property
    def needs_training(self) -> bool:
        """Whether embeddings of training speakers are needed."""
        return self.mean or bool(self.norm) or self.calibrated

    @property
    def uses_top_n(self) -> bool:
        """Whether the highest cohort scores count."""
        return bool(self.quality) or (bool(self.norm) and NORMS[self.norm].adaptive)

    @property
    def uses_p_target(self) -> bool:
        """Whether the calibration is trained for the prior that is asked for."""
        return self.calibrated and self.quality != WESPEAKER

    @property
    def needs_distance(self) -> bool:
        """Whether the loss must have a distance."""
        return "hyperbolic" in self.measures


def parse_backend(name: str) -> Backend:
    """Read the name of a back-end.

    Args:
        name: measure and steps, see the module.

    Returns:
        Its parts.

    Raises:
        ConfigError: if there is no such back-end.
    """
    measure, *steps = name.split("+")
    norm = next((step for step in steps if step in NORMS), "")
    quality = next((step for step in steps if step in ("qmf", WESPEAKER)), "")
    fusion = measure == "fusion"
    backend = Backend(
        name=name,
        measures=("cosine", "hyperbolic") if fusion else (measure,),
        crops="crops" in steps,
        mean="mean" in steps,
        norm=norm,
        calibrated=fusion or bool(quality) or "llr" in steps,
        quality=quality,
    )
    order = [
        *(["crops"] if backend.crops else []),
        *(["mean"] if backend.mean else []),
        *([norm] if norm else []),
        *([quality] if quality else ["llr"] if backend.calibrated and not fusion else []),
    ]
    wrong = (
        steps != order
        or measure not in ("cosine", "hyperbolic", "fusion")
        or ((backend.mean or backend.crops) and measure == "hyperbolic")
        or (backend.crops and len(steps) > 1)
        or (backend.crops and fusion)
        or (quality == WESPEAKER and measure != "cosine")
    )
    if wrong:
        form = FORM.replace("NORM", "|+".join(NORMS))
        raise ConfigError(f"--backends: unknown back-end '{name}': expected {form}, or all")
    return backend


def parse_backends(words: Sequence[str]) -> tuple[Backend, ...]:
    """Read the names of several back-ends.

    Args:
        words: names or ``all``; several may share one word, separated by spaces or commas.

    Returns:
        Each once, in the order given.

    Raises:
        ConfigError: if a name is unknown or there is none.
    """
    names = " ".join(words).replace(",", " ").split()
    found = dict.fromkeys(name for word in names for name in (EVERY if word == "all" else (word,)))
    if not found:
        raise ConfigError("--backends: expected at least one back-end, found none; cosine is the usual one")
    return tuple(parse_backend(name) for name in found)


def possible_backends(backends: Sequence[Backend], loss: SpeakerLoss | type[SpeakerLoss]) -> list[Backend]:
    """The back-ends that a loss allows: without a distance there is no hyperbolic one.

    Args:
        backends: those asked for.
        loss: the loss.

    Returns:
        Those that are left, at least one.

    Raises:
        ConfigError: if none is left.
    """
    kept = [backend for backend in backends if loss.has_distance or not backend.needs_distance]
    if not kept:
        names = " ".join(backend.name for backend in backends)
        raise ConfigError(f"--backends {names}: the loss {loss.name} has no distance; add cosine")
    return kept


def fitting_backends(backends: Sequence[Backend], place: str, has_models: bool) -> list[Backend]:
    """The back-ends that a trial list allows: crops are of two recordings, not of enrolment models.

    Args:
        backends: those asked for.
        place: the list, for the error message.
        has_models: whether it has models of several recordings.

    Returns:
        Those that are left, at least one.

    Raises:
        ConfigError: if none is left.
    """
    kept = [backend for backend in backends if not (backend.crops and has_models)]
    if not kept:
        raise ConfigError(f"--backends cosine+crops: {place} has models of several recordings; add cosine")
    return kept


def check_top_n(backends: Sequence[Backend], top_n: int, num_speakers: int, place: str) -> None:
    """Refuse to take more of the cohort than there is.

    Args:
        backends: those asked for.
        top_n: highest scores against the cohort that are wanted.
        num_speakers: of the cohort.
        place: where it comes from, for the error message.

    Raises:
        ConfigError: if a back-end takes the highest scores and there are fewer.
    """
    names = [backend.name for backend in backends if backend.uses_top_n]
    if names and top_n > num_speakers:
        found = f"expected at most {num_speakers}, the speakers of {place}, found {top_n}"
        raise ConfigError(f"--top_n: {found}; {' '.join(names)} needs it")


@dataclass(frozen=True)
class Training:
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
    calibration: Side | None = None


class Measure(NamedTuple):
    """What the loss measures in its space.

    Attributes:
        rowwise: distances row by row.
        pairwise: distances of all pairs.
    """

    rowwise: Distance
    pairwise: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Side:
    """A trial list and all that scoring it takes.

    Attributes:
        place: what needs the embeddings, for error messages; no two alike.
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


class _Scored(NamedTuple):
    """Scores of one measure with where they come from."""

    scores: NDArray[np.float32]
    table: EmbeddingTable
    enrol: Rows
    test: Rows


class Scorer:
    """Scores trial lists by back-ends; what several of them share is computed once.

    Args:
        measure: of the loss's space; None for a loss without a distance.
        training: the training speakers; None where no back-end needs them.
        top_n: highest cohort scores that ``as_norm`` keeps; 0 for :func:`~.normalisation.usual_top_n` of the cohort.
        p_target: prior that calibrations are trained for.
    """

    def __init__(
        self,
        measure: Measure | None = None,
        training: Training | None = None,
        *,
        top_n: int = TOP_N,
        p_target: float = 0.01,
    ) -> None:
        self._measure = measure
        self._training = training
        self._top_n = top_n or usual_top_n(0 if training is None else len(training.cohort.utts))
        self._p_target = p_target
        self._scored: dict[tuple[str, str, bool], _Scored] = {}
        self._statistics: dict[tuple[str, str, bool, bool], CohortStatistics] = {}
        self._calibrations: dict[str, Calibration] = {}

    @property
    def top_n(self) -> int:
        """Highest cohort scores that ``as_norm`` keeps."""
        return self._top_n

    @property
    def training_settings(self) -> dict[str, int | float | str]:
        """What of the training speakers was embedded; empty where they do not matter."""
        if self._training is None:
            return {}
        return {"cohort_utts": self._training.cohort_utts, "train_chunk_s": self._training.train_chunk_s}

    @property
    def calibrations(self) -> Mapping[str, Calibration]:
        """Calibrations trained so far, by the back-end's name."""
        return dict(self._calibrations)

    def check(self, backend: Backend) -> None:
        """Refuse a back-end that cannot score any list, before the first one is scored.

        Args:
            backend: the way.

        Raises:
            ConfigError: if the loss has no distance, or the cohort is smaller than ``top_n``.
            DataError: if the training speakers are needed and not known.
        """
        if backend.needs_distance:
            self._geometry()
        if not backend.needs_training:
            return
        cohort = self._known().cohort
        check_top_n([backend], self._top_n, len(cohort.utts), cohort.place)
        if backend.calibrated:
            self._calibration_side()

    def scores(self, backend: Backend, side: Side) -> NDArray[np.float32]:
        """Scores of a trial list.

        ``qmf_wespeaker`` calibrates with wespeaker's columns: the score and, for the duration cut at 20 s, the length
        of the embedding after the mean subtraction, and the mean of the cohort scores, the lesser, the greater and the
        ratio of the two sides, trained for a prior of 0.5 without a ridge. wespeaker has the difference of the two
        sides as well, which is a weighted sum of columns that are there and changes no ratio.

        Args:
            backend: the way.
            side: the list.

        Returns:
            One score a trial, higher for "same speaker", shape ``(M,)``.

        Raises:
            ConfigError: if the loss has no distance, or the cohort is smaller than ``top_n``.
            DataError: if an embedding is missing or has no direction, or a score is not finite.
        """
        if backend.crops:
            return self._crops(side)
        if not backend.calibrated:
            return self._normed(backend, backend.measures[0], side)
        return self._calibration(backend).apply(self._columns(backend, side)).astype(np.float32)

    def forget(self, side: Side) -> None:
        """Drop what was kept of a list that no further back-end will score.

        Args:
            side: the list.
        """
        self._scored = {key: kept for key, kept in self._scored.items() if key[0] != side.place}
        self._statistics = {key: kept for key, kept in self._statistics.items() if key[0] != side.place}

    def _crops(self, side: Side) -> NDArray[np.float32]:
        if side.crops is None:
            raise DataError(
                f"{side.place}: cosine+crops needs crops.npz, found none; run stage 5 with these --backends"
            )
        if side.trials.models:
            raise ConfigError(f"{side.place}: cosine+crops is for trials of two recordings, found models of several")
        return crop_scores(side.embeddings, side.crops, side.trials.enrol, side.trials.test, side.place)

    def _known(self) -> Training:
        if self._training is None:
            raise DataError(
                "back-ends that know training speakers need their embeddings; run stage 5 with these --backends"
            )
        return self._training

    def _calibration_side(self) -> Side:
        side = self._known().calibration
        if side is None:
            raise DataError(f"calibrated back-ends need trials of training speakers; {_EXTRACT}")
        return side

    def _geometry(self) -> Measure:
        if self._measure is None:
            raise ConfigError("--backends: expected a loss with a hyperbolic distance, found one without; use cosine")
        return self._measure

    def _table(self, side: Side, mean: bool, unit: bool) -> EmbeddingTable:
        """The embeddings less the mean or not, enrolment models among them; ``unit``: these as means of directions."""
        table = subtract_mean(side.embeddings, self._known().mean) if mean else side.embeddings
        if not side.models_are_means:
            return table
        return with_models(table, side.trials.models, unit, side.place)

    def _raw(self, measure: str, mean: bool, side: Side) -> _Scored:
        key = side.place, measure, mean
        if key not in self._scored:
            table = self._table(side, mean, unit=measure == "cosine")
            enrol, test = table.rows(side.trials.enrol, side.place), table.rows(side.trials.test, side.place)
            if measure == "cosine":
                scores = cosine_scores(table, enrol, test)
            else:
                scores = distance_scores(table, enrol, test, self._geometry().rowwise)
            self._scored[key] = _Scored(scores, table, enrol, test)
        return self._scored[key]

    def _mean(self, backend: Backend, measure: str) -> bool:
        return backend.mean and measure == "cosine"

    def _normed(self, backend: Backend, measure: str, side: Side) -> NDArray[np.float32]:
        raw = self._raw(measure, self._mean(backend, measure), side)
        if not backend.norm:
            return raw.scores
        return normalise(backend.norm, raw.scores, raw.enrol, raw.test, self._cohort(backend, measure, side))

    def _cohort(self, backend: Backend, measure: str, side: Side) -> CohortStatistics:
        """Statistics of a norm; without one, those of as_norm, for the quality measure."""
        mean = self._mean(backend, measure)
        adaptive = NORMS[backend.norm].adaptive if backend.norm else True
        key = side.place, measure, mean, adaptive
        if key not in self._statistics:
            raw, training = self._raw(measure, mean, side), self._known()
            means = subtract_mean(training.cohort, training.mean) if mean else training.cohort
            cosine = measure == "cosine"
            cohort = Cohort.by_cosine(means) if cosine else Cohort.by_distance(means, self._pairwise)
            rows = np.concatenate([raw.enrol, raw.test])
            own = cohort.own(raw.table, side.utt2spk)
            top_n = self._top_n if adaptive else None
            self._statistics[key] = cohort_statistics(raw.table, rows, cohort, top_n=top_n, own=own)
        return self._statistics[key]

    def _pairwise(self, x: Tensor, y: Tensor) -> Tensor:
        """In float64: the form by matrix products loses digits near the boundary."""
        return self._geometry().pairwise(x.double(), y.double()).float()

    def _calibration(self, backend: Backend) -> Calibration:
        if backend.name not in self._calibrations:
            side = self._calibration_side()
            columns = self._columns(backend, side)
            if backend.quality == WESPEAKER:
                found = fit(columns, side.trials.labels, WESPEAKER_PRIOR)
            else:
                found = self._with_ridge(columns, side)
            self._calibrations[backend.name] = found
        return self._calibrations[backend.name]

    def _with_ridge(self, columns: Columns, side: Side) -> Calibration:
        trials = side.trials
        enrol, test = ([side.utt2spk[utt] for utt in utts] for utts in (trials.enrol, trials.test))
        ridge = choose_ridge(columns, trials.labels, enrol, test, self._p_target)
        return fit(columns, trials.labels, self._p_target, ridge)

    def _columns(self, backend: Backend, side: Side) -> dict[str, NDArray[np.floating]]:
        columns: dict[str, NDArray[np.floating]] = {}
        for measure in backend.measures:
            columns[measure] = self._normed(backend, measure, side)
            if backend.quality:
                raw = self._raw(measure, self._mean(backend, measure), side)
                for name, values in self._quality(backend, measure, side).items():
                    ratio = backend.quality == WESPEAKER
                    columns.update(quality_columns(name, values, raw.enrol, raw.test, ratio=ratio))
        return columns

    def _quality(self, backend: Backend, measure: str, side: Side) -> dict[str, Values]:
        """Quality measures by row of the measure's table; the same names for every list."""
        raw = self._raw(measure, self._mean(backend, measure), side)
        seconds = durations(raw.table, side.utt2dur, np.concatenate([raw.enrol, raw.test]))
        cohort = {f"{measure}/cohort": self._cohort(backend, measure, side).mean}
        if backend.quality == WESPEAKER:
            norms = embedding_norms(self._table(side, backend.mean, unit=False))
            return {"duration": np.minimum(seconds, WESPEAKER_LONGEST_S), "cosine/norm": norms, **cohort}
        plain = self._table(side, mean=False, unit=False)  # a length tells more before the mean is gone
        if measure == "cosine":
            size = {"cosine/norm": embedding_norms(plain)}
        else:
            size = {"hyperbolic/radius": hyperbolic_radii(plain, self._geometry().rowwise)}
        return {"duration": np.log(seconds), **size, **cohort}
