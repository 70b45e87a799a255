"""Each level of a known tree asked alone: do utterances that share a label lie nearer than those that do not?

A level is asked over the pairs of utterances that agree in every label above it and differ in what lies just below it,
so that no other level can answer: whether two utterances share the sex, of two speakers of different accents; whether
they share the accent, of two speakers of one sex; whether they share the speaker, of two sessions; whether they share
the session, of one speaker.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import NDArray

from ham.analysis.tree import SEED, Leaf
from ham.embeddings.directions import unit_rows
from ham.score.intervals import Influences

NUM_PERMUTATIONS = 999
"""Draws behind a p; the least that there can be is one in a thousand."""

Numbers = NDArray[np.int64]
Row = NDArray[np.float64]


@dataclass(frozen=True)
class Tested:
    """A measure, what it is where a level has no part in the distances, and its p.

    The labels are dealt anew ``NUM_PERMUTATIONS`` times to the units inside what lies above; p is the share of deals,
    the one that is there among them, whose measure lies as far above chance.
    """

    value: float
    chance: float
    p: float


@dataclass(frozen=True)
class Level:
    """What distances tell of one level.

    Attributes:
        correlation: rank-biserial correlation of a pair's distance with not sharing the label, 1 minus twice the share
            of cases in which a pair that shares it is farther than one that does not; between -1 and 1, chance 0.
        purity: share of utterances whose nearest one, among the level's pairs, shares the label; chance is the share of
            all that it is paired with.
        num_units: what the labels are dealt anew to: combinations of sex and accent, speakers, sessions, utterances.
    """

    correlation: Tested
    purity: Tested
    num_units: int


@dataclass(frozen=True)
class _Family:
    """The utterances below one node, and their pairs that a level is asked over.

    Attributes:
        members: their numbers, shape ``(n,)``.
        units: the unit of each.
        labels: the label of each unit.
        first: of each pair, a place in ``members``.
        second: likewise.
        distances: of each pair.
    """

    members: Numbers
    units: Numbers
    labels: Numbers
    first: Numbers
    second: Numbers
    distances: Row

    @property
    def shared(self) -> NDArray[np.bool_]:
        """Whether each pair shares the label."""
        labels = self.labels[self.units]
        return np.equal(labels[self.first], labels[self.second])


def measure_levels(embeddings: NDArray[np.float32], leaves: Sequence[Leaf]) -> dict[str, Level]:
    """Measure every level of the tree.

    Args:
        embeddings: shape ``(N, D)``; their directions count, in the chord metric.
        leaves: where each hangs in the tree.

    Returns:
        By the names of :class:`ham.analysis.tree.Leaf`; a level is left out where no pairs ask for it.

    Raises:
        DataError: if an embedding is zero or not finite.
    """
    found = {name: _families(embeddings, leaves, depth) for depth, name in enumerate(Leaf._fields)}
    return {name: _measured(families) for name, families in found.items() if families}


def level_errors(embeddings: NDArray[np.float32], leaves: Sequence[Leaf]) -> dict[str, Influences]:
    r"""Of every level the error rate and what each speaker contributes, for intervals and comparisons.

    .. math:: e = D / C = (1 - r) / 2

    with the rank correlation r, over C comparisons of a pair that shares the label with one that does not, D of
    them the wrong way round. A speaker's part is exactly e less what is left without the speaker. Half an error is that
    of a pair, as of a trial in :func:`ham.score.intervals.influences`: comparisons are many, and their pairs few.

    Args:
        embeddings: as for :func:`measure_levels`.
        leaves: likewise.

    Returns:
        By level, the speakers in the order of their names; ready for :func:`ham.score.seeds.summarise`.

    Raises:
        DataError: as :func:`measure_levels`.
    """
    names, speakers = np.unique([leaf.speaker for leaf in leaves], return_inverse=True)
    found = {name: _families(embeddings, leaves, depth) for depth, name in enumerate(Leaf._fields)}
    return {name: _influences(families, speakers, len(names)) for name, families in found.items() if families}


def effective_rank(embeddings: NDArray[np.float32]) -> float:
    r"""In how many dimensions the directions spread.

    .. math:: \exp\Bigl(-\sum_i p_i \ln p_i\Bigr), \qquad p_i = \lambda_i / \sum_j \lambda_j

    with the eigenvalues of the covariance of the directions (Roy and Vetterli, EUSIPCO 2007).

    Args:
        embeddings: shape ``(N, D)``, N at least 2.

    Returns:
        Between 1, a line, and the lesser of D and N - 1.

    Raises:
        DataError: if an embedding is zero or not finite.
    """
    unit = unit_rows(embeddings)
    spread = np.square(np.linalg.svd(unit - unit.mean(axis=0), compute_uv=False))
    return float(np.exp(scipy.stats.entropy(spread)))


def _families(embeddings: NDArray[np.float32], leaves: Sequence[Leaf], depth: int) -> list[_Family]:
    """The nodes above a level, those of them that have pairs of either kind."""
    unit = unit_rows(embeddings)
    members: dict[tuple[str, ...], list[int]] = {}
    for at, leaf in enumerate(leaves):
        members.setdefault(leaf[:depth], []).append(at)
    found = [_family(unit, leaves, np.array(numbers), depth) for numbers in members.values()]
    return [family for family in found if family is not None]


def _family(unit: Row, leaves: Sequence[Leaf], members: Numbers, depth: int) -> _Family | None:
    own = [leaves[at] for at in members]
    below = _codes([_below(leaf, at, depth) for at, leaf in zip(members.tolist(), own, strict=True)])
    labels = _codes([leaf[depth] for leaf in own])
    units = _codes(list(zip(labels.tolist(), below.tolist(), strict=True)))
    first, second = np.triu_indices(len(members), 1)
    first, second = (side[below[first] != below[second]] for side in (first, second))
    shared = np.equal(labels[first], labels[second])
    if not shared.any() or shared.all():
        return None
    rows = unit[members]
    chords = np.sqrt(np.maximum(2.0 - 2.0 * (rows @ rows.T), 0.0))
    of_units = np.zeros(units.max() + 1, np.int64)
    of_units[units] = labels
    return _Family(members, units, of_units, first, second, chords[first, second])


def _below(leaf: Leaf, at: int, depth: int) -> Hashable:
    """What two utterances must not have in common: a name that is one wherever it stands, as an accent's."""
    return at if depth == 3 else (leaf.speaker, leaf.session) if depth == 2 else leaf[depth + 1]


