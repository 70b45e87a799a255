r"""Search among enrolled speakers (1:N): is a test utterance's speaker found, and is a stranger found to be nobody?

A list that enrols models gives the searches: every test utterance against all of its models, whatever pairs its trials
name. A speaker counts with the best model. Of the own speaker's rank r (1 and the number of other speakers whose score
is not lower) follow

.. math:: P@k = P(r \le k), \qquad \text{FNIR} = 1 - P(r = 1 \text{ and the score is above the threshold})

where at most 1 % of strangers (FPIR) have a score above the threshold. Strangers are the test utterances again, each
searched for among all other speakers than its own; so they meet one speaker less.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ham.embeddings.table import with_models
from ham.score.intervals import Estimate, Interval, rate_interval, speaker_variance
from ham.score.measures import cosine_matrix
from ham.score.scorer import EmbeddedTrials
from ham.score.trial_lists import TrialList

FPIR = 0.01
"""Share of strangers who may be taken for somebody."""

FEW = 10
"""The k of P@k beside 1."""


@dataclass(frozen=True)
class ListRetrieval:
    """Rates of the searches of a list by the cosine; fractions, each with its 95 % interval over draws of the speakers.

    Attributes:
        trial_list: ``<root>/<list>``; the key ``list`` of the file.
        backend: ``cosine``.
        num_models: enrolled models.
        num_speakers: enrolled speakers.
        num_searches: test utterances.
        num_enrolled: those of enrolled speakers.
        p_at_1: share of these whose speaker comes first.
        p_at_10: share of these whose speaker is among the first ten; None where no more than ten are enrolled.
        fnir: share of these that are not named at an FPIR of 1 %; None for fewer than 100 searches.
    """

    trial_list: str
    backend: str
    num_models: int
    num_speakers: int
    num_searches: int
    num_enrolled: int
    p_at_1: float
    p_at_1_low: float
    p_at_1_high: float
    p_at_10: float | None = None
    p_at_10_low: float | None = None
    p_at_10_high: float | None = None
    fnir: float | None = None
    fnir_low: float | None = None
    fnir_high: float | None = None


class Searches:
    """The searches of some test utterances among enrolled speakers.

    Args:
        scores: of each model with each test utterance, shape ``(M, N)``.
        models: the speaker of each model.
        tests: the speaker of each test utterance, enrolled or not.
    """

    def __init__(self, scores: NDArray[np.float32], models: Sequence[Hashable], tests: Sequence[Hashable]) -> None:
        number = {speaker: k for k, speaker in enumerate(dict.fromkeys(models))}
        codes = np.array([number[speaker] for speaker in models])
        best = np.stack([scores[codes == k].max(axis=0) for k in range(len(number))])
        everybody = {**number, **{speaker: None for speaker in tests if speaker not in number}}
        self.speakers = {speaker: k for k, speaker in enumerate(everybody)}
        self.tests = np.array([self.speakers[speaker] for speaker in tests])
        self.enrolled = self.tests < len(number)
        columns = np.arange(len(tests))
        at = self.tests[self.enrolled], columns[self.enrolled]
        self._own = np.full(len(tests), -np.inf, np.float32)
        self._own[self.enrolled] = best[at]
        best[at] = -np.inf
        self._ahead = best >= np.where(self.enrolled, self._own, np.inf)
        self._nearest = best.argmax(axis=0)
        self._other = best[self._nearest, columns]
        best[self._nearest, columns] = -np.inf
        self._next = best.max(axis=0)
        self._num_ahead = self._ahead.sum(axis=0)

    def rates(self, without: int | None = None) -> list[float]:
        """P@1, P@10 and FNIR.

        Args:
            without: number of a speaker who is neither enrolled nor tested; None for nobody.
        """
        kept, ahead, other = np.ones(len(self.tests), np.bool_), self._num_ahead, self._other
        if without is not None:
            kept = self.tests != without
            other = np.where(self._nearest == without, self._next, other)
            ahead = ahead - self._ahead[without] if without < len(self._ahead) else ahead
        strangers, searched = other[kept], kept & self.enrolled
        above = int(FPIR * len(strangers))
        threshold = np.partition(strangers, -above - 1)[-above - 1]
        named = (ahead == 0) & (self._own > threshold)
        return [float(hit[searched].mean()) for hit in (ahead < 1, ahead < FEW, ~named)]

    def intervals(self) -> list[Interval]:
        """Those of :meth:`rates`: the jackknife that leaves out one speaker, as a model and as tests, at a time."""
        rates, half_error = self.rates(), 0.5 / int(self.enrolled.sum())
        parts = np.array(rates) - [self.rates(without=speaker) for speaker in self.speakers.values()]
        found = []
        for rate, part in zip(rates, parts.T, strict=True):
            estimate = Estimate(speaker_variance(part, np.zeros(0)), len(part) - 1)
            found.append(rate_interval(rate, estimate, half_error))
        return found


def retrieval(trial_list: TrialList, embedded: EmbeddedTrials) -> ListRetrieval | None:
    """Search for every test utterance of a list among its models.

    Recordings that a model is made of are no tests.

    Args:
        trial_list: the list.
        embedded: the same with its embeddings.

    Returns:
        The rates; None for a list without models, or where fewer than two enrolled speakers are tested.

    Raises:
        DataError: if an embedding is missing or has no direction.
    """
    trials, place = trial_list.trials, embedded.place
    used = {utt for utts in trials.models.values() for utt in utts}
    models, tests = list(trials.models), [utt for utt in dict.fromkeys(trials.test) if utt not in used]
    speakers, spoken = trial_list.speakers(models), trial_list.speakers(tests)
    if len(set(speakers) & set(spoken)) < 2:
        return None
    table = embedded.embeddings
    if embedded.models_are_means:
        table = with_models(table, trials.models, True, place)
    scores = cosine_matrix(table, table.rows(models, place), table.rows(tests, place))
    searches = Searches(scores, speakers, spoken)
    counts = len(models), len(set(speakers)), len(tests), int(searches.enrolled.sum())
    first, few, missed = ((rate, *ends) for rate, ends in zip(searches.rates(), searches.intervals(), strict=True))
    nothing = None, None, None
    among = few if len(set(speakers)) > FEW else nothing
    open_set = missed if len(tests) * FPIR >= 1 else nothing
    return ListRetrieval(trial_list.name, "cosine", *counts, *first, *among, *open_set)
