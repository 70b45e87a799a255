"""Whether two recordings are of one speaker: the score, the threshold that decides, and what forbids a decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ham.audio.quality import Quality
from ham.errors import ConfigError
from ham.score.decisions import DEFAULT_POINT, Decisions

Decision = Literal["same", "different", "cannot_say"]


@dataclass(frozen=True)
class Verification:
    """The answer to whether two recordings are of one speaker.

    Attributes:
        score: cosine of the two embeddings; None where a recording was too poor to be embedded.
        decision: ``same`` from the threshold on, ``different`` below; ``cannot_say`` without either.
        threshold: that decided; None where there is none.
        threshold_from: whose it is, in words; or why there is none and what helps.
        llr: log-likelihood ratio of "same" against "different", natural logarithm; None without a calibration.
        quality: of both sides, ``a`` and ``b``.
    """

    score: float | None
    decision: Decision
    threshold: float | None
    threshold_from: str
    llr: float | None
    quality: Mapping[str, Quality]

    def to_dict(self) -> dict[str, Any]:
        """As ``ham verify --json`` prints it."""
        return {**vars(self), "quality": {side: asdict(one) for side, one in self.quality.items()}}


def decide(
    score: float | None, quality: Mapping[str, Quality], threshold: float | str | None, decisions: Decisions | None
) -> Verification:
    """Decide by a score.

    Args:
        score: cosine of two embeddings; None if there is none.
        quality: of both sides; a problem that forbids a decision is heeded.
        threshold: a number, the name of an operating point, or None for the default one.
        decisions: of the system; None if it has none.

    Returns:
        The answer.

    Raises:
        ConfigError: if there is no operating point of that name, or none that was measured.
    """
    value, origin = choose_threshold(threshold, decisions)
    llr = None if score is None or decisions is None else decisions.llr(score)
    decision: Decision = "cannot_say"
    if score is not None and value is not None and not any(one.cannot_say for one in quality.values()):
        decision = "same" if score >= value else "different"
    return Verification(score, decision, value, origin, llr, quality)


def choose_threshold(threshold: float | str | None, decisions: Decisions | None) -> tuple[float | None, str]:
    """The threshold that is asked for, and a sentence that says whose it is, or why there is none and what helps.

    Args:
        threshold: a number (a text that is one counts), the name of an operating point, or None for the default one.
        decisions: of the system; None if it has none.

    Raises:
        ConfigError: if there is no operating point of that name, or none that was measured.
    """
    number = _number(threshold)
    if number is not None:
        return number, "given"
    name = DEFAULT_POINT if threshold is None else str(threshold)
    if decisions is None:
        why = "the model has no thresholds of its own; run stage 6 for it, or give a number"
        if threshold is None:
            return None, why
        raise ConfigError(f"threshold {name}: {why}")
    point = decisions.point(name)
    if point.threshold is None:
        raise ConfigError(f"threshold {name}: not known ({point.note}); give a number or another operating point")
    rough = f" ({point.note})" if point.note else ""
    return point.threshold, f"{name}, measured on {decisions.whose}{rough}"


def _number(threshold: float | str | None) -> float | None:
    """The number that a threshold is; None for a name."""
    try:
        number = float(threshold) if threshold is not None else None
    except ValueError:
        return None
    if number is not None and not -1 <= number <= 1:
        raise ConfigError(f"threshold {threshold}: expected a cosine, a number from -1 to 1, found {threshold}")
    return number
