r"""Score normalisation: what a score means beside the scores that the same recordings get against strangers.

The strangers are a **cohort**: the mean embedding of each training speaker. An utterance ``u`` has a score against each
of them; :math:`\mu_u, \sigma_u` are the mean and the standard deviation of these scores, of all of them or of the
``top_n`` highest. A trial of ``e`` and ``t`` with the score ``s`` becomes

=======  ==========================================================  ==========
norm     score                                                       statistics
=======  ==========================================================  ==========
z_norm   :math:`(s - \mu_e) / \sigma_e`                              all
t_norm   :math:`(s - \mu_t) / \sigma_t`                              all
s_norm   mean of the two                                             all
as_norm  mean of the two                                             top_n
=======  ==========================================================  ==========

z_norm and t_norm are those of Auckenthaler et al., Digital Signal Processing 10, 2000; s_norm is Kenny's (Odyssey
2010); as_norm is the first of the two adaptive forms in Matejka et al., Interspeech 2017: each side chooses its own
part of the cohort. The statistics of an utterance are computed once, however many trials it is in, and in blocks, so
that memory depends on neither the number of trials nor that of utterances.

Scores against the cohort come from float32 matrix products; their mean and deviation are taken in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ham.embeddings.table import EmbeddingTable
from ham.errors import SHOWN, ConfigError, DataError
from ham.schema import check_count, choose

TOP_N = 300
"""Highest cohort scores that as_norm keeps: usual for VoxCeleb2's 5,994 speakers (wespeaker's recipes)."""

BLOCK_ELEMENTS = 4_000_000
"""Scores against the cohort held at once: 16 MB, and about four times that while their statistics are taken."""

LEAST_SPREAD = 1e-6
"""Least deviation relative to the scores: below it, it is float32's rounding."""

PairwiseDistance = Callable[[Tensor, Tensor], Tensor]
"""All pairs: ``(B, D)`` and ``(C, D)`` give ``(B, C)``, each at least 0."""

Rows = NDArray[np.int64]


class Norm(NamedTuple):
    """One normalisation.

    Attributes:
        enrol: whether the enrolment side's statistics count.
        test: whether the test side's count; where both do, their scores are averaged.
        adaptive: whether the statistics are those of the ``top_n`` highest scores.
    """

    enrol: bool
    test: bool
    adaptive: bool


NORMS: Mapping[str, Norm] = MappingProxyType(
    {
        "z_norm": Norm(enrol=True, test=False, adaptive=False),
        "t_norm": Norm(enrol=False, test=True, adaptive=False),
        "s_norm": Norm(enrol=True, test=True, adaptive=False),
        "as_norm": Norm(enrol=True, test=True, adaptive=True),
    }
)
"""The normalisations by name."""


