"""How often intervals hold the truth, and how often equal systems are told apart: simulated lists of known rates.

``python -m benchmarks.intervals`` prints a table and writes JSON. A list has S speakers with 10 utterances each. A
target score is the sum of parts that belong to the speaker, to both utterances and to the trial; a non-target score
has parts of both speakers, of their pair, of both utterances and of the trial. All are normal, so that the true EER,
over speakers, utterances and trainings, is a value of the normal distribution. Cases: ``mild`` (3 % EER, 8 % of the
targets' variance belongs to the speaker), ``strong`` (4 %, 45 %), ``few`` errors (0.3 %, 20 %). The second system
shares four fifths of every part with the first and has the same true EER; with several trainings each of them is
another draw in the same way, and its EER scatters by 0.12 of the scores' deviation.

"before" is the percentile interval of a bootstrap over speakers whose trials count by product weights, with 200
draws. Targets: a 95 % interval holds the truth in 92 to 98 % of the lists, the 5 % test of a difference rejects
equal systems in 3 to 7 %.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from ham.score.metrics import eer
from ham.score.seeds import summarise_seeds

CASES = {"mild": (0.03, 0.08), "strong": (0.04, 0.45), "few": (0.003, 0.2)}
"""True EER, and the share of the targets' variance that belongs to the speaker."""
NUM_UTTS, SHARED = 10, 0.8
TARGET_SD, OTHER_SD, TRAINING_SD = 1.0, 0.8, 0.12
NUM_DRAWS = 200
Row = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """Where lists come from: a case, speakers a list, trainings a system."""

    case: str
    num_speakers: int
    num_trainings: int = 1

    @property
    def eer(self) -> float:
        """The true EER."""
        return CASES[self.case][0]

    def parts(self, rng: np.random.Generator, *shape: int) -> Row:
        """Standard normal numbers of 2 systems and their trainings, each sharing ``SHARED`` of the variance."""
        common = rng.standard_normal(shape)
        found = np.empty((2, self.num_trainings, *shape))
        for system in range(2):
            own = np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * rng.standard_normal(shape)
            for training in range(self.num_trainings):
                more = rng.standard_normal(shape) if self.num_trainings > 1 else own
                share = SHARED if self.num_trainings > 1 else 1.0
                found[system, training] = np.sqrt(share) * own + np.sqrt(1 - share) * more
        return found

    def draw(self, rng: np.random.Generator) -> tuple[Row, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Scores (2, trainings, trials), labels, and the two speakers of every trial."""
        count = self.num_speakers
        one, other = np.triu_indices(NUM_UTTS, 1)
        pick = np.tile(np.arange(len(one)), (count, 1))
        if count >= 1000:  # ten of the 45 pairs do
            pick = rng.integers(len(one), size=(count, 10))
        own = np.repeat(np.arange(count), pick.shape[1])
        first, second = one[pick].ravel(), other[pick].ravel()
        num_others = len(own) if count >= 1000 else min(2 * len(own), 50 * count * (count - 1))
        a = rng.integers(count, size=num_others)
        b = (a + rng.integers(1, count, size=num_others)) % count
        i, j = rng.integers(NUM_UTTS, size=(2, num_others))
        speaker, hub, utts = self.parts(rng, count), self.parts(rng, count), self.parts(rng, count, NUM_UTTS)
        alike = -0.5 * speaker + np.sqrt(0.75) * hub  # who is hard to accept is taken for others less often
        share, of_utts = CASES[self.case][1], 0.2
        targets = np.sqrt(share) * speaker[..., own] + np.sqrt(1 - share - of_utts) * self.parts(rng, len(own))
        targets += np.sqrt(of_utts / 2) * (utts[..., own, first] + utts[..., own, second])
        others = np.sqrt(0.3 * share) * (alike[..., a] + alike[..., b]) + np.sqrt(of_utts / 2) * (
            utts[..., a, i] + utts[..., b, j]
        )
        others += np.sqrt(0.15) * self._pairs(rng, a, b)
        others += np.sqrt(0.85 - 0.6 * share - of_utts) * self.parts(rng, num_others)
        spread = TRAINING_SD * (TARGET_SD + OTHER_SD) if self.num_trainings > 1 else 0.0
        middle = -norm.ppf(self.eer) * np.hypot(TARGET_SD + OTHER_SD, spread)
        shift = spread * rng.standard_normal((2, self.num_trainings, 1))
        scores = np.concatenate([middle + shift + TARGET_SD * targets, OTHER_SD * others], axis=2)
        labels = (np.arange(scores.shape[2]) < len(own)).astype(np.int64)
        return scores, labels, np.concatenate([own, a]), np.concatenate([own, b])

    def _pairs(self, rng: np.random.Generator, a: NDArray[np.int64], b: NDArray[np.int64]) -> Row:
        """The part of a pair of speakers; among very many a pair hardly occurs twice."""
        if self.num_speakers >= 1000:
            return self.parts(rng, len(a))
        return self.parts(rng, self.num_speakers, self.num_speakers)[..., np.minimum(a, b), np.maximum(a, b)]


def percentile_draws(
    scores: Row, labels: NDArray[np.int64], a: NDArray[np.int64], b: NDArray[np.int64], rng: np.random.Generator
) -> Row:
    """Mean EERs of both systems over bootstrap draws of the speakers, trials repeated as often as their weights say."""
    count, found = int(max(a.max(), b.max())) + 1, list[list[float]]()
    while len(found) < NUM_DRAWS:
        times = np.bincount(rng.integers(count, size=count), minlength=count)
        weights = np.where(a == b, times[a], times[a] * times[b])
        kinds = np.repeat(labels, weights)
        if 0 < kinds.sum() < len(kinds):
            found.append([float(np.mean([eer(np.repeat(one, weights), kinds) for one in system])) for system in scores])
    return np.array(found)


def outcomes(population: Population, num_lists: int, *, before: bool) -> Iterator[tuple[bool, bool, bool, bool]]:
    """For each list: does the interval hold the truth, is the difference called one; the same for the old way."""
    for number in range(num_lists):
        rng = np.random.default_rng([number, population.num_speakers, population.num_trainings])
        scores, labels, a, b = population.draw(rng)
        first, second = summarise_seeds({"a": scores[0], "b": scores[1]}, labels, a, b, reference="a")
        assert second.difference is not None
        held = first.interval.low <= population.eer <= first.interval.high
        told_apart = not second.difference.interval.low <= 0 <= second.difference.interval.high
        old_held = old_apart = False
        if before:
            draws = percentile_draws(scores, labels, a, b, rng)
            low, high = np.quantile(draws[:, 0], [0.025, 0.975])
            old_held = bool(low <= population.eer <= high)
            low, high = np.quantile(draws[:, 1] - draws[:, 0], [0.025, 0.975])
            old_apart = not low <= 0 <= high
        yield held, told_apart, old_held, old_apart


def measure(population: Population, num_lists: int, num_before: int) -> dict[str, Any]:
    """Shares in per cent, and the seconds of all."""
    started = time.perf_counter()
    new = np.array([one[:2] for one in outcomes(population, num_lists, before=False)])
    old = np.array([one[2:] for one in outcomes(population, num_before, before=True)])
    shares = 100 * new.mean(axis=0)
    shares_before = 100 * old.mean(axis=0) if num_before else [None, None]
    return {
        "case": population.case,
        "speakers": population.num_speakers,
        "trainings": population.num_trainings,
        "lists": num_lists,
        "coverage": shares[0],
        "rejected": shares[1],
        "lists_before": num_before,
        "coverage_before": shares_before[0],
        "rejected_before": shares_before[1],
        "seconds": time.perf_counter() - started,
    }


def row(found: dict[str, Any]) -> str:
    """One line of the table."""
    old = ["-" if found[name] is None else f"{found[name]:.0f}" for name in ("coverage_before", "rejected_before")]
    missed = [
        word
        for word, name, low, high in (("coverage", "coverage", 92, 98), ("test", "rejected", 3, 7))
        if not low <= found[name] <= high
    ]
    verdict = "missed: " + ", ".join(missed) if missed else "met"
    return (
        f"| {found['case']} | {found['speakers']:,} | {found['trainings']} | {old[0]} | {found['coverage']:.1f} | "
        f"{old[1]} | {found['rejected']:.1f} | {verdict} |"
    )


def main() -> None:
    """Simulate, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_lists", type=int, default=1000, help="lists of each case; a tenth with 1,000 speakers")
    parser.add_argument("--num_before", type=int, default=100, help="lists for the bootstrap; none with 1,000 speakers")
    parser.add_argument("--speakers", type=int, nargs="+", default=[6, 20, 48, 1000])
    parser.add_argument("--trainings", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks/intervals.json"))
    options = parser.parse_args()
    print("| case | speakers | trainings | held before % | held now % | told apart before % | now % | |")
    print("|---|---:|---:|---:|---:|---:|---:|---|", flush=True)
    found = []
    for trainings in options.trainings:
        for speakers in options.speakers:
            for case in CASES:
                many = speakers >= 1000
                numbers = (max(options.num_lists // 10, 1), 0) if many else (options.num_lists, options.num_before)
                found.append(measure(Population(case, speakers, trainings), *numbers))
                print(row(found[-1]), flush=True)
    print(f"{sum(one['seconds'] for one in found):.0f} s", file=sys.stderr)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
