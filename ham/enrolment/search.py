r"""Who of the enrolled speakers speaks: cosines to all of them by one matrix product, the best ranked by AS-Norm.

Ranking and deciding are two questions. The cosine's ``SHORTLIST`` best are ranked by their normalised scores
(:mod:`ham.score.normalisation`): a voice that resembles everybody no longer comes first wherever it is close. Whether
the first of them is the speaker at all is decided by its cosine, since the thresholds that stage 6 has measured are the
cosine's, and an AS-Norm score depends on the cohort.

The cohort are the enrolled speakers, where there are enough: they were recorded as the recordings to come will be. One
of other recordings harms, more than a fitting one helps (figures in ``docs/identify.md``).

Somebody who is not enrolled is compared with all :math:`N` speakers and is named if one of the comparisons errs. Where
one errs with the probability :math:`p`, and they err apart from each other, that is

.. math:: 1 - (1 - p)^N \le N p,

so a threshold that suits a comparison of two recordings is too low for a list; see :func:`list_threshold`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ham.embeddings.table import EmbeddingTable
from ham.enrolment.database import Gallery, unit
from ham.score.decisions import FALSE_ALARMS, Decisions, OperatingPoint
from ham.score.normalisation import Cohort, cohort_statistics, normalise, usual_top_n

SHORTLIST = 100
"""Candidates by cosine that AS-Norm ranks anew; with no more speakers than that it ranks them all."""

LEAST_OTHERS = 50
"""Enrolled speakers from which on they serve as each other's cohort."""

MOST_OTHERS = 1000
"""Enrolled speakers that serve as a cohort at most, evenly spaced over the names."""

BLOCK_ELEMENTS = 16_000_000
"""Cosines held at once: 64 MB."""

LIST_FALSE_ALARM = 0.01
"""How often somebody who is not enrolled may be named, over the whole list."""

NO_ERROR = 3.0
"""Errors that may have been expected where none was found (the rule of three: Hanley and Lippman-Hand, JAMA 1983)."""


class Candidate(NamedTuple):
    """An enrolled speaker who may speak in a recording.

    Attributes:
        name: of the speaker.
        score: the cosine.
        as_norm: the normalised score by which candidates are ranked; None where there was no cohort.
    """

    name: str
    score: float
    as_norm: float | None = None


class ListThreshold(NamedTuple):
    """From which cosine on the first candidate is named.

    Attributes:
        value: the cosine.
        origin: the operating point that it is of.
        rate: false-alarm rate of one comparison there.
    """

    value: float
    origin: str
    rate: float


def choose_cohort(
    gallery: Gallery, cohort: NDArray[np.float32] | None, least_others: int = LEAST_OTHERS
) -> tuple[Cohort | None, NDArray[np.int64]]:
    """Choose whom scores are normalised by: those given, else the enrolled speakers if there are enough.

    Args:
        gallery: the enrolled speakers.
        cohort: embeddings of other speakers, shape ``(C, D)``; None for the enrolled ones.
        least_others: enrolled speakers that are enough.

    Returns:
        The cohort, None where there is none; and which of its speakers is which of the gallery's, -1 for none, shape
        ``(S,)``.
    """
    own = np.full(len(gallery.names), -1, np.int64)
    if cohort is None and len(own) >= least_others:
        chosen = np.linspace(0, len(own) - 1, min(len(own), MOST_OTHERS)).round().astype(np.int64)
        own[chosen] = np.arange(len(chosen))
        cohort = gallery.embeddings[chosen]
    if cohort is None or len(cohort) < 2:
        return None, own
    return Cohort.by_cosine(_table(cohort, "cohort")), own


def _table(embeddings: NDArray[np.float32], place: str) -> EmbeddingTable:
    return EmbeddingTable(tuple(map(str, range(len(embeddings)))), embeddings, place)