def _codes(values: Sequence[Hashable]) -> Numbers:
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(value, len(number)) for value in values], np.int64)


def _measured(families: Sequence[_Family]) -> Level:
    """Both measures; the first deal of the labels is the one that is there."""
    wrong, cases, pure, expected, asked = np.zeros((5, NUM_PERMUTATIONS + 1))
    for number, family in enumerate(families):
        dealt = _deals(family.labels, number)
        ranks = _by_units(family, scipy.stats.rankdata(family.distances))
        numbers = _by_units(family, np.ones(len(family.distances)))
        num_shared = _within(numbers, dealt)
        wrong += _within(ranks, dealt) - num_shared * (num_shared + 1) / 2
        cases += num_shared * (numbers.sum() - num_shared)
        nearest = _nearest(family)
        pure += _within(nearest, dealt)
        expected += _within(_any_one(nearest, numbers, np.bincount(family.units)), dealt)
        asked += nearest.sum()
    share = np.divide(wrong, cases, out=np.full(len(cases), 0.5), where=cases > 0)  # a deal may leave none to compare
    return Level(
        correlation=Tested(float(1 - 2 * share[0]), 0.0, _share_reaching(-share)),
        purity=Tested(float(pure[0] / asked[0]), float(expected[0] / asked[0]), _share_reaching(pure - expected)),
        num_units=sum(len(family.labels) for family in families),
    )


def _deals(labels: Numbers, seed: int) -> Numbers:
    """The labels of the units as they are, and dealt anew: shape ``(NUM_PERMUTATIONS + 1, units)``."""
    again = np.random.default_rng((SEED, seed)).permuted(np.tile(labels, (NUM_PERMUTATIONS, 1)), axis=1)
    return np.concatenate([labels[None], again])


