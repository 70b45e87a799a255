"""Trial lists joined to the embeddings of stage 5, which are refused if another model or other audio made them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ham.data.store import ArrayStore
from ham.embeddings.table import read_embeddings, read_source
from ham.errors import DataError
from ham.score.backends import Backend
from ham.score.cohort import FOLDER
from ham.score.scorer import EmbeddedTrials
from ham.score.trial_lists import TrialList


def check_sources(exp_dir: Path, data_dir: Path, backends: Sequence[Backend], digest: str) -> None:
    """Refuse embeddings that were not made by the model and from the audio that are there now.

    A file that does not say what it was made from is believed, and so is one whose audio store is gone.

    Args:
        exp_dir: the experiment's folder.
        data_dir: folder that holds ``store/``.
        backends: what will be scored.
        digest: of the weights in ``average.pt``.

    Raises:
        DataError: naming the file.
    """
    cohort, calibration = f"{FOLDER}/cohort.npz", f"{FOLDER}/calibration.npz"
    names = ["embeddings.npz"]
    names += ["crops.npz"] if any(backend.crops for backend in backends) and (exp_dir / "crops.npz").exists() else []
    names += [cohort] if any(backend.needs_training for backend in backends) else []
    names += [calibration] if any(backend.calibrated for backend in backends) else []
    sources = {name: source for name in names if (source := read_source(exp_dir / name))}
    for name, source in sources.items():
        if source.split()[0] != digest:
            raise DataError(f"{exp_dir / name}: made by another model than average.pt is now; extract again (stage 5)")
        store = data_dir / "store" / ("train" if name.startswith(FOLDER) else "test")
        if (store / "meta.json").exists() and source.split()[1] != ArrayStore(store).digest:
            raise DataError(f"{exp_dir / name}: made from other audio than {store} holds; extract again (stage 5)")
    if cohort in sources and calibration in sources and sources[cohort] != sources[calibration]:
        raise DataError(f"{exp_dir / FOLDER}: cohort.npz and calibration.npz were made apart; extract again (stage 5)")


def read_embedded(lists: Sequence[TrialList], exp_dir: Path, *, average: bool, crops: bool) -> list[EmbeddedTrials]:
    """Read the embeddings that trial lists need; none is missing in what is returned.

    Args:
        lists: the trial lists.
        exp_dir: the experiment's folder.
        average: whether an enrolment model is the mean of its recordings; else stage 5 embedded them joined.
        crops: whether the embeddings of crops are wanted too.

    Returns:
        One for each list.

    Raises:
        DataError: if a file is missing or damaged, or an utterance has no embedding.
    """
    embeddings = read_embeddings(exp_dir / "embeddings.npz")
    crop_table = read_embeddings(exp_dir / "crops.npz") if crops else None
    utt2dur = _durations(lists)
    found = []
    for trial_list in lists:
        trials, place = trial_list.trials, str(trial_list.data.path / "trials")
        if trials.models and not average:
            place += " (with --enrol concatenate, which stage 5 must have had too)"
        embeddings.rows(sorted(trials.utts) if average else [*trials.enrol, *trials.test], place)
        found.append(EmbeddedTrials(place, embeddings, trials, utt2dur, models_are_means=average, crops=crop_table))
    return found


def _durations(lists: Sequence[TrialList]) -> dict[str, float]:
    """Seconds of every utterance, and of every enrolment model those of its recordings together."""
    utt2dur = {utt: seconds for trial_list in lists for utt, seconds in trial_list.data.utt2dur.items()}
    models = {model: utts for trial_list in lists for model, utts in trial_list.trials.models.items()}
    return {**utt2dur, **{model: sum(utt2dur[utt] for utt in utts) for model, utts in models.items()}}
