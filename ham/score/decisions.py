"""Thresholds that one can defend: what a score means for a decision, as stage 6 measured it on held-aside speakers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ham.errors import ConfigError, DataError
from ham.words import clip

DEFAULT_POINT = "eer"
"""The operating point that decides unless another is asked for."""


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold, and what it costs.

    Attributes:
        name: such as ``eer`` or ``far_1``, a false-alarm rate of 1 %.
        threshold: scores from it on are "same"; None where the trials are too few to tell.
        low: lower end of the threshold's interval.
        high: its upper end.
        miss: rate of rejected targets at the threshold.
        false_alarm: rate of accepted non-targets.
        note: what else is to be said.
    """

    name: str
    threshold: float | None
    low: float | None = None
    high: float | None = None
    miss: float | None = None
    false_alarm: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Decisions:
    """The operating points of one back-end, and its calibration ``llr = scale * score + offset``.

    Attributes:
        backend: whose scores they are for.
        scale: of the calibration.
        offset: of the calibration; natural logarithm.
        points: the thresholds.
        whose: the speakers that they were measured on, in words.
        num_speakers: of them.
        num_target: their target trials.
        num_nontarget: their non-target trials.
    """

    backend: str
    scale: float
    offset: float
    points: tuple[OperatingPoint, ...]
    whose: str
    num_speakers: int
    num_target: int
    num_nontarget: int

    def point(self, name: str) -> OperatingPoint:
        """The operating point of a name.

        Raises:
            ConfigError: naming the choices.
        """
        for point in self.points:
            if point.name == name:
                return point
        names = ", ".join(point.name for point in self.points)
        raise ConfigError(f"threshold {clip(name)}: no such operating point; give a number or one of {names}")

    def llr(self, score: float) -> float:
        """The log-likelihood ratio of a score."""
        return self.scale * score + self.offset

    def to_dict(self) -> dict[str, Any]:
        """As results.json and model directories hold them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, found: Mapping[str, Any], place: str = "decisions") -> Decisions:
        """The opposite of :meth:`to_dict`.

        Raises:
            DataError: if it is something else.
        """
        try:
            points = tuple(OperatingPoint(**point) for point in found["points"])
            return cls(**{**found, "points": points})
        except (TypeError, KeyError) as error:
            raise DataError(f"{place}: expected decisions, found something else ({error}); run stage 6") from None