def _by_units(family: _Family, values: Row) -> Row:
    """Sums of values of pairs, by their two units."""
    number = len(family.labels)
    places = family.units[family.first] * number + family.units[family.second]
    sums: Row = np.bincount(places, values, number * number).reshape(number, number).astype(np.float64)
    return sums


def _nearest(family: _Family) -> Row:
    """How many utterances of a unit have their nearest one in another."""
    table = np.full((len(family.members),) * 2, np.inf)
    table[family.first, family.second] = table[family.second, family.first] = family.distances
    asked = np.flatnonzero(np.isfinite(table).any(axis=1))
    places = np.zeros((len(family.labels),) * 2)
    np.add.at(places, (family.units[asked], family.units[table[asked].argmin(axis=1)]), 1.0)
    return places


def _within(sums: Row, dealt: Numbers) -> Row:
    """Of every deal the sum over the pairs of units of one label."""
    total = np.zeros(len(dealt))
    for label in range(dealt.max() + 1):
        held = (dealt == label).astype(np.float64)
        total += ((held @ sums) * held).sum(axis=1)
    return total


def _any_one(nearest: Row, numbers: Row, sizes: Numbers) -> Row:
    """The same as :func:`_nearest` if every utterance had any one of those that it is paired with."""
    others = (numbers + numbers.T > 0) * sizes
    found: Row = others * (nearest.sum(axis=1) / np.maximum(others.sum(axis=1), 1))[:, None]
    return found


def _share_reaching(values: Row) -> float:
    """The share of deals that reach the first one, which counts itself."""
    return float(np.mean(values >= values[0] - 1e-9))


def _influences(families: Sequence[_Family], speakers: Numbers, num_speakers: int) -> Influences:
    compared = [_comparisons(family.distances, family.shared) for family in families]
    wrong, cases = (sum(float(part.sum()) for part in parts) / 2 for parts in zip(*compared, strict=True))
    rate = wrong / cases  # each comparison was seen from both of its pairs
    kinds = [family.shared for family in families]
    less_wrong, less_cases = np.zeros((2, num_speakers))
    pairs = np.zeros((num_speakers, num_speakers))
    for family, shared, (errors, chances) in zip(families, kinds, compared, strict=True):
        who = speakers[family.members]
        sides = np.sort(np.stack([who[family.first], who[family.second]]), axis=0)
        across = sides[0] != sides[1]
        np.add.at(pairs, tuple(sides[:, across]), (errors - rate * chances)[across])
        for speaker in np.unique(sides):
            mine = (sides == speaker).any(axis=0)
            within = _comparisons(family.distances[mine], shared[mine])
            less_wrong[speaker] += errors[mine].sum() - within[0].sum() / 2  # what two of the pairs made counts once
            less_cases[speaker] += chances[mine].sum() - within[1].sum() / 2
    left = np.maximum(cases - less_cases, 1.0)
    parts = (less_wrong - rate * less_cases) / left
    num_shared, num_others = (sum(int(kind.sum()) for kind in of) for of in (kinds, [~kind for kind in kinds]))
    half_error = 0.125 * (1 / num_shared + 1 / num_others)
    return Influences(rate, parts, pairs[np.triu_indices(num_speakers, 1)] / cases, half_error)


def _comparisons(distances: Row, shared: NDArray[np.bool_]) -> tuple[Row, Row]:
    """Of each pair: comparisons with pairs of the other kind that are the wrong way round, ties half; and all."""
    ours, others = np.sort(distances[shared]), np.sort(distances[~shared])
    wrong, cases = np.zeros((2, len(distances)))
    below = np.searchsorted(others, distances[shared], "left") + np.searchsorted(others, distances[shared], "right")
    above = np.searchsorted(ours, distances[~shared], "left") + np.searchsorted(ours, distances[~shared], "right")
    wrong[shared], wrong[~shared] = below / 2, len(ours) - above / 2
    cases[shared], cases[~shared] = len(others), len(ours)
    return wrong, cases
