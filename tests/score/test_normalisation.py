"""Score normalisation against loops over single scores, and what it refuses."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import ham.losses
from ham.embeddings.table import EmbeddingTable
from ham.errors import ConfigError, DataError
from ham.score.measures import cosine_scores, distance_scores
from ham.score.normalisation import (
    NORMS,
    TOP_N,
    Cohort,
    CohortStatistics,
    cohort_statistics,
    normalise,
    subtract_mean,
    usual_top_n,
)

Rows = NDArray[np.int64]
Measure = Callable[[NDArray[np.float64], NDArray[np.float64]], float]

DIM = 7


def make_table(num: int, seed: int, prefix: str = "utt") -> EmbeddingTable:
    embeddings = np.random.default_rng(seed).normal(size=(num, DIM)).astype(np.float32)
    return EmbeddingTable(tuple(f"{prefix}{i}" for i in range(num)), embeddings, f"{prefix}.npz")


@pytest.fixture
def table() -> EmbeddingTable:
    return make_table(12, 0)


@pytest.fixture
def means() -> EmbeddingTable:
    return make_table(20, 1, "spk")


@pytest.fixture
def trials() -> tuple[Rows, Rows]:
    generator = np.random.default_rng(2)
    return generator.integers(12, size=60), generator.integers(12, size=60)


def cosine(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


def distance(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x - y).abs().sum(dim=1)


def by_rows(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """All pairs from the row by row form."""
    return torch.stack([distance(row.expand_as(y), y) for row in x])


def normalised(
    norm: str, scores: NDArray[np.float32], table: EmbeddingTable, trials: tuple[Rows, Rows], cohort: Cohort, top_n: int
) -> NDArray[np.float32]:
    kept = top_n if NORMS[norm].adaptive else None
    return normalise(norm, scores, *trials, cohort_statistics(table, np.concatenate(trials), cohort, top_n=kept))


def naive(
    norm: str, measure: Measure, table: EmbeddingTable, trials: tuple[Rows, Rows], means: EmbeddingTable, top_n: int
) -> list[float]:
    def standard(score: float, row: int) -> float:
        against = sorted((measure(x[row], mean) for mean in c), reverse=True)
        against = against[:top_n] if norm == "as_norm" else against
        mean = sum(against) / len(against)
        return (score - mean) / (sum((a - mean) ** 2 for a in against) / len(against)) ** 0.5

    x, c = table.embeddings.astype(np.float64), means.embeddings.astype(np.float64)
    found = []
    for e, t in zip(*(side.tolist() for side in trials), strict=True):
        score = measure(x[e], x[t])
        sides = {"z_norm": [e], "t_norm": [t]}.get(norm, [e, t])
        found.append(sum(standard(score, side) for side in sides) / len(sides))
    return found


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("top_n", [2, 5, 20])
def test_cosine_norms_equal_a_loop(
    norm: str, top_n: int, table: EmbeddingTable, means: EmbeddingTable, trials: tuple[Rows, Rows]
) -> None:
    scores = cosine_scores(table, *trials)
    found = normalised(norm, scores, table, trials, Cohort.by_cosine(means), top_n)
    expected = naive(norm, cosine, table, trials, means, top_n)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert found.dtype == np.float32


@pytest.mark.parametrize("norm", NORMS)
def test_distance_norms_equal_a_loop(
    norm: str, table: EmbeddingTable, means: EmbeddingTable, trials: tuple[Rows, Rows]
) -> None:
    scores = distance_scores(table, *trials, distance)
    found = normalised(norm, scores, table, trials, Cohort.by_distance(means, by_rows), 6)
    expected = naive(norm, lambda x, y: -float(np.abs(x - y).sum()), table, trials, means, 6)
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("geometry", ["published", "poincare", "lorentz"])
def test_hyperbolic_cohort_by_matrix_product_equals_row_by_row(
    geometry: str, table: EmbeddingTable, means: EmbeddingTable
) -> None:
    loss = ham.losses.build("ham_softmax", DIM, 4, curvature=2.0, geometry=geometry)
    paired = Cohort.by_distance(means, loss.pairwise_distance)
    one_by_one = lambda x, y: torch.stack([loss.distance(row.expand_as(y), y) for row in x])  # noqa: E731
    rows = np.arange(12)
    cohorts = paired, Cohort.by_distance(means, one_by_one)
    first, second = (cohort_statistics(table, rows, cohort, top_n=5) for cohort in cohorts)
    np.testing.assert_allclose(first.mean, second.mean, rtol=1e-4)
    np.testing.assert_allclose(first.std, second.std, rtol=1e-3)
    assert (first.mean < 0).all()


@pytest.mark.parametrize("block_elements", [1, 45, 20 * 12])
@pytest.mark.parametrize("top_n", [None, 5])
def test_blocks_change_nothing_and_each_utterance_is_done_once(
    block_elements: int, top_n: int | None, table: EmbeddingTable, means: EmbeddingTable
) -> None:
    seen: list[int] = []
    cohort = Cohort.by_cosine(means)

    def watched(x: torch.Tensor) -> torch.Tensor:
        seen.append(len(x))
        return cohort.score(x)

    rows = np.array([3, 1, 3, 3, 8, 1])
    expected = cohort_statistics(table, rows, cohort, top_n=top_n)
    watching = Cohort(means.utts, watched)
    found = cohort_statistics(table, rows, watching, top_n=top_n, block_elements=block_elements)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, equal_nan=True)
        assert np.flatnonzero(~np.isnan(one)).tolist() == [1, 3, 8]
    assert sum(seen) == 3
    assert max(seen) <= max(1, block_elements // 20)


def test_memory_does_not_grow_with_the_number_of_utterances() -> None:
    means = make_table(500, 3, "spk")

    def peak(num: int) -> int:
        table, rows = make_table(num, 4), np.arange(num)
        tracemalloc.start()
        cohort_statistics(table, rows, Cohort.by_cosine(means), top_n=30, block_elements=50_000)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(10)  # what is imported late is loaded now
    assert peak(4000) < peak(1000) + 4000 * 100  # a few numbers an utterance, not 500


@pytest.mark.parametrize("column", [0, 7, 19])
def test_own_speaker_is_left_out(table: EmbeddingTable, means: EmbeddingTable, column: int) -> None:
    """As if the cohort had been made without the speaker, for the utterances of that speaker alone."""
    cohort, name = Cohort.by_cosine(means), f"spk{column}"
    own = cohort.own(table, {"utt3": name, "utt5": name, "utt6": "stranger"})
    assert [own[row] for row in (3, 5, 6, 0)] == [column, column, -1, -1]
    others = np.delete(np.arange(20), column)
    without = Cohort.by_cosine(EmbeddingTable(tuple(means.utts[i] for i in others), means.embeddings[others]))
    rows = np.arange(12)
    for top_n in (None, 6, 19):
        found = cohort_statistics(table, rows, cohort, top_n=top_n, own=own)
        alone, whole = (cohort_statistics(table, rows, c, top_n=top_n) for c in (without, cohort))
        for one, less, all_ in zip(found, alone, whole, strict=True):
            np.testing.assert_allclose(one[[3, 5]], less[[3, 5]], rtol=1e-5)
            np.testing.assert_allclose(np.delete(one, [3, 5]), np.delete(all_, [3, 5]), rtol=1e-5)
    with pytest.raises(ConfigError, match="at most 19, the speakers of the cohort, an utterance's own left out"):
        cohort_statistics(table, rows, cohort, top_n=20, own=own)


def test_as_norm_is_symmetric_and_blind_to_the_unit_of_the_scores(
    table: EmbeddingTable, means: EmbeddingTable, trials: tuple[Rows, Rows]
) -> None:
    enrol, test = trials
    scores, cohort = cosine_scores(table, enrol, test), Cohort.by_cosine(means)
    found = normalised("as_norm", scores, table, (enrol, test), cohort, 9)
    swapped = normalised("as_norm", scores, table, (test, enrol), cohort, 9)
    np.testing.assert_allclose(found, swapped, rtol=1e-6)
    stretched = Cohort(means.utts, lambda x: 3.0 * cohort.score(x) + 5.0)
    again = normalised("as_norm", 3 * scores + 5, table, (enrol, test), stretched, 9)
    np.testing.assert_allclose(found, again, rtol=1e-3, atol=1e-3)


def test_small_deviations_on_large_scores_keep_their_digits(means: EmbeddingTable) -> None:
    """Sums of squares in float32 would lose a deviation of 0.1 beside a score of 1,000."""
    values = 1000.0 + torch.linspace(-0.1, 0.1, 20)
    cohort = Cohort(means.utts, lambda x: values.expand(len(x), -1))
    found = cohort_statistics(make_table(3, 0), np.arange(3), cohort, top_n=None)
    assert found.mean == pytest.approx(np.full(3, float(values.double().mean())), rel=1e-14)
    assert found.std == pytest.approx(np.full(3, float(values.double().std(correction=0))), rel=1e-10)


def test_subtracting_the_mean_leaves_none() -> None:
    table = make_table(50, 6)
    table.embeddings[:] += 100.0
    before = table.embeddings.copy()
    mean = before.mean(axis=0, dtype=np.float64)
    shifted = subtract_mean(table, mean)
    assert np.abs(shifted.embeddings.mean(axis=0, dtype=np.float64)).max() < 1e-5
    np.testing.assert_allclose(shifted.embeddings + mean, table.embeddings, rtol=1e-6)
    assert shifted.utts == table.utts
    assert np.array_equal(table.embeddings, before)


def test_means_that_do_not_fit_are_refused(table: EmbeddingTable) -> None:
    with pytest.raises(DataError, match=r"shape \(3,\) for embeddings of 7 numbers"):
        subtract_mean(table, np.zeros(3))
    with pytest.raises(DataError, match="NaN or infinity"):
        subtract_mean(table, np.full(DIM, np.nan))


@pytest.mark.parametrize(
    ("top_n", "message"),
    [
        (TOP_N, "top_n: expected at most 20, the speakers of the cohort, found 300"),
        (21, "at most 20"),
        (1, "at least 2"),
        (0, "at least 2"),
        (2.5, "whole number"),
    ],
)
def test_wrong_top_n_is_refused(top_n: int, message: str, table: EmbeddingTable, means: EmbeddingTable) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        cohort_statistics(table, np.arange(3), Cohort.by_cosine(means), top_n=top_n)
    assert "\n" not in str(caught.value)


def odd_cohort(scores: Sequence[float]) -> Cohort:
    return Cohort(tuple("abc"), lambda x: torch.tensor(scores).expand(len(x), -1), "odd.npz")


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.5, 0.5, 0.5], "odd.npz: expected scores that vary .* found 2 with none, first utt0"),
        ([0.5, 0.5 + 2e-8, 0.5], "found 2 with none"),
        ([0.0, 0.0, 0.0], "found 2 with none"),
        ([0.5, float("nan"), 0.1], "expected finite scores against the cohort, found nan for utt0"),
        ([0.5, float("inf"), 0.1], "found inf for utt0"),
    ],
)
def test_odd_cohort_scores_are_refused(scores: Sequence[float], message: str, table: EmbeddingTable) -> None:
    with pytest.raises(DataError, match=message):
        cohort_statistics(table, np.array([0, 1]), odd_cohort(scores), top_n=None)


def test_the_utterance_whose_scores_are_odd_is_named(table: EmbeddingTable) -> None:
    scores = torch.tensor([[0.5, 0.1, 0.2], [0.3, float("nan"), 0.1], [0.1, 0.2, float("inf")]])
    cohort = Cohort(tuple("abc"), lambda x: scores[: len(x)], "odd.npz")
    with pytest.raises(DataError, match="found nan for utt4"):
        cohort_statistics(table, np.array([1, 4, 6]), cohort, top_n=None)


def test_odd_cohorts_are_refused(table: EmbeddingTable, means: EmbeddingTable) -> None:
    alone = EmbeddingTable(means.utts[:1], means.embeddings[:1], "one.npz")
    with pytest.raises(DataError, match=r"one\.npz: expected a cohort of at least 2 speakers"):
        cohort_statistics(table, np.arange(3), Cohort.by_cosine(alone), top_n=None)
    two = Cohort.by_cosine(EmbeddingTable(means.utts[:2], means.embeddings[:2], "two.npz"))
    with pytest.raises(DataError, match="found 2, of which 1 can be used"):
        cohort_statistics(table, np.arange(3), two, top_n=None, own=two.own(table, {"utt0": "spk1"}))
    zero = EmbeddingTable(("a", "b"), np.array([[1, 0], [0, 0]], np.float32), "zero.npz")
    with pytest.raises(DataError, match=r"zero\.npz: .* a mean of zeros for b"):
        Cohort.by_cosine(zero)


def test_unknown_norms_are_refused() -> None:
    rows, statistics = np.array([0, 1]), CohortStatistics(np.zeros(2), np.ones(2))
    with pytest.raises(ConfigError, match=r"z_norm, t_norm, s_norm, as_norm.* did you mean 'as_norm'"):
        normalise("asnorm", np.zeros(2, np.float32), rows, rows, statistics)


def test_a_third_of_the_cohort_at_most_300() -> None:
    sizes = (0, 2, 5, 6, 9, 165, 899, 900, 5994)
    assert [usual_top_n(size) for size in sizes] == [2, 2, 2, 2, 3, 55, 299, 300, 300]
