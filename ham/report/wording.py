"""Sentences that say how the numbers of a report are to be read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ham.report.text_tables import PUBLISHED_RULE, rules_differ
from ham.score.results import ListResult, Results

EER_RULE = (
    "EER: the point where miss and false-alarm rate are equal, by linear interpolation between neighbouring "
    "operating points."
)
"""The definition that every printed EER follows."""

RULES_AGREE = (
    "By the published rule (the larger of the two rates at the operating point where they are nearest) every EER of "
    "this table has the same printed digits."
)
RULES_DIFFER = (
    f"{PUBLISHED_RULE}: the larger of the two rates at the operating point where they are nearest; shown because it "
    "differs in a printed digit."
)
INTERVAL = (
    "[95 %]: confidence interval over draws of the speakers, on the logit scale with Student's quantile. It says what "
    "other speakers would change, not what another training would: one seed says nothing about that."
)
MIN_DCF = "minDCF: normalised minimum detection cost at a target prior of 0.01 and 0.05, costs 1."

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

SAME_RANKING = (
    "Where cosine and hyperbolic agree in every digit, all embeddings lie outside the ball and are clipped to its "
    "shell; there the hyperbolic distance is a function of the cosine, and both rank the trials alike."
)
"""Said where it applies, as it looks like a mistake but is a property of the published geometry."""


def notes(results: Results) -> list[str]:
    """How the numbers are to be read.

    Args:
        results: the numbers.

    Returns:
        Sentences to show beside the table.
    """
    rates = {
        (entry.trial_list, entry.backend): (entry.eer, entry.min_dcf_p01, entry.min_dcf_p05)
        for entry in results.results
        if entry.eer is not None
    }
    same = any(rates.get((name, "cosine")) == found for (name, kind), found in rates.items() if kind == "hyperbolic")
    return [
        *eer_notes(results.results),
        INTERVAL,
        *cost_notes(results.results),
        *backend_notes(entry.backend for entry in results.results),
        *([SAME_RANKING] if same else []),
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
