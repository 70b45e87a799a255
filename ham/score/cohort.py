"""The training speakers that back-ends learn from: the cohort that scores are normalised by, and calibration trials.

Stage 5 chooses and embeds their utterances and keeps, in ``exp/<name>/training/``, the cohort (the mean embedding of
each speaker) and the embeddings of the calibration trials. The embeddings of a million utterances are summed as they
come and never held together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

import numpy as np
from numpy.typing import NDArray

from ham.data.kaldi_dir import DataDir, invert
from ham.data.trial_generation import MAX_TRIALS, evenly_spaced, generate_trials
from ham.data.trials import Trials, read_trials, write_trials
from ham.embeddings.table import EmbeddingTable, read_embeddings
from ham.errors import ConfigError, DataError
from ham.score.backends import Backend, check_top_n
from ham.score.scorer import EmbeddedTrials, TrainingSpeakers

FOLDER = "training"
"""Where stage 5 leaves it all, below the experiment's folder."""

JOINED = "-joined-"
"""In the id of an utterance that CN-Celeb's recipe joined from short ones, between its genre and the rest."""

LEAST_HELD_OUT = 10
"""Speakers that must have been kept aside for calibration to be trained on them alone."""

UTTS_PER_SPEAKER = 10
"""Utterances of a speaker that calibration trials use: 45 pairs."""


def choose_cohort(
    utt2spk: Mapping[str, str], aside: Sequence[str], num_per_speaker: int, place: str
) -> dict[str, list[str]]:
    """Choose the utterances that speaker means are taken of.

    Args:
        utt2spk: the speaker of each training utterance.
        aside: speakers that the network was not trained on.
        num_per_speaker: at most so many of each, evenly spread over its ids; 0 for all.
        place: where they come from, for the error message.

    Returns:
        Utterances of each speaker that the network was trained on.

    Raises:
        DataError: if there are none.
    """
    kept_aside = {*aside}
    cohort = {
        spk: evenly_spaced(utts, num_per_speaker or len(utts))
        for spk, utts in invert(utt2spk).items()
        if spk not in kept_aside
    }
    if not cohort:
        raise DataError(f"{place}: expected training speakers for the cohort, found none beside those kept aside")
    return cohort


def calibration_speakers(utt2spk: Mapping[str, str], aside: Sequence[str]) -> tuple[set[str], str]:
    """Whose trials calibrations are trained on: speakers who were kept out of the training if these are enough.

    Args:
        utt2spk: the speaker of each training utterance.
        aside: training speakers that the network was not trained on (``data.valid_speakers``).

    Returns:
        The speakers, and a sentence that says which.
    """
    several = len({spk for spk, num in Counter(utt2spk.values()).items() if num > 1}.intersection(aside))
    if len(aside) >= LEAST_HELD_OUT and several:
        return {*aside}, f"{len(aside)} training speakers that the network was not trained on (data.valid_speakers)"
    speakers = {*utt2spk.values()}
    return speakers, (
        f"all {len(speakers)} training speakers; the network was trained on them and tells them apart better than "
        f"others, whose log-likelihood ratios come out too far from 0; set data.valid_speakers to {LEAST_HELD_OUT} or "
        "more to keep some out of the training"
    )


def make_calibration_trials(
    train: DataDir,
    speakers: set[str],
    seed: int,
    *,
    max_trials: int = MAX_TRIALS,
    utts_per_speaker: int = UTTS_PER_SPEAKER,
) -> Trials:
    """Trials of training speakers to calibrate on, the same for the same arguments.

    Of each speaker up to ``utts_per_speaker`` utterances are taken, spread evenly over its durations from the
    shortest to the longest, so that what duration does to a score can be seen. These are paired as
    :func:`ham.data.trial_generation.generate_trials` pairs: targets across sessions where a speaker has several, since
    two pieces of one recording are too easy a target. Only the utterances in the result need embeddings.

    Args:
        train: the training data directory.
        speakers: those to use.
        seed: of every choice.
        max_trials: target trials, and likewise non-target trials, at most; non-targets are as many as there can be.
        utts_per_speaker: at least 2.

    Returns:
        The trials, sorted.

    Raises:
        DataError: if there are no two speakers or no target trial.
    """
    utt2spk = {utt: spk for utt, spk in train.utt2spk.items() if spk in speakers}
    sessions = train.sessions or sessions_of(train.wav, utt2spk)
    found: dict[str, dict[str, list[str]]] = {}
    for speaker, utts in invert(utt2spk).items():
        by_session = found.setdefault(speaker, {})
        for utt in evenly_spaced(sorted(utts, key=lambda utt: (train.utt2dur[utt], utt)), utts_per_speaker):
            by_session.setdefault(sessions[utt], []).append(utt)
    return generate_trials(found, seed, max_trials=max_trials, num_nontarget=max_trials)["all"]


