"""Thresholds of scores, for a decision "same speaker" or "different speakers", and log-likelihood ratios of scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ham.errors import ConfigError, DataError

DEFAULT_POINT = "eer"
"""The operating point that decisions take unless another one is named."""

FALSE_ALARMS = {"far_1": 0.01, "far_0_1": 0.001, "far_0_01": 0.0001}
"""Points of a false-alarm rate, with the rate, a fraction."""


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and the error rates there on the trials that it was chosen on; a score is accepted from it on.

    Attributes:
        name: ``eer``, ``min_dcf_p01``, ``min_dcf_p05``, or ``far_1``, ``far_0_1``, ``far_0_01`` for a false-alarm rate
            of 1, 0.1, 0.01 %.
        threshold: of the score; None where the trials are too few to tell, and then the numbers below are None too.
        low: low end of its 95 % interval over draws of the speakers.
        high: high end of it.
        miss: miss rate, a fraction.
        false_alarm: false-alarm rate, a fraction.
        note: why there is no threshold, or that it rests on few errors; else empty.
    """

    name: str
    threshold: float | None
    low: float | None
    high: float | None
    miss: float | None
    false_alarm: float | None
    note: str = ""


@dataclass(frozen=True)
class Decisions:
    r"""What turns the scores of a back-end into decisions and into log-likelihood ratios.

    Attributes:
        backend: whose scores, ``cosine`` for one.
        scale: of :math:`\ell = scale \cdot s + offset`, natural logarithm.
        offset: likewise.
        points: the operating points, by rising demands.
        whose: whose speech all of it was chosen on, as in "16 speakers kept aside from the training".
        num_speakers: number of these speakers.
        num_target: number of target trials between their utterances.
        num_nontarget: number of non-target trials.
    """

    backend: str
    scale: float
    offset: float
    points: tuple[OperatingPoint, ...]
    whose: str
    num_speakers: int
    num_target: int
    num_nontarget: int

    def point(self, name: str = DEFAULT_POINT) -> OperatingPoint:
        """Look up an operating point.

        Args:
            name: its name.

        Returns:
            The point; its threshold may be None.

        Raises:
            ConfigError: if there is none of this name.
        """
        found = {point.name: point for point in self.points}
        if name not in found:
            raise ConfigError(f"threshold '{name}': expected one of {', '.join(found)}, or a number")
        return found[name]

    def llr(self, score: float) -> float:
        """Log-likelihood ratio of a score, natural logarithm; positive speaks for the same speaker."""
        return self.scale * score + self.offset

    def to_dict(self) -> dict[str, Any]:
        """As plain values that JSON holds; :meth:`from_dict` reads them back."""
        return {**asdict(self), "points": [asdict(point) for point in self.points]}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], place: str = "decisions") -> Decisions:
        """Read what :meth:`to_dict` made.

        Args:
            content: the values.
            place: where they come from, for the error message.

        Returns:
            The decisions.

        Raises:
            DataError: if they are something else.
        """
        try:
            points = tuple(OperatingPoint(**point) for point in content["points"])
            return cls(**{**content, "points": points})
        except (KeyError, TypeError) as error:
            raise DataError(f"{place}: expected thresholds as stage 6 writes them, found others ({error})") from None
