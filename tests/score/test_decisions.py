"""Thresholds of scores: held against scikit-learn's ROC and against distributions whose thresholds are known."""

from __future__ import annotations

import json

import pytest

from ham.errors import ConfigError, DataError
from ham.score.decisions import Decisions, OperatingPoint

POINTS = (
    OperatingPoint("eer", 0.25, 0.2, 0.3, 0.01, 0.01),
    OperatingPoint("far_0_01", None, None, None, None, None, "too few"),
)
DECISIONS = Decisions("cosine", 20.0, -5.0, POINTS, "16 speakers kept aside from the training", 16, 700, 12000)


def test_they_come_back_from_json() -> None:
    assert Decisions.from_dict(json.loads(json.dumps(DECISIONS.to_dict()))) == DECISIONS


def test_a_point_is_found_by_name_and_a_ratio_is_linear_in_the_score() -> None:
    assert DECISIONS.point() == POINTS[0]
    assert DECISIONS.point("far_0_01").threshold is None
    assert DECISIONS.llr(0.5) == 5.0
    with pytest.raises(ConfigError, match="'far_2': expected one of eer, far_0_01, or a number"):
        DECISIONS.point("far_2")


@pytest.mark.parametrize("content", [{}, {"points": 1}, {"points": [{"name": "eer"}]}, {"points": [], "backend": "x"}])
def test_other_values_are_refused(content: dict[str, object]) -> None:
    with pytest.raises(DataError, match=r"^results.json: expected thresholds as stage 6 writes them"):
        Decisions.from_dict(content, "results.json")