def check_training(
    backends: Sequence[Backend], train: DataDir, aside: Sequence[str], *, top_n: int | None = None
) -> None:
    """Refuse back-ends that these training speakers cannot serve, before anything is trained or embedded.

    Args:
        backends: those asked for.
        train: the training data directory.
        aside: training speakers that the network is not trained on.
        top_n: highest cohort scores that count; None where it does not matter yet.

    Raises:
        ConfigError: if calibration is asked for and nobody has two recordings, or the cohort is smaller than ``top_n``.
    """
    calibrated = [backend.name for backend in backends if backend.calibrated]
    if calibrated and len(train.utt2spk) == len({*train.utt2spk.values()}):
        raise ConfigError(
            f"--backends {' '.join(calibrated)}: expected a training speaker with two recordings to calibrate on, "
            f"found one recording of each in {train.path}; leave them out, cosine+as_norm needs no calibration"
        )
    if top_n is not None:
        num_speakers = len({*train.utt2spk.values()}.difference(aside))
        place = f"{train.path} without those kept aside (data.valid_speakers)" if aside else str(train.path)
        check_top_n(backends, top_n, num_speakers, place)


def sessions_of(wav: Mapping[str, PurePath], utt2spk: Mapping[str, str]) -> dict[str, str]:
    """The recording session of each utterance, as far as names say it.

    In paths ``<speaker>/<session>/<utterance>``, the layout of VoxCeleb and of the corpora here, it is the folder.
    Where all files of a speaker lie in one folder, as CN-Celeb's ``<genre>-<session>-<number>``, it is the id up to the
    last hyphen. Utterances of CN-Celeb that were joined from short ones may hold several sessions of a genre: where a
    speaker has such utterances, all of a genre count as one session.

    Args:
        wav: the file of each utterance.
        utt2spk: the speaker of each utterance that counts.

    Returns:
        A word for each, the same for two utterances of a session; it has a meaning within a speaker only.
    """
    folders: dict[str, set[str]] = {}
    for utt, spk in utt2spk.items():
        folders.setdefault(spk, set()).add(wav[utt].parent.name)
    with_joined = {spk for utt, spk in utt2spk.items() if JOINED in utt}
    found = {}
    for utt, spk in utt2spk.items():
        own = utt.removeprefix(f"{spk}-")
        if spk in with_joined:
            found[utt] = own.split(JOINED)[0] if JOINED in own else own.rsplit("-", 2)[0]
        else:
            found[utt] = own.rpartition("-")[0] if len(folders[spk]) == 1 else wav[utt].parent.name
    return found


