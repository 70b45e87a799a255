"""The search against loops over single scores, its cohorts, and thresholds for whole lists."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from ham.enrolment import search
from ham.enrolment.database import Gallery, unit
from ham.enrolment.search import Candidate, Search, highest, list_threshold
from ham.errors import DataError
from ham.score.decisions import Decisions, OperatingPoint

DIM = 6
Array = NDArray[np.float32]


def draw(num: int, seed: int) -> Array:
    return np.random.default_rng(seed).normal(size=(num, DIM)).astype(np.float32)


def make_gallery(num: int, seed: int = 0) -> Gallery:
    return Gallery(tuple(f"s{i:04d}" for i in range(num)), unit(draw(num, seed)))


def cosine(x: Array, y: Array) -> float:
    a, b = x.astype(np.float64), y.astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def naive(
    gallery: Gallery, probe: Array, top: int, cohort: Array | None = None, own: dict[int, int] | None = None
) -> list[tuple[str, float]]:
    """All speakers by a loop, the best first: names and the scores that rank them."""
    scores = [cosine(probe, row) for row in gallery.embeddings]
    ranks = list(scores)
    if cohort is not None:
        own = own or {}
        num = min(max(2, len(cohort) // 3), len(cohort) - 1 if own else len(cohort))

        def _moments(x: Array, left_out: int | None) -> tuple[float, float]:
            kept = sorted((cosine(x, c) for at, c in enumerate(cohort) if at != left_out), reverse=True)[:num]
            return float(np.mean(kept)), float(np.std(kept))

        mean, std = _moments(probe, own.get(int(np.argmax(scores))))
        for row, score in enumerate(scores):
            its_mean, its_std = _moments(gallery.embeddings[row], own.get(row))
            ranks[row] = ((score - mean) / std + (score - its_mean) / its_std) / 2
    order = sorted(range(len(scores)), key=lambda row: -ranks[row])[:top]
    return [(gallery.names[row], ranks[row]) for row in order]


def ranking(candidates: list[Candidate]) -> list[tuple[str, float]]:
    return [(one.name, one.score if one.as_norm is None else one.as_norm) for one in candidates]


def check(found: list[Candidate], expected: list[tuple[str, float]]) -> None:
    assert [name for name, _ in ranking(found)] == [name for name, _ in expected]
    np.testing.assert_allclose([s for _, s in ranking(found)], [s for _, s in expected], rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("num", [1, 2, 7, 300])
def test_cosines_against_a_loop(num: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "BLOCK_ELEMENTS", 3 * num)  # several blocks of probes
    gallery, probes = make_gallery(num), 5 * draw(8, 1)
    for found, probe in zip(Search(gallery, as_norm=False)(probes, 4), probes, strict=True):
        check(found, naive(gallery, probe, 4))


def test_as_norm_against_a_loop() -> None:
    gallery, probes, cohort = make_gallery(12), draw(5, 1), draw(30, 2)
    for found, probe in zip(Search(gallery, cohort)(probes, 12), probes, strict=True):
        check(found, naive(gallery, probe, 12, cohort))
        assert {one.name: pytest.approx(one.score, abs=1e-6) for one in found} == dict(naive(gallery, probe, 12))


def test_others_as_a_cohort_against_a_loop() -> None:
    gallery, probes = make_gallery(search.LEAST_OTHERS), draw(5, 1)
    own = {row: row for row in range(len(gallery.names))}
    for found, probe in zip(Search(gallery)(probes, 9), probes, strict=True):
        check(found, naive(gallery, probe, 9, gallery.embeddings, own))


def test_too_few_others_are_no_cohort() -> None:
    gallery, probes = make_gallery(search.LEAST_OTHERS - 1), draw(2, 1)
    assert [one.as_norm for found in Search(gallery)(probes) for one in found] == [None, None]


def test_many_others_are_thinned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MOST_OTHERS", 60)
    gallery = make_gallery(200)
    cohort, own = search.choose_cohort(gallery, None)
    assert cohort is not None
    assert len(cohort.speakers) == 60
    assert sorted(own[own >= 0]) == list(range(60))
    assert len(Search(gallery)(draw(3, 1), 5)[2]) == 5


def test_a_shortlist_keeps_the_best_of_many() -> None:
    """Beyond the shortlist nobody is ranked by AS-Norm; within it, the order is that of all."""
    gallery, probe, cohort = make_gallery(400), draw(1, 1), draw(30, 2)
    near = {name for name, _ in naive(gallery, probe[0], search.SHORTLIST)}
    expected = [one for one in naive(gallery, probe[0], 400, cohort) if one[0] in near][:10]
    check(Search(gallery, cohort)(probe, 10)[0], expected)


def test_no_speaker_and_no_recording() -> None:
    nobody = Gallery((), np.empty((0, DIM), np.float32))
    assert Search(nobody, draw(30, 2))(draw(2, 1), 3) == [[], []]
    assert Search(make_gallery(3))(np.empty((0, DIM), np.float32)) == []


def test_those_alike_come_in_the_order_of_their_names() -> None:
    row = unit(draw(1, 0))
    gallery = Gallery(("a", "b", "c"), np.repeat(row, 3, axis=0))
    assert [one.name for one in Search(gallery)(row, 3)[0]] == ["a", "b", "c"]


@pytest.mark.parametrize("wrong", [0.0, np.nan, np.inf])
def test_an_embedding_without_a_direction_is_refused(wrong: float) -> None:
    with pytest.raises(DataError, match="direction"):
        Search(make_gallery(3))(np.full((1, DIM), wrong, np.float32))


def test_highest_against_sorting() -> None:
    scores = np.random.default_rng(3).integers(0, 6, (20, 30)).astype(np.float32)
    for num in (1, 5, 30, 99):
        found = np.take_along_axis(scores, highest(scores, num), axis=1)
        np.testing.assert_array_equal(found, -np.sort(-scores, axis=1)[:, :num])


def decisions(**thresholds: float | None) -> Decisions:
    points = tuple(OperatingPoint(name, value, None, None, None, None) for name, value in thresholds.items())
    return Decisions("cosine", 1.0, 0.0, points, "nobody", 2, 2, 2)


@pytest.mark.parametrize(
    ("num_enrolled", "origin", "rate"),
    [(1, "far_1", 0.01), (2, "far_0_1", 0.001999), (10, "far_0_1", 0.00995512), (11, "far_0_01", 0.00109945)],
)
def test_the_threshold_rises_with_the_list(num_enrolled: int, origin: str, rate: float) -> None:
    points = decisions(eer=0.1, far_1=0.2, far_0_1=0.3, far_0_01=0.4)
    found = list_threshold(points, num_enrolled)
    assert found is not None
    assert (found.origin, found.value) == (origin, points.point(origin).threshold)
    assert search.list_false_alarm(found.rate, num_enrolled) == pytest.approx(rate, rel=1e-5)


def test_where_no_threshold_holds_for_the_list_the_highest_says_what_it_does() -> None:
    found = list_threshold(decisions(eer=0.1, far_1=0.2, far_0_1=0.3, far_0_01=None), 5000)
    assert found is not None
    assert found.origin == "far_0_1"
    assert search.list_false_alarm(found.rate, 5000) == pytest.approx(1 - (1 - 0.001) ** 5000)
    assert list_threshold(decisions(eer=None, far_1=None, far_0_1=None, far_0_01=None), 1) is None


def test_without_a_threshold_for_a_rate_the_other_points_stand_in() -> None:
    others = tuple(
        OperatingPoint(name, value, None, None, 0.1, rate)
        for name, value, rate in (("eer", 0.5, 0.005), ("min_dcf_p01", 0.7, 1e-4), ("min_dcf_p05", 0.6, 1e-3))
    )
    points = replace(decisions(), points=(*others, *decisions(far_1=None).points), num_speakers=1000)
    found = [list_threshold(points, num) for num in (1, 10, 50, 5000)]
    assert [one and (one.origin, one.rate) for one in found] == [
        ("eer", 0.005), ("min_dcf_p05", 1e-3), ("min_dcf_p01", 1e-4), ("min_dcf_p01", 1e-4),
    ]  # fmt: skip


def test_few_pairs_of_speakers_tell_of_no_low_rate() -> None:
    others = (OperatingPoint("eer", 0.5, None, None, 0.0, 0.0), OperatingPoint("far_1", 0.6, None, None, 0.1, 0.0))
    assert search.false_alarm_rate(others[0], 25) == 3 / 300
    assert 0.04 < (1 - 3 / 300) ** 300 < 0.05  # so rarely would such a rate show no error
    assert search.false_alarm_rate(replace(others[0], false_alarm=0.2), 25) == 0.2
    assert search.false_alarm_rate(others[0], 2) == 1
    assert search.false_alarm_rate(others[1], 25) == 0.01
    assert search.false_alarm_rate(OperatingPoint("eer", None, None, None, None, None), 25) is None
    points = replace(decisions(), points=others[:1], num_speakers=25)
    found = [list_threshold(points, num) for num in (2, 50)]
    assert [one and one.rate for one in found] == [0.01, 0.01]
