"""Time of scoring and measuring a long trial list: python benchmarks/scoring.py [--json FILE].

Embeddings and trials are random; the sizes are those of the largest VoxCeleb1 lists. Each row is the fastest of
several runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import ham.losses
from ham.report import hardware
from ham.score import metrics
from ham.score.backend import EmbeddingTable, cosine_scores, distance_scores
from ham.score.intervals import eer_interval
from ham.score.results import text_table
from ham.score.scores import Scores, read_scores, write_scores


def fastest(work: Callable[[], object], repeats: int) -> float:
    """Shortest time of several runs.

    Args:
        work: what to time.
        repeats: number of runs.

    Returns:
        Seconds.
    """
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Time each step.

    Args:
        options: the command line's.

    Returns:
        Seconds of each step.
    """
    generator = np.random.default_rng(0)
    num_utts = options.num_speakers * 20
    utts = tuple(f"id{utt // 20:05d}-session-{utt:06d}" for utt in range(num_utts))
    embeddings = generator.normal(size=(num_utts, options.embedding_dim)).astype(np.float32)
    enrol = generator.integers(num_utts, size=options.num_trials)
    labels = generator.integers(2, size=options.num_trials)
    same = enrol // 20 * 20 + generator.integers(20, size=options.num_trials)
    test = np.where(labels == 1, same, (same + 20 * generator.integers(1, options.num_speakers)) % num_utts)
    table = EmbeddingTable(utts, embeddings)
    loss = ham.losses.build("ham_softmax", options.embedding_dim, 10)
    scores = cosine_scores(table, enrol, test) + labels.astype(np.float32) * np.float32(0.3)
    names = [utts[row] for row in enrol], [utts[row] for row in test]

    def score_and_measure() -> None:
        found = cosine_scores(table, table.rows(names[0]), table.rows(names[1]))
        for p_target in (0.01, 0.05):
            metrics.min_dcf(found, labels, p_target)
        metrics.eer(found, labels)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores"
        steps: dict[str, Callable[[], object]] = {
            "look up, cosine, EER, minDCF twice": score_and_measure,
            "cosine alone": lambda: cosine_scores(table, enrol, test),
            "hyperbolic alone": lambda: distance_scores(table, enrol, test, loss.distance),
            "EER alone": lambda: metrics.eer(scores, labels),
            "write scores": lambda: write_scores(path, Scores(tuple(names[0]), tuple(names[1]), scores)),
            "read scores": lambda: read_scores(path),
        }
        seconds = {name: fastest(work, options.repeats) for name, work in steps.items()}
    interval = f"interval, {options.num_resamples:,} resamples"
    seconds[interval] = fastest(
        lambda: eer_interval(scores, labels, enrol // 20, test // 20, num_resamples=options.num_resamples), 1
    )
    return seconds


def main() -> None:
    """Print the table and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--num_trials", type=int, default=500_000, help="length of the list")
    parser.add_argument("--num_speakers", type=int, default=1251, help="speakers, of 20 utterances each")
    parser.add_argument("--embedding_dim", type=int, default=192, help="length of an embedding")
    parser.add_argument("--num_resamples", type=int, default=1000, help="bootstrap draws")
    parser.add_argument("--repeats", type=int, default=3, help="runs of which the fastest counts")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/scoring.json"), help="where to write")
    options = parser.parse_args()
    seconds = measure(options)
    sizes = {key: value for key, value in vars(options).items() if key != "json"}
    content = {**sizes, "hardware": hardware(), "threads": torch.get_num_threads(), "seconds": seconds}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"{options.num_trials:,} trials, {options.num_speakers:,} speakers, D {options.embedding_dim}; {hardware()}")
    print(text_table(("step", "", "seconds"), [(name, "", f"{value:.3f}") for name, value in seconds.items()]))
    print(options.json)


if __name__ == "__main__":
    main()
