"""The speech that thresholds are chosen on: of speakers that the network was not trained on, where there are some.

Stage 5 embeds them into ``thresholds.npz``, which holds all that stage 6 needs of them: the training data need not be
there any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ham.data.kaldi_dir import DataDir
from ham.data.trial_generation import evenly_spaced
from ham.data.trials import Trials
from ham.embeddings.table import read_embeddings, read_source, write_embeddings
from ham.errors import DataError
from ham.score.backends import Backend, parse_backend
from ham.score.cohort import LEAST_HELD_OUT, make_calibration_trials
from ham.score.decisions import Decisions
from ham.score.scorer import EmbeddedTrials, Scorer
from ham.score.thresholds import make_decisions

FILE = "thresholds.npz"
"""In the experiment's folder."""

MOST_SPEAKERS = 250
"""Speakers at most: enough for a false-alarm rate of 0.01 % (:func:`ham.score.thresholds.too_few`)."""

MOST_NONTARGET = 500_000
"""Non-target trials at most; about as many are drawn where there are more pairs."""


@dataclass(frozen=True)
class HeldAside:
    """Trials to choose thresholds on.

    Attributes:
        embedded: the trials with their embeddings: targets across sessions where a speaker has several, and every pair
            of utterances of two speakers.
        whose: sentence that says whose they are.
    """

    embedded: EmbeddedTrials
    whose: str

    def decisions(self, backends: Sequence[Backend], scorer: Scorer, p_target: float) -> dict[str, Decisions]:
        """Thresholds of the cosine, and of every back-end that is no calibration and takes no crops.

        Args:
            backends: those that lists are scored by.
            scorer: gives the scores.
            p_target: prior that log-likelihood ratios are trained for.

        Returns:
            By back-end.
        """
        trials = self.embedded.trials
        enrol, test = ([self.embedded.utt2spk[utt] for utt in side] for side in (trials.enrol, trials.test))
        plain = [backend for backend in backends if not backend.calibrated and not backend.crops]
        found = {}
        for backend in dict.fromkeys([parse_backend("cosine"), *plain]):
            scores = scorer.scores(backend, self.embedded)
            found[backend.name] = make_decisions(
                backend.name, scores, trials.labels, enrol, test, self.whose, p_target=p_target
            )
        scorer.forget(self.embedded)
        return found


def choose_speakers(
    utt2spk: Mapping[str, str], trained_on: Collection[str], aside: Collection[str]
) -> tuple[list[str], str]:
    """Whose utterances thresholds are chosen on: those that the network was not trained on if they are enough.

    Args:
        utt2spk: the speaker of each training utterance.
        trained_on: speakers that the network was trained on, as far as the model says.
        aside: speakers that were kept out of its training (``data.valid_speakers``).

    Returns:
        Speakers of two or more utterances, at most :data:`MOST_SPEAKERS`, and a sentence that says which. Fewer than
        two make no trials.
    """
    several = sorted(speaker for speaker, num in Counter(utt2spk.values()).items() if num > 1)
    unknown = [speaker for speaker in several if speaker not in {*trained_on}]
    if len(unknown) < LEAST_HELD_OUT:
        chosen = evenly_spaced(several, MOST_SPEAKERS)
        return chosen, (
            f"{len(chosen)} training speakers, whom the network tells apart better than others, so that there will be "
            f"more errors of either kind; data.valid_speakers={LEAST_HELD_OUT} or more keeps some aside"
        )
    chosen = evenly_spaced(unknown, MOST_SPEAKERS)
    if {*unknown} <= {*aside}:
        return chosen, f"{len(chosen)} speakers kept aside from the training"
    return chosen, f"{len(chosen)} speakers of the training data that the model does not name among those it has learnt"


def choose_targets(train: DataDir, speakers: Sequence[str], seed: int) -> tuple[list[tuple[str, str]], frozenset[str]]:
    """Choose utterances, and the target trials between them, as :func:`ham.score.cohort.make_calibration_trials` does.

    Args:
        train: the training data directory.
        speakers: two or more, of two or more utterances each.
        seed: of every choice.

    Returns:
        The two utterances of each target trial, and all utterances to embed.
    """
    trials = make_calibration_trials(train, {*speakers}, seed)
    pairs = zip(trials.enrol, trials.test, trials.labels.tolist(), strict=True)
    return [(enrol, test) for enrol, test, label in pairs if label], trials.utts


def write_held_aside(
    exp_dir: Path,
    embeddings: Mapping[str, NDArray[np.float32]],
    speakers: Mapping[str, str],
    targets: Sequence[tuple[str, str]],
    whose: str,
    source: str,
) -> None:
    """Write ``thresholds.npz``.

    Args:
        exp_dir: the experiment's folder.
        embeddings: of each utterance, shape ``(D,)``.
        speakers: of each utterance.
        targets: the two utterances of each target trial.
        whose: sentence that says whose they are.
        source: digests of the model and of the audio.
    """
    utts = list(embeddings)
    row = {utt: at for at, utt in enumerate(utts)}
    extra = {
        "speakers": np.array([speakers[utt] for utt in utts]),
        "targets": np.array([[row[enrol], row[test]] for enrol, test in targets], np.int64),
        "whose": np.array(whose),
    }
    write_embeddings(exp_dir / FILE, utts, np.stack(list(embeddings.values())), source, extra)


def read_held_aside(exp_dir: Path, digest: str) -> HeldAside | None:
    """Read what stage 5 embedded to choose thresholds on.

    Args:
        exp_dir: the experiment's folder.
        digest: of the weights in ``average.pt``.

    Returns:
        The trials; None where stage 5 found no training speech, or the file is of other weights.

    Raises:
        DataError: if the file is damaged.
    """
    path = exp_dir / FILE
    if not path.exists():
        return None
    table = read_embeddings(path)
    if (read_source(path) or "").split()[:1] != [digest]:
        return None
    with np.load(path, allow_pickle=False) as arrays:
        if not {"speakers", "targets", "whose"} <= {*arrays.files}:
            raise DataError(f"{path}: expected speakers and trials, found none; delete it and run stage 5")
        speakers, targets, whose = arrays["speakers"], arrays["targets"], str(arrays["whose"])
    nontargets = pairs_across(speakers)
    rows = np.concatenate([targets, nontargets])
    labels = np.repeat(np.array([1, 0], np.int8), [len(targets), len(nontargets)])
    enrol, test = np.array(table.utts)[rows].T.tolist()
    spoken = dict(zip(table.utts, speakers.tolist(), strict=True))
    embedded = EmbeddedTrials(str(path), table, Trials(tuple(enrol), tuple(test), labels), {}, spoken)
    return HeldAside(embedded, whose)


def pairs_across(speakers: NDArray[np.str_], most: int = MOST_NONTARGET) -> NDArray[np.int64]:
    """Pairs of utterances of two different speakers.

    Args:
        speakers: of each utterance, shape ``(N,)``.
        most: pairs wanted at most.

    Returns:
        Rows of both sides, the lower first, shape ``(P, 2)``, no pair twice: all there are, or where ``N (N - 1) / 2``
        is above ``most``, about ``most`` of them, drawn uniformly with the same generator each time.
    """
    num = len(speakers)
    if num * (num - 1) // 2 <= most:
        pairs = np.stack(np.triu_indices(num, 1), axis=1)
    else:
        drawn = np.sort(np.random.default_rng(0).integers(num, size=(most, 2)), axis=1)
        pairs = np.unique(drawn, axis=0)
    across: NDArray[np.int64] = pairs[speakers[pairs[:, 0]] != speakers[pairs[:, 1]]].astype(np.int64)
    return across