class SpeakerSums:
    """Sums of embeddings by speaker, in float64, to which blocks of utterances are added as they come.

    Args:
        cohort: utterances of each speaker.
        dim: ``D``.
    """

    def __init__(self, cohort: Mapping[str, Sequence[str]], dim: int) -> None:
        self._number = {utt: number for number, utts in enumerate(cohort.values()) for utt in utts}
        self._speakers = tuple(cohort)
        self._sums = np.zeros((len(cohort), dim))
        self._counts = np.zeros(len(cohort), np.int64)

    def add(self, utts: Sequence[str], embeddings: NDArray[np.float32]) -> None:
        """Add embeddings to the sums; those of utterances outside the cohort do not count.

        Args:
            utts: their utterances.
            embeddings: shape ``(len(utts), D)``.
        """
        known = [row for row, utt in enumerate(utts) if utt in self._number]
        numbers = np.array([self._number[utts[row]] for row in known], np.int64)
        np.add.at(self._sums, numbers, embeddings[known].astype(np.float64))
        self._counts += np.bincount(numbers, minlength=len(self._counts))

    def means(self) -> EmbeddingTable:
        """Mean embedding of each speaker, float32.

        Returns:
            One row a speaker.

        Raises:
            DataError: if a speaker had no utterance.
        """
        self._check()
        return EmbeddingTable(self._speakers, (self._sums / self._counts[:, None]).astype(np.float32), "cohort")

    def mean(self) -> NDArray[np.float64]:
        """Mean of all utterances' embeddings.

        Returns:
            Shape ``(D,)``.

        Raises:
            DataError: if a speaker had no utterance.
        """
        self._check()
        mean: NDArray[np.float64] = self._sums.sum(axis=0) / self._counts.sum()
        return mean

    def _check(self) -> None:
        if not self._counts.all():
            speaker = self._speakers[int(np.flatnonzero(self._counts == 0)[0])]
            raise DataError(f"cohort: expected embeddings of every speaker, found none of {speaker}")


def write_calibration_trials(exp_dir: Path, trials: Trials) -> None:
    """Write ``training/trials``.

    Args:
        exp_dir: the experiment's folder.
        trials: what calibrations are trained on.
    """
    write_trials(exp_dir / FOLDER / "trials", trials)


def read_training(exp_dir: Path, train: DataDir, calibrated: bool = True) -> TrainingSpeakers:
    """Read what stage 5 left of the training speakers.

    Args:
        exp_dir: the experiment's folder.
        train: the training data directory.
        calibrated: whether a back-end needs the calibration trials.

    Returns:
        All that back-ends need.

    Raises:
        DataError: if a file is missing or damaged, or is of other training data.
    """
    path = exp_dir / FOLDER / "cohort.npz"
    cohort = read_embeddings(path)
    mean, cohort_utts, train_chunk_s = _read_extra(path, cohort.embeddings.shape[1])
    calibration = _read_calibration(path.parent, train, cohort.embeddings.shape[1]) if calibrated else None
    return TrainingSpeakers(mean, cohort, cohort_utts, train_chunk_s, calibration)


def _read_calibration(folder: Path, train: DataDir, dim: int) -> EmbeddedTrials:
    """The calibration trials with their embeddings."""
    embeddings = read_embeddings(folder / "calibration.npz")
    unknown = [utt for utt in embeddings.utts if utt not in train.utt2spk]
    if unknown:
        raise DataError(f"{folder}/calibration.npz: {unknown[0]} is not in {train.path}; {_again(folder)}")
    if embeddings.embeddings.shape[1] != dim:
        found = f"{dim} numbers in cohort.npz and {embeddings.embeddings.shape[1]} in calibration.npz"
        raise DataError(f"{folder}: expected embeddings of one dimension, found {found}; {_again(folder)}")
    utt2spk = {utt: train.utt2spk[utt] for utt in embeddings.utts}
    try:
        trials = read_trials(folder / "trials", utt2spk)
    except DataError:
        raise DataError(f"{folder}/trials: expected calibration trials, found others; {_again(folder)}") from None
    utt2dur = {utt: train.utt2dur[utt] for utt in embeddings.utts}
    return EmbeddedTrials("calibration trials", embeddings, trials, utt2dur, utt2spk)


def _again(folder: Path) -> str:
    """The cure for files that stage 5 would take for up to date."""
    return f"delete {folder} and run stage 5 with the same --backends"


def _read_extra(path: Path, dim: int) -> tuple[NDArray[np.float64], int, float]:
    """The mean embedding, and what it was taken of: utterances of each speaker, seconds of each utterance."""
    with np.load(path, allow_pickle=False) as arrays:
        mean = arrays["mean"] if "mean" in arrays else np.empty(0)
        if mean.shape != (dim,) or mean.dtype.kind != "f" or not np.isfinite(mean).all():
            raise DataError(f"{path}: expected the mean embedding, found none; {_again(path.parent)}")
        cohort_utts, train_chunk_s = (arrays.get(name, 0) for name in ("cohort_utts", "train_chunk_s"))
        return mean.astype(np.float64), int(cohort_utts), float(train_chunk_s)
