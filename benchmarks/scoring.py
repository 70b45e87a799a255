"""Time and memory of scoring and measuring a long trial list: python -m benchmarks.scoring [--json FILE].

Embeddings and trials are random; the sizes are those of the list VoxCeleb1-E (580,000 trials of 145,000 utterances) and
of a cohort of VoxCeleb2's 5,994 speakers. Each time is the fastest of several runs. Targets:

* the cosines at least 300 times as fast as a loop that calls scikit-learn's ``cosine_similarity`` for each trial, timed
  on some of the trials and extrapolated;
* EER and minDCF at two priors at least 20 times as fast as Python loops over the sorted trials;
* AS-Norm in bounded memory: the highest beyond what was there before, from a process of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics.pairwise import cosine_similarity

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import ham.losses
from ham.data.trials import Trials
from ham.embeddings.table import EmbeddingTable
from ham.provenance import hardware
from ham.report.text_tables import text_table
from ham.score import metrics
from ham.score.backends import parse_backend
from ham.score.intervals import eer_interval
from ham.score.measures import cosine_scores, distance_scores
from ham.score.score_file import Scores, read_scores, write_scores
from ham.score.scorer import EmbeddedTrials, Scorer, TrainingSpeakers

REPOSITORY = Path(__file__).resolve().parent.parent
P_TARGETS = 0.01, 0.05
COSINE_TARGET, METRICS_TARGET = 300.0, 20.0


@dataclass(frozen=True)
class Problem:
    """A trial list with its embeddings and a cohort."""

    table: EmbeddingTable
    enrol: NDArray[np.int64]
    test: NDArray[np.int64]
    labels: NDArray[np.int64]
    cohort: EmbeddingTable
    utts_per_speaker: int


def make_problem(options: argparse.Namespace) -> Problem:
    """Draw a problem of the sizes that the command line asks for.

    Args:
        options: the command line's.

    Returns:
        The problem; half of its trials are targets.
    """
    generator = np.random.default_rng(0)
    each, num_speakers, num_trials = options.utts_per_speaker, options.num_speakers, options.num_trials
    num_utts = num_speakers * each
    embeddings = generator.standard_normal((num_utts, options.embedding_dim), np.float32)
    means = generator.standard_normal((options.cohort, options.embedding_dim), np.float32)
    enrol = generator.integers(num_utts, size=num_trials)
    labels = generator.integers(2, size=num_trials)
    same = enrol // each * each + generator.integers(each, size=num_trials)
    other = (same + each * generator.integers(1, num_speakers, size=num_trials)) % num_utts
    return Problem(
        table=EmbeddingTable(tuple(f"id{utt // each:05d}-session-{utt:06d}" for utt in range(num_utts)), embeddings),
        enrol=enrol,
        test=np.where(labels == 1, same, other),
        labels=labels,
        cohort=EmbeddingTable(tuple(f"train{speaker:05d}" for speaker in range(options.cohort)), means),
        utts_per_speaker=each,
    )


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


def as_norm(problem: Problem, top_n: int) -> NDArray[np.float32]:
    """The back-end cosine+as_norm, as stage 6 runs it.

    Args:
        problem: the trials.
        top_n: highest cohort scores that count.

    Returns:
        Normalised scores.
    """
    utts = problem.table.utts
    enrol, test = (tuple(utts[row] for row in side.tolist()) for side in (problem.enrol, problem.test))
    embedded = EmbeddedTrials("trials", problem.table, Trials(enrol, test, problem.labels.astype(np.int8)), {})
    training = TrainingSpeakers(np.zeros(problem.table.embeddings.shape[1]), problem.cohort)
    return Scorer(training=training, top_n=top_n).scores(parse_backend("cosine+as_norm"), embedded)


def cosine_loop(problem: Problem, num_trials: int) -> list[float]:
    """Cosines of the first trials, one by one by scikit-learn.

    Args:
        problem: the trials.
        num_trials: how many to do.

    Returns:
        Their scores.
    """
    embeddings = problem.table.embeddings
    trials = zip(problem.enrol[:num_trials].tolist(), problem.test[:num_trials].tolist(), strict=True)
    return [float(cosine_similarity(embeddings[a : a + 1], embeddings[b : b + 1])[0, 0]) for a, b in trials]


def loop_rates(scores: list[float], labels: list[int]) -> list[tuple[float, float]]:
    """Miss and false-alarm rate at the corners of their curve, counted in a loop over the trials of rising score.

    The published rule looks at corners only: no trial of the same class follows.

    Args:
        scores: one a trial, all different.
        labels: 1 for a target trial.

    Returns:
        The rates.
    """
    num_target = sum(labels)
    num_nontarget = len(labels) - num_target
    misses, alarms = 0, num_nontarget
    rates, before = [], None
    for _, label in sorted(zip(scores, labels, strict=True)):
        if label != before:
            rates.append((misses / num_target, alarms / num_nontarget))
        if label:
            misses += 1
        else:
            alarms -= 1
        before = label
    return [*rates, (misses / num_target, alarms / num_nontarget)]


def loop_eer(scores: list[float], labels: list[int]) -> float:
    """EER of the published rule: the larger rate where the two are nearest."""
    nearest = min(reversed(loop_rates(scores, labels)), key=lambda rates: abs(rates[0] - rates[1]))
    return max(nearest)


def loop_min_dcf(scores: list[float], labels: list[int], p_target: float) -> float:
    """Normalised minimum detection cost, costs 1."""
    least = 1.0
    for miss, false_alarm in loop_rates(scores, labels):
        least = min(least, (p_target * miss + (1 - p_target) * false_alarm) / min(p_target, 1 - p_target))
    return least


def measures(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> list[float]:
    """EER of the published rule and minDCF."""
    return [metrics.eer(scores, labels, "published"), *(metrics.min_dcf(scores, labels, p) for p in P_TARGETS)]


def loop_measures(scores: NDArray[np.float32], labels: NDArray[np.int64]) -> list[float]:
    """The same by loops."""
    values, classes = scores.tolist(), labels.tolist()
    return [loop_eer(values, classes), *(loop_min_dcf(values, classes, p) for p in P_TARGETS)]


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Time each step.

    Args:
        options: the command line's.

    Returns:
        Seconds of each step.
    """
    problem = make_problem(options)
    table, enrol, test, labels = problem.table, problem.enrol, problem.test, problem.labels
    loss = ham.losses.build("ham_softmax", options.embedding_dim, 10)
    scores = cosine_scores(table, enrol, test) + labels.astype(np.float32) * np.float32(0.3)
    names = [table.utts[row] for row in enrol], [table.utts[row] for row in test]
    steps: dict[str, Callable[[], object]] = {
        "look up": lambda: (table.rows(names[0]), table.rows(names[1])),
        "cosine": lambda: cosine_scores(table, enrol, test),
        "hyperbolic": lambda: distance_scores(table, enrol, test, loss.distance),
        "EER": lambda: metrics.eer(scores, labels),
        "EER, minDCF twice": lambda: measures(scores, labels),
        "Cllr, minCllr, actDCF": lambda: [f(scores, labels) for f in (metrics.cllr, metrics.min_cllr, metrics.act_dcf)],
        f"AS-Norm, cohort {options.cohort:,}": lambda: as_norm(problem, options.top_n),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores"
        steps["write scores"] = lambda: write_scores(path, Scores(tuple(names[0]), tuple(names[1]), scores))
        steps["read scores"] = lambda: read_scores(path)
        seconds = {name: fastest(work, options.repeats) for name, work in steps.items()}
    speakers = enrol // problem.utts_per_speaker, test // problem.utts_per_speaker
    seconds["interval"] = fastest(lambda: eer_interval(scores, labels, *speakers), 1)
    return {**seconds, **measure_loops(problem, scores, options)}


def measure_loops(problem: Problem, scores: NDArray[np.float32], options: argparse.Namespace) -> dict[str, float]:
    """Time the loops, and hold what they find against the steps.

    Args:
        problem: the trials.
        scores: what the metrics are taken of.
        options: the command line's.

    Returns:
        Seconds of the loops, the one over cosines extrapolated to all trials.
    """
    num = min(options.loop_trials, len(problem.enrol))
    found = cosine_loop(problem, num)
    np.testing.assert_allclose(found, cosine_scores(problem.table, problem.enrol, problem.test)[:num], atol=1e-5)
    np.testing.assert_allclose(loop_measures(scores, problem.labels), measures(scores, problem.labels), atol=1e-4)
    one_by_one = fastest(lambda: cosine_loop(problem, num), options.repeats) * len(problem.enrol) / num
    return {
        f"loop: cosine_similarity of scikit-learn, from {num:,} trials": one_by_one,
        "loop: EER, minDCF twice": fastest(lambda: loop_measures(scores, problem.labels), 1),
    }


def status_bytes(entry: str) -> int:
    """An entry of /proc/self/status: VmRSS is the memory in use, VmHWM the highest so far."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{entry}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status: {entry} not found")


def extra_bytes(options: argparse.Namespace) -> int:
    """Highest memory of AS-Norm beyond the embeddings, in this process."""
    problem = make_problem(options)
    ctypes.CDLL(None).malloc_trim(0)  # freed memory that stays with the process would be used unseen
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # VmHWM starts again from VmRSS
    before = status_bytes("VmRSS")
    as_norm(problem, options.top_n)
    return status_bytes("VmHWM") - before


def measure_memory(options: argparse.Namespace) -> float | None:
    """Extra MB of AS-Norm from a process of its own; None where it cannot be known.

    Args:
        options: the command line's.

    Returns:
        MB.
    """
    if not sys.platform.startswith("linux"):
        return None
    sizes = ("num_trials", "num_speakers", "utts_per_speaker", "embedding_dim", "cohort", "top_n")
    command = [sys.executable, "-m", "benchmarks.scoring", "--memory_here"]
    command += [word for size in sizes for word in (f"--{size}", str(getattr(options, size)))]
    environment = {variable: value for variable, value in os.environ.items() if not variable.startswith("MALLOC_")}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return int(done.stdout) / 1e6


def targets(seconds: dict[str, float]) -> list[tuple[str, str, str]]:
    """Rows of the table of targets.

    Args:
        seconds: of each step.

    Returns:
        What, the bound, what was found.
    """
    (cosine,) = (name for name in seconds if name.startswith("loop: cosine_similarity"))
    against = {cosine: ("cosine", COSINE_TARGET), "loop: EER, minDCF twice": ("EER, minDCF twice", METRICS_TARGET)}
    return [
        (f"{loop} / {step}", f"{bound:.0f}", f"{seconds[loop] / seconds[step]:.1f}")
        for loop, (step, bound) in against.items()
    ]


def parse_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num_trials", type=int, default=580_000, help="length of the list")
    parser.add_argument("--num_speakers", type=int, default=1251, help="speakers")
    parser.add_argument("--utts_per_speaker", type=int, default=116, help="utterances of each")
    parser.add_argument("--embedding_dim", type=int, default=192, help="length of an embedding")
    parser.add_argument("--cohort", type=int, default=5994, help="speakers of the cohort")
    parser.add_argument("--top_n", type=int, default=300, help="highest cohort scores that count")
    parser.add_argument("--loop_trials", type=int, default=5000, help="trials of the loop over cosines")
    parser.add_argument("--repeats", type=int, default=3, help="runs of which the fastest counts")
    parser.add_argument("--json", type=Path, default=Path("build/benchmarks/scoring.json"), help="where to write")
    parser.add_argument("--memory_here", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Print the tables and write JSON; or, in a process that another started, print the extra bytes of AS-Norm."""
    options = parse_options()
    if options.memory_here:
        print(extra_bytes(options))
        return
    seconds = measure(options)
    extra_mb = measure_memory(options)
    content = {
        **{key: value for key, value in vars(options).items() if key not in ("json", "memory_here")},
        "hardware": hardware(),
        "threads": torch.get_num_threads(),
        "seconds": seconds,
        "as_norm_extra_mb": extra_mb,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    sizes = f"{options.num_trials:,} trials, {options.num_speakers * options.utts_per_speaker:,} utterances"
    print(f"{sizes}, D {options.embedding_dim}; {hardware()}, {torch.get_num_threads()} threads")
    print(text_table(("step", "", "seconds"), [(name, "", f"{value:.3f}") for name, value in seconds.items()]))
    print(text_table(("times as fast", "target", "found"), targets(seconds)))
    print(f"AS-Norm: {'-' if extra_mb is None else f'{extra_mb:,.0f}'} MB beyond the embeddings")
    print(options.json)


if __name__ == "__main__":
    main()
