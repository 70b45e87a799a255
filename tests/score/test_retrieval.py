"""Searches among enrolled speakers: rates and intervals against loops over the definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ham.data.kaldi_dir import DataDir
from ham.data.trials import Trials
from ham.embeddings.table import EmbeddingTable
from ham.score.retrieval import FEW, Searches, retrieval
from ham.score.scorer import EmbeddedTrials
from ham.score.trial_lists import TrialList

Problem = tuple[NDArray[np.float32], list[str], list[str]]


def problem(seed: int, num_models: int = 30, num_tests: int = 250, grid: int = 0) -> Problem:
    """Scores that are higher for the own speaker; a third of the tests are of nobody who is enrolled."""
    rng = np.random.default_rng(seed)
    models = [f"s{k % 20}" for k in range(num_models)]
    tests = [f"s{k}" for k in rng.integers(0, 30, num_tests)]
    scores = rng.normal(size=(num_models, num_tests)) + 3 * (np.array(models)[:, None] == np.array(tests)[None])
    return (np.round(scores * grid) / grid if grid else scores).astype(np.float32), models, tests


def naive(scores: NDArray[np.float32], models: list[str], tests: list[str]) -> list[float]:
    """P@1, P@10 and FNIR, a search after the other."""
    enrolled = list(dict.fromkeys(models))
    ranks, own, strangers = [], [], []
    for column, speaker in enumerate(tests):
        best = {name: max(scores[m, column] for m, one in enumerate(models) if one == name) for name in enrolled}
        mine = best.pop(speaker, None)
        strangers.append(max(best.values()))
        if mine is not None:
            ranks.append(1 + sum(value >= mine for value in best.values()))
            own.append(mine)
    threshold = next(t for t in sorted(strangers) if sum(s > t for s in strangers) <= 0.01 * len(strangers))
    named = [rank == 1 and mine > threshold for rank, mine in zip(ranks, own, strict=True)]
    return [np.mean([r == 1 for r in ranks]), np.mean([r <= FEW for r in ranks]), 1 - np.mean(named)]


@pytest.mark.parametrize("grid", [0, 2])  # 2: many scores are equal
@pytest.mark.parametrize("seed", [0, 1])
def test_rates_and_those_without_a_speaker_are_the_naive_ones(seed: int, grid: int) -> None:
    scores, models, tests = problem(seed, grid=grid)
    searches = Searches(scores.copy(), models, tests)
    assert searches.rates() == pytest.approx(naive(scores, models, tests))
    for speaker in ("s3", "s17", "s25"):
        kept, others = ([one != speaker for one in side] for side in (models, tests))
        left = [[one for one in side if one != speaker] for side in (models, tests)]
        expected = naive(scores[kept][:, others], *left)
        assert searches.rates(searches.speakers[speaker]) == pytest.approx(expected)


def test_the_scores_are_not_changed() -> None:
    scores, models, tests = problem(0)
    before = scores.copy()
    Searches(scores, models, tests).intervals()
    assert np.array_equal(scores, before)


def test_intervals_hold_the_rate_of_the_population() -> None:
    """Every speaker has a difficulty of his own, so that the searches of one are alike."""
    rng, rates, held = np.random.default_rng(0), [], []
    for _ in range(60):
        codes = np.repeat(np.arange(30), 12)
        ease = rng.normal(2.5, 1.0, 30)
        scores = rng.normal(size=(30, len(codes))) + ease[codes] * (np.arange(30)[:, None] == codes)
        searches = Searches(scores.astype(np.float32), range(30), codes.tolist())
        rates.append(searches.rates())
        held.append(searches.intervals())
    truth = np.mean(rates, axis=0)
    for k in (0, 2):
        share = np.mean([low <= truth[k] <= high for low, high in (found[k] for found in held)])
        assert share > 0.85
        assert np.mean([found[k].high - found[k].low for found in held]) < 0.4


def a_list(num_speakers: int, num_tests: int, *, enrolled: int | None = None) -> tuple[TrialList, EmbeddedTrials]:
    """Two recordings make each model; every speaker has tests."""
    rng = np.random.default_rng(0)
    utts = {f"s{s:02d}-{u}": f"s{s:02d}" for s in range(num_speakers) for u in range(2 + num_tests)}
    models = {
        f"m{s:02d}": (f"s{s:02d}-0", f"s{s:02d}-1") for s in range(num_speakers if enrolled is None else enrolled)
    }
    tests = [utt for utt in utts if int(utt[4:]) > 1]
    enrol = [*models][:1] if models else ["s00-0"]
    trials = Trials((*enrol * len(tests), *enrol), (*tests, "s01-0"), np.zeros(len(tests) + 1, np.int8), models)
    centres = rng.normal(size=(num_speakers, 8))
    rows = np.array([centres[int(name[1:])] + 0.8 * rng.normal(size=8) for name in utts.values()])
    data = DataDir(Path("d/x"), {}, utts, dict.fromkeys(utts, 1.0), trials)
    table = EmbeddingTable(tuple(utts), rows.astype(np.float32), "embeddings.npz")
    return TrialList("x/all", data, trials), EmbeddedTrials("x", table, trials, {})


def test_a_list_with_models_is_searched() -> None:
    trial_list, embedded = a_list(15, 12, enrolled=12)
    found = retrieval(trial_list, embedded)
    assert found is not None
    assert (found.trial_list, found.backend) == ("x/all", "cosine")
    assert (found.num_models, found.num_speakers, found.num_searches, found.num_enrolled) == (12, 12, 180, 144)
    unit = embedded.embeddings.embeddings / np.linalg.norm(embedded.embeddings.embeddings, axis=1, keepdims=True)
    row = {utt: position for position, utt in enumerate(embedded.embeddings.utts)}
    models = [unit[[row[utt] for utt in utts]].mean(0) for utts in trial_list.trials.models.values()]
    tests = [utt for utt in trial_list.trials.test if utt != "s01-0"]  # of which a model is made
    scores = np.array([[m @ unit[row[utt]] / np.linalg.norm(m) for utt in tests] for m in models], np.float32)
    expected = naive(scores, [f"s{k:02d}" for k in range(12)], [utt[:3] for utt in tests])
    assert [found.p_at_1, found.p_at_10, found.fnir] == pytest.approx(expected)
    assert found.p_at_1_low < found.p_at_1 < found.p_at_1_high


def test_what_cannot_be_told_is_not_told() -> None:
    assert retrieval(*a_list(15, 12, enrolled=0)) is None  # pairs of recordings enrol nobody
    assert retrieval(*a_list(15, 12, enrolled=1)) is None
    found = retrieval(*a_list(9, 12))
    assert found is not None
    assert (found.p_at_10, found.p_at_10_low) == (None, None)  # nine are always among ten
    assert found.fnir is not None
    few = retrieval(*a_list(12, 8))
    assert few is not None
    assert (few.fnir, few.fnir_high) == (None, None)  # 1 % of 96 strangers is less than one
    assert few.p_at_10 is not None