def usual_top_n(num_speakers: int) -> int:
    """How many of the highest scores to keep where nobody says it: of a third of the speakers, at most 300.

    Args:
        num_speakers: of the cohort.

    Returns:
        At least 2.
    """
    return min(TOP_N, max(2, num_speakers // 3))


def subtract_mean(table: EmbeddingTable, mean: NDArray[np.float64]) -> EmbeddingTable:
    """Embeddings less a mean, for cosine scores: what all recordings share tells no speakers apart.

    A hyperbolic distance has a learnt origin and is not invariant to this; score it with the embeddings as they are.

    Args:
        table: the embeddings; a cohort must lose the same mean as the trials.
        mean: usually of the training utterances, shape ``(D,)``.

    Returns:
        A new table of the same utterances.

    Raises:
        DataError: if the mean has another dimension or is not finite.
    """
    if mean.shape != table.embeddings.shape[1:]:
        found = f"{mean.shape} for embeddings of {table.embeddings.shape[1]} numbers"
        raise DataError(f"{table.place}: expected a mean of the embeddings' dimension, found one of shape {found}")
    shifted = np.empty_like(table.embeddings)
    np.subtract(table.embeddings, mean, out=shifted, casting="same_kind")  # in float64, rounded once
    return EmbeddingTable(table.utts, shifted, f"{table.place} less the mean")


@dataclass(frozen=True)
class Cohort:
    """Speakers to score against.

    Attributes:
        speakers: their names.
        score: embeddings ``(B, D)``, as they leave the backbone, to scores ``(B, C)``, higher for "same speaker". It
            must be the measure that makes the trials' own scores.
        place: where they come from, for error messages.
    """

    speakers: tuple[str, ...]
    score: Callable[[Tensor], Tensor]
    place: str = "cohort"

    @classmethod
    def by_cosine(cls, means: EmbeddingTable) -> Cohort:
        """Cosine of the angle to each speaker's mean: one matrix product a block.

        Args:
            means: of :class:`ham.score.cohort.SpeakerSums`.

        Returns:
            The cohort.

        Raises:
            DataError: if a mean is zero and so has no direction.
        """
        zero = [means.utts[row] for row in np.flatnonzero(~means.embeddings.any(axis=1))]
        if zero:
            raise DataError(f"{means.place}: expected a direction, found a mean of zeros for {', '.join(zero[:SHOWN])}")
        directions = _unit(torch.from_numpy(means.embeddings)).T
        return cls(means.utts, lambda x: _unit(x) @ directions, means.place)

    @classmethod
    def by_distance(cls, means: EmbeddingTable, pairwise: PairwiseDistance) -> Cohort:
        """Negative distance to each speaker's mean.

        Args:
            means: of :class:`ham.score.cohort.SpeakerSums`; given to ``pairwise`` like any embedding.
            pairwise: distance of all pairs.

        Returns:
            The cohort.
        """
        places = torch.from_numpy(means.embeddings)
        return cls(means.utts, lambda x: -pairwise(x, places), means.place)

    def own(self, table: EmbeddingTable, utt2spk: Mapping[str, str]) -> Rows:
        """Which of the cohort's speakers is an utterance's own: what its statistics must leave out.

        Args:
            table: the embeddings of trials.
            utt2spk: the speaker of each utterance, where it may be in the cohort.

        Returns:
            Number of the speaker in the cohort, -1 where it has none, shape ``(N,)`` as the table.
        """
        number = {speaker: column for column, speaker in enumerate(self.speakers)}
        return np.fromiter((number.get(utt2spk.get(utt, ""), -1) for utt in table.utts), np.int64, len(table.utts))


def _unit(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=1, keepdim=True, dtype=torch.float64)
    return (x / length).to(torch.float32)


class CohortStatistics(NamedTuple):
    """Mean and deviation of the cohort scores of utterances, float64, by row of their table; NaN where not asked for.

    Attributes:
        mean: shape ``(N,)``.
        std: of the population (divided by the number, not by one less), shape ``(N,)``.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]


def cohort_statistics(
    table: EmbeddingTable,
    rows: Rows,
    cohort: Cohort,
    *,
    top_n: int | None,
    own: Rows | None = None,
    block_elements: int = BLOCK_ELEMENTS,
) -> CohortStatistics:
    """Statistics of utterances against a cohort, once for each utterance, in blocks of utterances.

    Args:
        table: embeddings as they leave the backbone.
        rows: rows of the table to do, in any order, repeated or not: both sides of all trials.
        cohort: the speakers.
        top_n: how many of the highest scores count; None for all.
        own: of :meth:`Cohort.own`, where the trials are of speakers that are in the cohort: against oneself a score is
            no impostor's.
        block_elements: scores held at once.

    Returns:
        The statistics.

    Raises:
        ConfigError: if ``top_n`` is below 2 or above the number of speakers.
        DataError: if a score is not finite, or all scores of an utterance are alike.
    """
    excluded = own is not None and own.max(initial=-1) >= 0
    num_kept = _check_top_n(top_n, cohort, len(cohort.speakers) - excluded)
    mean, std = np.full((2, len(table.utts)), np.nan)
    wanted = np.unique(rows)
    block = max(1, block_elements // len(cohort.speakers))
    for start in range(0, len(wanted), block):
        part = wanted[start : start + block]
        scores = _cohort_scores(table, part, cohort)
        highest = _highest(scores, num_kept, None if own is None else own[part])
        mean[part], std[part] = _moments(highest)
        _check_spread(table, part, std[part], np.abs(mean[part]), cohort)
    return CohortStatistics(mean, std)


def _check_top_n(top_n: int | None, cohort: Cohort, most: int) -> int:
    """Number of scores to keep of each utterance; ``most`` is the cohort's size less its own speaker."""
    if most < 2:
        found = f"{len(cohort.speakers)}, of which {most} can be used"
        raise DataError(f"{cohort.place}: expected a cohort of at least 2 speakers to score against, found {found}")
    if top_n is None:
        return len(cohort.speakers)
    num = check_count("top_n", top_n, least=2, why="one score has no deviation")
    if num > most:
        own = "" if most == len(cohort.speakers) else ", an utterance's own left out"
        raise ConfigError(f"top_n: expected at most {most}, the speakers of the cohort{own}, found {num}")
    return num


def _cohort_scores(table: EmbeddingTable, part: Rows, cohort: Cohort) -> NDArray[np.float32]:
    with torch.inference_mode():
        scores: NDArray[np.float32] = cohort.score(torch.from_numpy(table.embeddings[part])).numpy()
    bad = np.flatnonzero(~np.isfinite(scores).all(axis=1))
    if len(bad):
        utt, found = table.utts[part[bad[0]]], scores[bad[0]][~np.isfinite(scores[bad[0]])][0]
        raise DataError(f"{table.place}: expected finite scores against the cohort, found {found:g} for {utt}")
    return scores


def _highest(scores: NDArray[np.float32], num_kept: int, own: Rows | None) -> NDArray[np.float32]:
    """The highest scores of each row in any order; minus infinity stands for the one left out."""
    if own is not None:
        mine = np.flatnonzero(own >= 0)
        scores = scores.copy()
        scores[mine, own[mine]] = -np.inf
    if num_kept < scores.shape[1]:
        return np.partition(scores, -num_kept, axis=1)[:, -num_kept:]
    return scores


def _moments(scores: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and deviation of the finite scores of each row, in float64."""
    counted = np.isfinite(scores)
    mean = scores.mean(axis=1, dtype=np.float64, where=counted)
    return mean, scores.std(axis=1, dtype=np.float64, where=counted)


def _check_spread(
    table: EmbeddingTable, part: Rows, std: NDArray[np.float64], size: NDArray[np.float64], cohort: Cohort
) -> None:
    bad = np.flatnonzero(std <= LEAST_SPREAD * size)
    if len(bad):
        found = f"{len(bad)} with none, first {table.utts[part[bad[0]]]}; are its speakers all the same?"
        raise DataError(f"{cohort.place}: expected scores that vary over the cohort for every utterance, found {found}")


def normalise(
    norm: str, scores: NDArray[np.float32], enrol: Rows, test: Rows, statistics: CohortStatistics
) -> NDArray[np.float32]:
    """Normalise the scores of trials; the formulas are the module's.

    Args:
        norm: a name of :data:`NORMS`; ``s_norm`` and ``as_norm`` differ in the statistics only.
        scores: one score a trial, of the measure that the statistics were made with, shape ``(M,)``.
        enrol: row of each trial's enrolment side, shape ``(M,)``.
        test: row of each trial's test side, shape ``(M,)``.
        statistics: by row, of every utterance on a side that counts.

    Returns:
        Normalised scores, in standard deviations, shape ``(M,)``.

    Raises:
        ConfigError: if there is no such norm.
    """
    chosen = NORMS[choose("norm", norm, NORMS)]
    sides = [side for side, counts in ((enrol, chosen.enrol), (test, chosen.test)) if counts]
    raw = scores.astype(np.float64)
    found = sum(((raw - statistics.mean[side]) / statistics.std[side] for side in sides), np.zeros(len(raw)))
    return (found / len(sides)).astype(np.float32)