class Search:
    """Search in a gallery, prepared once for any number of recordings.

    Args:
        gallery: the enrolled speakers.
        cohort: embeddings of other speakers to normalise by, shape ``(C, D)``; None for the enrolled ones.
        as_norm: whether candidates are ranked by AS-Norm; else by cosine.
        least_others: with fewer enrolled speakers, these are no cohort for each other, and the cosine ranks.
    """

    def __init__(
        self,
        gallery: Gallery,
        cohort: NDArray[np.float32] | None = None,
        *,
        as_norm: bool = True,
        least_others: int = LEAST_OTHERS,
    ) -> None:
        self.gallery = gallery
        self._cohort, self._own = (
            choose_cohort(gallery, cohort, least_others) if as_norm else (None, np.empty(0, np.int64))
        )

    def __call__(self, probes: NDArray[np.float32], top: int = 1) -> list[list[Candidate]]:
        """Find the best candidates.

        Args:
            probes: embeddings of recordings, of any length, shape ``(N, D)``.
            top: candidates of each, at most.

        Returns:
            Candidates of each recording, the best first; of those alike, in the order of their names.

        Raises:
            DataError: if an embedding has no direction.
        """
        block = max(1, BLOCK_ELEMENTS // max(1, len(self.gallery.names)))
        starts = range(0, len(probes), block)
        return [one for start in starts for one in self._block(unit(probes[start : start + block]), top)]

    def _block(self, probes: NDArray[np.float32], top: int) -> list[list[Candidate]]:
        scores = probes @ self.gallery.embeddings.T
        rows = highest(scores, max(top, SHORTLIST if self._cohort else 0))
        cosines = np.take_along_axis(scores, rows, axis=1)
        if self._cohort is None or not rows.size:
            return [self._candidates(*one, None, top) for one in zip(rows, cosines, strict=True)]
        ranks = self._normalised(self._cohort, probes, rows, cosines)
        return [self._candidates(*one, top) for one in zip(rows, cosines, ranks, strict=True)]

    def _normalised(
        self, cohort: Cohort, probes: NDArray[np.float32], rows: NDArray[np.int64], cosines: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """AS-Norm scores of shortlists ``(N, K)``; what is enrolled does not count as its own stranger.

        Neither does a recording's first candidate, who is more likely than others to be its speaker.
        """
        wanted, enrol = np.unique(rows, return_inverse=True)
        table = _table(np.concatenate([self.gallery.embeddings[wanted], probes]), "enrolled speakers")
        own = self._own[np.concatenate([wanted, rows[:, 0]])]
        most = len(cohort.speakers) - bool(own.max() >= 0)
        statistics = cohort_statistics(
            table, np.arange(len(own)), cohort, top_n=min(most, usual_top_n(len(cohort.speakers))), own=own
        )
        test = np.repeat(np.arange(len(wanted), len(own)), rows.shape[1])
        return normalise("as_norm", cosines.ravel(), enrol.ravel(), test, statistics).reshape(rows.shape)

    def _candidates(
        self, rows: NDArray[np.int64], cosines: NDArray[np.float32], ranks: NDArray[np.float32] | None, top: int
    ) -> list[Candidate]:
        order = np.arange(len(rows)) if ranks is None else np.argsort(-ranks, kind="stable")
        return [
            Candidate(self.gallery.names[rows[one]], float(cosines[one]), None if ranks is None else float(ranks[one]))
            for one in order[:top].tolist()
        ]


def highest(scores: NDArray[np.float32], num: int) -> NDArray[np.int64]:
    """Columns of the highest scores of each row, the highest first, of those alike the leftmost.

    Args:
        scores: shape ``(N, S)``.
        num: how many, at most.

    Returns:
        Shape ``(N, min(num, S))``.
    """
    if num < scores.shape[1]:
        columns = np.sort(np.argpartition(-scores, num - 1, axis=1)[:, :num], axis=1)
    else:
        columns = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)


def list_false_alarm(rate: float, num_enrolled: int) -> float:
    """How often somebody who is not enrolled is named, ``1 - (1 - p)^N``, from the rate ``p`` of one comparison."""
    return 1 - (1 - rate) ** num_enrolled


def false_alarm_rate(point: OperatingPoint, num_speakers: int) -> float | None:
    """How often one comparison may err at an operating point: the rate that it is for, else the one found at it.

    That one is at least three over the pairs of speakers that it was found on, S (S - 1) / 2: a pair that is alike
    errs in many trials at once, so that pairs count, and a higher rate would have shown one, nineteen times in twenty.

    Args:
        point: of a model.
        num_speakers: the S speakers that it was chosen on.

    Returns:
        A fraction; None where nothing was measured.
    """
    if point.threshold is None:
        return None
    if point.name in FALSE_ALARMS or point.false_alarm is None:
        return FALSE_ALARMS.get(point.name)
    pairs = max(1.0, num_speakers * (num_speakers - 1) / 2)
    return min(1.0, max(point.false_alarm, NO_ERROR / pairs))


def list_threshold(decisions: Decisions, num_enrolled: int) -> ListThreshold | None:
    """The lowest threshold that holds for the whole list as ``LIST_FALSE_ALARM`` asks, else the highest there is.

    It is one of those for a false-alarm rate; where the trials were too few for any of them, one of the others, by
    :func:`false_alarm_rate`.

    Args:
        decisions: of stage 6.
        num_enrolled: speakers ``N``.

    Returns:
        The threshold, and what it holds; None where none was measured.
    """
    measured = [point for point in decisions.points if point.threshold is not None]
    points = [point for point in measured if point.name in FALSE_ALARMS] or measured
    found = sorted(
        ListThreshold(point.threshold, point.name, rate)
        for point in points
        if point.threshold is not None and (rate := false_alarm_rate(point, decisions.num_speakers)) is not None
    )
    most = LIST_FALSE_ALARM * (1 + 1e-9)
    return next(
        (one for one in found if list_false_alarm(one.rate, num_enrolled) <= most), found[-1] if found else None
    )
