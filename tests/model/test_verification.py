"""Decisions against the thresholds that were asked for."""

from __future__ import annotations

import json
import math

import pytest

from ham.audio.quality import Problem, Quality
from ham.errors import ConfigError
from ham.model.verification import choose_threshold, decide
from tests.speaking import WHOSE, thresholds

GOOD = Quality(3.0, 2.8, -20.0, 30.0, 0.0)
POOR = Quality(3.0, 0.0, -99.0, 0.0, 0.0, problems=(Problem("silent", "It is silent.", "cannot_say"),))
WARNED = Quality(1.0, 1.0, -20.0, 30.0, 0.0, problems=(Problem("short", "It is short."),))
BOTH = {"a": GOOD, "b": GOOD}


@pytest.mark.parametrize(
    ("score", "threshold", "decision"),
    [
        (0.5, None, "same"), (0.4999, None, "different"), (0.5, "far_1", "different"), (0.9, "far_1", "same"),
        (0.3, 0.3, "same"), (0.3, "0.3", "same"), (-1.0, "-1", "same"), (0.29, 0.3, "different"),
    ],
)  # fmt: skip
def test_scores_from_the_threshold_on_are_of_one_speaker(
    score: float, threshold: float | str | None, decision: str
) -> None:
    assert decide(score, BOTH, threshold, thresholds()).decision == decision


def test_the_answer_says_which_threshold_it_used_and_how_likely_it_is() -> None:
    found = decide(0.6, BOTH, "far_1", thresholds())
    assert (found.threshold, found.threshold_from) == (0.9, f"far_1, measured on {WHOSE}")
    assert found.llr == pytest.approx(10 * 0.6 - 4)
    assert decide(0.6, BOTH, 0.2, thresholds()).threshold_from == "given"


def test_poor_speech_and_a_score_that_is_missing_forbid_a_decision() -> None:
    for score, quality in ((0.99, {"a": GOOD, "b": POOR}), (None, {"a": POOR, "b": GOOD}), (None, BOTH)):
        assert decide(score, quality, None, thresholds()).decision == "cannot_say"
    assert decide(None, BOTH, None, thresholds()).llr is None
    assert decide(0.99, {"a": WARNED, "b": WARNED}, None, thresholds()).decision == "same"


def test_without_thresholds_the_score_is_there_and_the_cure_is_told() -> None:
    found = decide(0.99, BOTH, None, None)
    assert (found.score, found.decision, found.threshold, found.llr) == (0.99, "cannot_say", None, None)
    assert "run stage 6" in found.threshold_from
    assert decide(0.99, BOTH, 0.5, None).decision == "same"


@pytest.mark.parametrize(
    ("threshold", "known", "words"),
    [
        ("far_1", False, "the model has no thresholds of its own; run stage 6"),
        ("eeer", True, "eer, far_1, far_0_01"),
        ("far_0_01", True, "not known (too few trials)"),
        (1.5, True, "a number from -1 to 1, found 1.5"),
        ("-7", True, "a number from -1 to 1, found -7"),
        (math.nan, True, "a number from -1 to 1, found nan"),
        ("inf", False, "a number from -1 to 1, found inf"),
        ("", True, "eer, far_1, far_0_01"),
    ],
)
def test_thresholds_that_are_none_are_refused(threshold: float | str, known: bool, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        choose_threshold(threshold, thresholds() if known else None)
    assert words in str(caught.value)


def test_the_document_is_what_programs_read() -> None:
    document = json.loads(json.dumps(decide(0.6, {"a": WARNED, "b": GOOD}, None, thresholds()).to_dict()))
    assert list(document) == ["score", "decision", "threshold", "threshold_from", "llr", "quality"]
    assert document["quality"]["a"]["problems"] == [{"name": "short", "text": "It is short.", "severity": "warn"}]
    assert document["quality"]["b"]["speech_s"] == 2.8
