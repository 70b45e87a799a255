"""Sentences that say how the numbers of a report are to be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ham.report.text_tables import PUBLISHED_RULE, merged, rules_differ
from ham.score.results import ListResult, Results

TRIALS = "targets, non-targets: trials, pairs of recordings, of one speaker and of two."

EER_RULE = (
    "EER, equal error rate: the share of targets that are missed, at the threshold where it equals the share of "
    "non-targets that are accepted; by linear interpolation between neighbouring thresholds."
)
"""The definition that every printed EER follows."""

RULES_AGREE = (
    "By the rule of the published scripts (the larger of the two shares at the threshold where they are nearest) every "
    "EER of this table has the same printed digits."
)
RULES_DIFFER = (
    f"{PUBLISHED_RULE}: as the published scripts do it, the larger of the two shares at the threshold where they are "
    "nearest; shown because it differs in a printed digit."
)
INTERVAL = (
    "[95 %]: confidence interval over draws of the speakers. It says what other speakers would change, not what "
    "another training would: one seed says nothing about that."
)
MIN_DCF = (
    "minDCF: cost of both kinds of errors at the best threshold, where 1 % or 5 % of the trials are expected to be "
    "targets (0.01, 0.05); 1 is what it costs to give always the same answer."
)

ACT_DCF = (
    "actDCF: the same cost at the threshold that Bayes' rule gives for log-likelihood ratios, so that calibration "
    "counts too; for calibrated back-ends only."
)
CLLR = (
    "Cllr: cost of the log-likelihood ratios over all priors, in bits (1: they say nothing); minCllr: the least that "
    "a monotonic map of the scores reaches, which is what discrimination alone costs."
)
MIN_CLLR = (
    "minCllr: cost over all priors, in bits (1: the scores say nothing), after the best monotonic map of the scores "
    "to log-likelihood ratios."
)

BACKENDS = {
    "cosine": "cosine of the two embeddings, each of a full utterance",
    "hyperbolic": "negative hyperbolic distance of the two embeddings, each of a full utterance",
    "fusion": "cosine and hyperbolic scores joined by logistic regression into log-likelihood ratios",
    "crops": "mean of the full-utterance cosine and of the 5 x 5 cosines between five 3-s crops of each side "
    "(the protocol published for VoxCeleb1-O)",
    "mean": "the mean embedding of the training speech is subtracted first",
    "s_norm": "normalised by each side's scores against the mean embeddings of all training speakers (S-norm)",
    "as_norm": "normalised by each side's highest scores against the mean embeddings of the training speakers "
    "(adaptive S-norm)",
    "llr": "calibrated on training speakers into log-likelihood ratios, which keeps the order of the trials and so "
    "EER, minDCF and minCllr",
    "qmf": "calibrated on training speakers together with quality measures of both sides",
    "qmf_wespeaker": "calibrated on training speakers together with wespeaker's quality measures, for a prior of 0.5",
}
"""What the parts of a back-end's name mean; the protocol is full utterances wherever no ``crops`` stands."""

RANK_ALIKE = (
    "both rank the trials alike. Every embedding is as far out in the ball as every other, clipped to its shell, and "
    "there the hyperbolic distance depends on the angle alone, as the cosine does."
)
SAME_RANKING = f"cosine, hyperbolic: one row, since {RANK_ALIKE}"
"""Said where rows are joined, which happens in the published geometry."""


def notes(results: Results) -> list[str]:
    """How the numbers are to be read.

    Args:
        results: the numbers.

    Returns:
        Sentences to show beside the table.
    """
    same = len(merged(results.results)) < len(results.results)
    return [
        *([SAME_RANKING] if same else []),
        TRIALS,
        *eer_notes(results.results),
        INTERVAL,
        *cost_notes(results.results),
        *backend_notes(entry.backend for entry in results.results),
        *(f"{name}: {note}." for name, found in results.notes.items() for note in found),
    ]


def eer_notes(results: Sequence[ListResult]) -> list[str]:
    """Which definition of the EER is printed, and whether the other one agrees.

    Args:
        results: the numbers.

    Returns:
        One or two sentences; nothing is claimed of files that lack the published definition.
    """
    results = [result for result in results if result.eer is not None]
    if any(map(rules_differ, results)):
        return [EER_RULE, RULES_DIFFER]
    known = bool(results) and all(result.eer_published is not None for result in results)
    return [EER_RULE, RULES_AGREE] if known else [EER_RULE]


def cost_notes(results: Sequence[ListResult]) -> list[str]:
    """What the detection costs are, of those that the table shows.

    Args:
        results: the numbers.

    Returns:
        One sentence for each kind of cost.
    """
    actual = any(result.act_dcf_p01 is not None for result in results)
    cllr = any(result.cllr is not None for result in results)
    least = any(result.min_cllr is not None for result in results)
    return [MIN_DCF, *([ACT_DCF] if actual else []), *([CLLR] if cllr else [MIN_CLLR] if least else [])]


def backend_notes(backends: Iterable[str]) -> list[str]:
    """What the names of back-ends mean.

    Args:
        backends: names as in ``results.json``, ``cosine+as_norm`` for one.

    Returns:
        One sentence for each part that occurs in some name, in the order of :data:`BACKENDS`.
    """
    parts = {part for backend in backends for part in backend.split("+")}
    whole = ("cosine", "hyperbolic", "fusion")
    return [
        f"{part if part in whole else '+' + part}: {meaning}." for part, meaning in BACKENDS.items() if part in parts
    ]
