"""Error rates of short speech: test utterances cut to some seconds, both sides of every trial, scored by the cosine.

Stage 5 embeds the cuts (:class:`ham.embeddings.recordings.Cuts`) into ``durations/<seconds>s.npz``; utterances that are
shorter stay whole and are counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ham.data.store import ArrayStore
from ham.embeddings.table import read_embeddings, read_source
from ham.errors import ConfigError, DataError
from ham.score.backends import parse_backend
from ham.score.decisions import Decisions
from ham.score.intervals import eer_interval
from ham.score.metrics import eer
from ham.score.results import DurationRates
from ham.score.scorer import EmbeddedTrials, Scorer
from ham.score.thresholds import rates_at
from ham.score.trial_lists import TrialList

LEAST_S, MOST_S = 0.5, 60.0
"""Shortest and longest cut, seconds."""


def parse_durations(words: Sequence[str]) -> tuple[float, ...]:
    """Read ``--durations``.

    Args:
        words: seconds; several may share one word, separated by spaces or commas.

    Returns:
        Each once, ascending.

    Raises:
        ConfigError: if one is no number of seconds from 0.5 to 60.
    """
    found = " ".join(words).replace(",", " ").split()
    for text in found:
        if not re.fullmatch(r"\d{1,3}(\.\d{1,3})?", text) or not LEAST_S <= float(text) <= MOST_S:
            raise ConfigError(f"--durations: expected seconds from {LEAST_S} to {MOST_S:g}, found '{text}'")
    return tuple(sorted({float(text) for text in found}))


def cuts_path(exp_dir: Path, seconds: float) -> Path:
    """The file of the embeddings of cuts of so many seconds."""
    return exp_dir / "durations" / f"{seconds:g}s.npz"


def check_cuts(exp_dir: Path, data_dir: Path, durations: Sequence[float], digest: str) -> None:
    """Refuse cuts that are not there, or not of the model and the audio that are there now, before anything is scored.

    Args:
        exp_dir: the experiment's folder.
        data_dir: folder that holds ``store/``; audio that is gone is not asked for.
        durations: seconds.
        digest: of the weights in ``average.pt``.

    Raises:
        DataError: naming the file.
    """
    store = data_dir / "store" / "test"
    now = [digest, ArrayStore(store).digest] if durations and (store / "meta.json").exists() else [digest]
    for path in (cuts_path(exp_dir, seconds) for seconds in durations):
        found = read_source(path)
        if found is None or found.split()[: len(now)] != now:
            what = "nothing" if not path.exists() else "those of another model or of other audio"
            raise DataError(f"{path}: expected embeddings of cuts, found {what}; run stage 5 with the same --durations")


def duration_rates(
    trial_list: TrialList,
    whole: EmbeddedTrials,
    scorer: Scorer,
    exp_dir: Path,
    durations: Sequence[float],
    decisions: Decisions | None = None,
) -> list[DurationRates]:
    """Error rates of a list for every duration, and for whole utterances.

    Args:
        trial_list: a list with targets and non-targets.
        whole: the same with the embeddings of whole utterances.
        scorer: gives the scores.
        exp_dir: the experiment's folder.
        durations: seconds.
        decisions: where there are any, the rates at their default threshold, which is one for whole utterances, too.

    Returns:
        One entry for each duration, then that of whole utterances. A model of several recordings is the mean of its
        cut recordings.

    Raises:
        DataError: if an embedding is missing.
    """
    trials, cosine, found = trial_list.trials, parse_backend("cosine"), []
    speakers = trial_list.speakers(trials.enrol), trial_list.speakers(trials.test)
    lengths = np.array([trial_list.data.utt2dur[utt] for utt in sorted(trials.utts)])
    for seconds in (*durations, None):
        embedded = whole
        if seconds is not None:
            path = cuts_path(exp_dir, seconds)
            embedded = EmbeddedTrials(f"{whole.place} at {seconds:g} s", read_embeddings(path), trials, {})
        scores = scorer.scores(cosine, embedded)
        interval = eer_interval(scores, trials.labels, *speakers)
        threshold = decisions.point().threshold if decisions else None
        rates = (None, None) if threshold is None else rates_at(threshold, scores, trials.labels)
        short = int((lengths < (seconds or 0.0)).sum())
        counts = len(lengths), short
        found.append(DurationRates(trial_list.name, seconds, *counts, eer(scores, trials.labels), *interval, *rates))
        if embedded is not whole:
            scorer.forget(embedded)
    return found
