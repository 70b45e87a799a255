"""Sentences beside the numbers: each where it applies, and only there."""

from __future__ import annotations

from dataclasses import replace

from ham.report import wording
from ham.score.results import ListResult, Results

ROW = ListResult("mini/all", "cosine", 1200, 34_000, 0.01984, 0.0151, 0.02409, 0.1234, 0.0567)


def notes(*rows: ListResult) -> list[str]:
    return wording.notes(Results("run_1", 7, None, {}, "./run.sh", rows, notes={"mini/all": ["few speakers"]}))


def test_back_ends_that_rank_alike_are_explained() -> None:
    hyperbolic = replace(ROW, backend="hyperbolic")
    assert wording.SAME_RANKING in notes(ROW, hyperbolic)
    assert wording.SAME_RANKING not in notes(ROW, replace(hyperbolic, eer=0.03))
    assert wording.SAME_RANKING not in notes(ROW)
    assert wording.SAME_RANKING not in notes(replace(ROW, eer=0.0), replace(hyperbolic, eer=0.0))


def test_what_the_scoring_remarked_comes_last() -> None:
    assert notes(ROW)[-1] == "mini/all: few speakers."


def test_the_two_rules_of_the_eer_are_compared() -> None:
    for published, found in ((None, []), (0.01983, [wording.RULES_AGREE]), (0.0199, [wording.RULES_DIFFER])):
        assert wording.eer_notes([replace(ROW, eer_published=published)]) == [wording.EER_RULE, *found]
    assert wording.RULES_AGREE not in wording.eer_notes([replace(ROW, eer_published=0.01983), ROW])


def test_costs_are_explained_where_they_are_shown() -> None:
    assert wording.cost_notes([ROW]) == [wording.MIN_DCF]
    least = replace(ROW, min_cllr=0.1)
    assert wording.cost_notes([ROW, least]) == [wording.MIN_DCF, wording.MIN_CLLR]
    calibrated = replace(least, act_dcf_p01=0.2, cllr=0.2)
    assert wording.cost_notes([least, calibrated]) == [wording.MIN_DCF, wording.ACT_DCF, wording.CLLR]


def test_back_ends_are_explained_once_each() -> None:
    found = wording.backend_notes(["cosine", "cosine+as_norm", "hyperbolic+as_norm+llr", "cosine+crops"])
    assert [note.split(":")[0] for note in found] == ["cosine", "hyperbolic", "+crops", "+as_norm", "+llr"]
