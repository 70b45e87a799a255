"""Levels of known trees: planted at one level, found there and nowhere else; and nothing where there is none."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kstest, mannwhitneyu
from scipy.stats import somersd as somers

from ham.analysis.levels import effective_rank, level_errors, measure_levels
from ham.analysis.tree import Leaf
from ham.embeddings.directions import unit_rows
from ham.errors import DataError
from ham.score.intervals import speaker_variance
from ham.score.seeds import summarise
from tests.analysis.test_tree import balanced

NAMES = ("sex", "accent", "speaker", "session")
DIM = 24


def grow(leaves: list[Leaf], seed: int, *depths: int, step: float = 1.0) -> NDArray[np.float32]:
    """Noise, and a random step for every node of the given depths: of a session, 3, for every path of four labels."""
    generator = np.random.default_rng(seed)
    rows = generator.normal(size=(len(leaves), DIM))
    for depth in depths:
        steps: dict[tuple[str, ...], NDArray[np.float64]] = {}
        for row, leaf in zip(rows, leaves, strict=True):
            row += step * steps.setdefault(leaf[: depth + 1], generator.normal(size=DIM))
    return rows.astype(np.float32)


@pytest.mark.parametrize("depth", range(4))
def test_a_tree_planted_at_one_level_is_found_there_and_nowhere_else(depth: int) -> None:
    leaves = balanced(num_accents=5, num_speakers=4, num_sessions=3, num_utts=3)
    found = [measure_levels(grow(leaves, seed, depth), leaves) for seed in range(5)]
    for name, measure in itertools.product(NAMES, ("correlation", "purity")):
        tested = [getattr(levels[name], measure) for levels in found]
        p, excess = [one.p for one in tested], np.mean([one.value - one.chance for one in tested])
        if name == NAMES[depth]:
            assert max(p) <= 0.012, (name, measure)  # the ten units of the level sex part in 126 ways
            assert excess > 0.25, (name, measure)
        else:
            assert np.mean(p) > 0.2, (name, measure)
            assert abs(excess) < 0.1, (name, measure)


def test_without_a_tree_the_p_of_every_level_is_uniform() -> None:
    leaves = balanced(num_accents=4, num_speakers=3, num_sessions=2, num_utts=2)
    found = [measure_levels(grow(leaves, seed), leaves) for seed in range(60)]
    for name in NAMES:
        p = np.array([level[name].correlation.p for level in found])
        assert kstest(p, "uniform").pvalue > 0.01, name
        assert np.mean([level[name].purity.p <= 0.1 for level in found]) < 0.22, name
        assert abs(np.mean([level[name].correlation.value for level in found])) < 0.02, name


def test_a_level_above_does_not_make_up_one_below_nor_the_other_way() -> None:
    leaves = balanced(num_accents=4, num_speakers=4, num_sessions=3, num_utts=2)
    found = measure_levels(grow(leaves, 3, 0, 2, step=2.0), leaves)
    assert min(found["sex"].correlation.value, found["speaker"].correlation.value) > 0.5
    assert found["accent"].correlation.p > 0.05
    assert found["session"].correlation.p > 0.05


def naive(embeddings: NDArray[np.float32], leaves: list[Leaf], depth: int) -> tuple[int, float]:
    """Comparisons of a level and those of them the wrong way round, one after the other."""
    unit = unit_rows(embeddings)
    below = [leaf[1] if depth == 0 else leaf[: depth + 2] if depth < 3 else at for at, leaf in enumerate(leaves)]
    pairs: dict[tuple[str, ...], tuple[list[float], list[float]]] = {}
    for i, j in itertools.combinations(range(len(leaves)), 2):
        if leaves[i][:depth] == leaves[j][:depth] and below[i] != below[j]:
            kinds = pairs.setdefault(leaves[i][:depth], ([], []))
            kinds[leaves[i][depth] != leaves[j][depth]].append(float(np.linalg.norm(unit[i] - unit[j])))
    wrong, cases = 0.0, 0
    for shared, others in pairs.values():
        if shared and others:
            wrong += float(mannwhitneyu(shared, others).statistic)
            cases += len(shared) * len(others)
    return cases, wrong


@pytest.mark.parametrize("depth", range(4))
def test_the_rate_and_each_speakers_part_are_their_definitions(depth: int) -> None:
    leaves = balanced(num_accents=2, num_speakers=3, num_sessions=2, num_utts=2)
    embeddings = grow(leaves, 7, 0, 1, 2, step=0.5)
    found = level_errors(embeddings, leaves)[NAMES[depth]]
    cases, wrong = naive(embeddings, leaves, depth)
    assert found.eer == pytest.approx(wrong / cases)
    assert measure_levels(embeddings, leaves)[NAMES[depth]].correlation.value == pytest.approx(1 - 2 * found.eer)
    num_speakers = len({leaf.speaker for leaf in leaves})
    assert (len(found.speakers), len(found.pairs)) == (num_speakers, num_speakers * (num_speakers - 1) // 2)
    for at, speaker in enumerate(sorted({leaf.speaker for leaf in leaves})):
        left = [number for number, leaf in enumerate(leaves) if leaf.speaker != speaker]
        fewer, less = naive(embeddings[left], [leaves[number] for number in left], depth)
        assert found.speakers[at] == pytest.approx(found.eer - less / fewer, abs=1e-12)


def test_a_level_without_an_error_is_as_uncertain_as_its_few_pairs() -> None:
    leaves = balanced(num_accents=2, num_speakers=3, num_sessions=2, num_utts=2)
    found = {"a": [level_errors(grow(leaves, 0, 2, step=100.0), leaves)["speaker"]]}
    num_shared, num_others = 4 * 3 * 4, 4 * 3 * 16  # of four cells with three speakers, each with two sessions of two
    assert found["a"][0].eer == 0
    assert found["a"][0].half_error == pytest.approx(0.125 * (1 / num_shared + 1 / num_others))
    (summary,) = summarise(found, None)
    assert summary.interval.low == 0
    assert 1 / num_shared < summary.interval.high < 10 / num_shared


def test_the_rank_correlation_is_somers_d() -> None:
    leaves = balanced(num_accents=1, num_speakers=6, num_sessions=2, num_utts=1)
    leaves = [Leaf("f", "a", leaf.speaker, leaf.session) for leaf in leaves]
    embeddings = grow(leaves, 1, 2)
    unit = unit_rows(embeddings)
    pairs = list(itertools.combinations(range(len(leaves)), 2))
    others = [leaves[i].speaker != leaves[j].speaker for i, j in pairs]
    chords = [float(np.linalg.norm(unit[i] - unit[j])) for i, j in pairs]
    value = measure_levels(embeddings, leaves)["speaker"].correlation.value
    assert value == pytest.approx(somers(others, chords).statistic)


def test_the_speakers_variance_is_that_of_other_speakers() -> None:
    """Standard errors against the spread of the rate over corpora of other speakers, the accents being the same."""
    leaves = balanced(num_accents=4, num_speakers=8, num_sessions=2, num_utts=1)
    accents = {leaf.accent: step for leaf, step in zip(leaves, grow(leaves, 0, 1, step=3.0), strict=True)}
    rates, errors = [], []
    for seed in range(60):
        rows = grow(leaves, seed, 2) + 0.5 * np.stack([accents[leaf.accent] for leaf in leaves])
        found = level_errors(rows.astype(np.float32), leaves)["accent"]
        rates.append(found.eer)
        errors.append(speaker_variance(found.speakers, found.pairs))
    assert np.sqrt(np.mean(errors)) == pytest.approx(np.std(rates), rel=0.3)


def test_levels_without_pairs_are_left_out() -> None:
    leaves = [Leaf("f", "a", f"s{at // 4}", "one") for at in range(12)]
    assert measure_levels(grow(leaves, 0), leaves) == {}  # one sex, one accent, one session
    two = [Leaf(leaf.sex, leaf.accent, leaf.speaker, f"{at % 2}") for at, leaf in enumerate(leaves)]
    assert list(measure_levels(grow(two, 0), two)) == ["speaker", "session"]


def test_zeros_are_refused() -> None:
    leaves = balanced()
    rows = grow(leaves, 0)
    rows[3] = 0
    with pytest.raises(DataError, match="zeros in row 3"):
        measure_levels(rows, leaves)


def test_the_effective_rank_counts_the_dimensions_that_are_used() -> None:
    generator = np.random.default_rng(0)
    rows = np.zeros((4000, 10), np.float32)
    rows[:, :4] = generator.normal(size=(4000, 4))
    assert effective_rank(rows) == pytest.approx(4, rel=0.02)
    rows[:, 1:] *= 1e-3
    rows[:, 0] = np.abs(rows[:, 0]) + 1
    rows[:, 2:] = 0
    assert effective_rank(rows) == pytest.approx(1, abs=0.02)
