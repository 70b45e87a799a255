"""Pictures of differences and levels: what they name, and that they are the same again."""

from __future__ import annotations

from dataclasses import replace

from ham.report.claims import Comparison, Effect
from ham.report.claims_figures import Dots, dots, effects
from ham.score.intervals import Interval

EFFECT = Effect(Comparison("a", "b", "margin"), "EER", -0.5, Interval(-1.0, 0.1), 0.2, 0.4, 0.9, (3, 3))


def test_differences_are_named_and_those_that_are_sure_are_filled() -> None:
    unsure = effects([EFFECT], "points", 2)
    assert b"margin  -0.50" in unsure
    assert b"system minus control, points" in unsure
    assert effects([EFFECT], "points", 2) == unsure
    assert effects([replace(EFFECT, adjusted=0.01)], "points", 2) != unsure
    assert effects([replace(EFFECT, adjusted=None)], "points", 2) == unsure


def test_every_system_and_level_is_named() -> None:
    values = [(0.5, 0.4, 0.6), (0.1, 0.0, 0.2)]
    picture = dots([Dots("am", values), Dots("ham", values)], ["sex", "accent"], "rank correlation")
    assert all(name in picture for name in (b"am", b"ham", b"sex", b"accent", b"rank correlation"))
