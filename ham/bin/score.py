"""Stage 6: score every trial list by every back-end, compute the error rates, write results.json."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import ham
import ham.losses
from ham.bin._system_options import top_n
from ham.cli import Parser, run
from ham.data.kaldi_dir import DataDir, Trials, read_data_dir, trial_dirs
from ham.data.store import ArrayStore
from ham.data.trial_remarks import NO_RATES
from ham.embeddings.recordings import ENROL
from ham.embeddings.table import read_embeddings, read_source
from ham.errors import ConfigError, DataError
from ham.losses.base import SpeakerLoss
from ham.model.encoder import SpeakerEncoder
from ham.provenance import git_commit, versions
from ham.score.backends import (
    DEFAULT,
    FORM,
    Backend,
    Measure,
    Scorer,
    Side,
    Training,
    fitting_backends,
    parse_backends,
    possible_backends,
)
from ham.score.calibration import write_calibration
from ham.score.cohort import FOLDER as TRAINING_FOLDER
from ham.score.cohort import read_training
from ham.score.curves import Curves, summarise_scores, write_curves
from ham.score.intervals import few_speakers
from ham.score.normalisation import TOP_N
from ham.score.results import ListResult, Results, evaluate, table, text_table, write_results
from ham.score.score_file import Scores, write_scores
from ham.words import count

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialList:
    """A trial list: its name, its data directory and the trials in it."""

    name: str
    data: DataDir
    trials: Trials

    @property
    def notes(self) -> tuple[str, ...]:
        """What its numbers cannot tell."""
        if self.trials.one_kind and not self.trials.notes:  # a data directory from elsewhere
            return (NO_RATES,)
        return self.trials.notes

    @property
    def num_speakers(self) -> int:
        """Speakers of both sides."""
        return len({*self.speakers(self.trials.enrol), *self.speakers(self.trials.test)})

    def speakers(self, utts: Sequence[str]) -> list[str]:
        """The speaker of each utterance or enrolment model.

        Args:
            utts: utterances of the data directory, or models of its trials.

        Returns:
            One speaker each.
        """
        models = self.trials.models
        return [self.data.utt2spk[models[utt][0] if utt in models else utt] for utt in utts]


def main(argv: Sequence[str]) -> None:
    """Score an experiment.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    wanted = parse_backends(options.backends)
    lists = [read_list(options.data_dir, name) for name in find_lists(options.data_dir, options.test_sets)]
    notes = {trial_list.name: trial_list.notes for trial_list in lists if trial_list.notes}
    for name, found in notes.items():
        logger.warning("%s: %s", name, "; ".join(found))
    encoder = SpeakerEncoder.load(options.exp_dir, "cpu")
    check_sources(encoder, options.data_dir, wanted)
    loss = encoder.loss
    backends = _possible(wanted, loss)
    plans = [_fitting(backends, trial_list) for trial_list in lists]
    sides = _sides(lists, options, any(backend.crops for plan in plans for backend in plan))
    scorer = Scorer(
        Measure(loss.distance, loss.pairwise_distance) if loss.has_distance else None,
        _training(options, backends),
        top_n=options.top_n,
        p_target=options.p_target,
    )
    for backend in backends:  # before anything is written
        scorer.check(backend)
    numbers: list[ListResult] = []
    curves: list[Curves] = []
    with tqdm(total=sum(map(len, plans)), desc="score", unit="list", delay=2) as bar:
        for trial_list, side, plan in zip(lists, sides, plans, strict=True):
            for backend in plan:
                scores = scorer.scores(backend, side)
                path = options.exp_dir / "scores" / f"{trial_list.name}.{backend.name}"
                write_scores(path, Scores(trial_list.trials.enrol, trial_list.trials.test, scores))
                number, drawn = _measure(trial_list, backend, scores)
                numbers.append(number)
                curves += drawn
                bar.update()
            scorer.forget(side)
            files = f"{options.exp_dir}/scores/{trial_list.name}.*"
            what = f"{count(len(trial_list.trials), 'trial')} scored by {count(len(plan), 'back-end')}"
            logger.info("%s: %s", files, what)
    for name, calibration in scorer.calibrations.items():
        write_calibration(options.exp_dir / "calibration" / f"{name}.json", calibration)
    results = Results(
        name=options.exp_dir.resolve().name,
        seed=encoder.seed,
        commit=git_commit(Path(ham.__file__).parent),
        versions=versions(),
        command=encoder.command or options.command or shlex.join(["python", "-m", "ham.bin.score", *argv]),
        results=tuple(numbers),
        settings=_settings(options, lists, backends, scorer),
        notes={**notes, **_with_few_speakers(lists, notes)},
    )
    write_curves(options.exp_dir / "curves.json", curves)
    write_results(options.exp_dir / "results.json", results)
    print(text_table(*table(results.results)))


def _with_few_speakers(lists: Sequence[TrialList], notes: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The notes of lists whose intervals are rough, with a sentence that says so."""
    said = {one.name: few_speakers(one.num_speakers) for one in lists if not one.trials.one_kind}
    return {name: (*notes.get(name, ()), text) for name, text in said.items() if text}


def _parser() -> Parser:
    parser = Parser(prog="python -m ham.bin.score", description=__doc__)
    parser.add_argument(
        "--data_dir", type=Path, required=True, help="egs/<corpus>/data: its test/<root>/<list> are scored"
    )
    parser.add_argument("--exp_dir", type=Path, required=True, help="experiment with embeddings.npz and average.pt")
    parser.add_argument("--test_sets", nargs="+", default=["all"], help="lists (<root>/<list>), roots, or all")
    parser.add_argument(
        "--enrol",
        choices=ENROL,
        default=ENROL[0],
        help="models of several recordings: mean embedding, or (stage 5 with the same option) that of all joined",
    )
    parser.add_argument(
        "--backends", nargs="+", default=[*DEFAULT], help=f"{FORM.replace('NORM', 's_norm|+as_norm')}, or all"
    )
    parser.add_argument(
        "--top_n",
        type=top_n,
        default=TOP_N,
        help="highest cohort scores that as_norm keeps; 0: of a third of the speakers",
    )
    parser.add_argument("--p_target", type=_prior, default=0.01, help="prior that calibrations are trained for")
    parser.add_argument(
        "--command", default="", help="command that results.json names if the model does not say how it was trained"
    )
    return parser


def _prior(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a probability between 0 and 1, found {text}")
    return value


def find_lists(data_dir: Path, wanted: Sequence[str]) -> list[str]:
    """Names of the trial lists to score.

    Args:
        data_dir: folder that holds ``test/<root>/<list>/``.
        wanted: names ``<root>/<list>``, roots, or ``all``; several may share one word, separated by spaces or commas.

    Returns:
        Names ``<root>/<list>`` in sorted order.

    Raises:
        DataError: if there are no trial lists.
        ConfigError: if a name is not among them.
    """
    base = data_dir / "test"
    found = sorted(folder.relative_to(base).as_posix() for folder in trial_dirs(base))
    words = " ".join(wanted).replace(",", " ").split()
    chosen = {word: [name for name in found if word in ("all", name, name.split("/")[0])] for word in words}
    for word, names in chosen.items():
        if not names:
            raise ConfigError(f"--test_sets: unknown trial list {word!r}: expected all or some of {' '.join(found)}")
    return [name for name in found if any(name in names for names in chosen.values())]


def read_list(data_dir: Path, name: str) -> TrialList:
    """Read a trial list.

    Args:
        data_dir: folder that holds ``test/<root>/<list>/``.
        name: ``<root>/<list>``.

    Returns:
        The list with its data directory.

    Raises:
        DataError: if the directory is damaged or has no trials.
    """
    data = read_data_dir(data_dir / "test" / name)
    if data.trials is None:
        raise DataError(f"{data.path}: expected the file trials, found none; prepare the data (stage 2)")
    return TrialList(name, data, data.trials)


def rated_lists(data_dir: Path, wanted: Sequence[str]) -> list[TrialList]:
    """Read the trial lists that have an error rate; those of one kind of trials are said and left out.

    Args:
        data_dir: folder that holds ``test/<root>/<list>/``.
        wanted: as in :func:`find_lists`.

    Returns:
        The lists, sorted by their names.

    Raises:
        DataError: if none is left.
        ConfigError: if a name is not among the lists.
    """
    lists = [read_list(data_dir, name) for name in find_lists(data_dir, wanted)]
    kept = [trial_list for trial_list in lists if not trial_list.trials.one_kind]
    left_out = ", ".join(trial_list.name for trial_list in lists if trial_list not in kept)
    if not kept:
        raise DataError(f"{data_dir}/test: expected targets and non-targets, found one kind in {left_out}; add trials")
    if left_out:
        logger.info("left out, with trials of one kind and so no error rate: %s", left_out)
    return kept


def check_sources(encoder: SpeakerEncoder, data_dir: Path, backends: Sequence[Backend]) -> None:
    """Refuse embeddings that were not made by the model and from the audio that are there now.

    A file that does not say what it was made from is believed, and so is one whose audio store is gone.

    Args:
        encoder: the model.
        data_dir: folder that holds ``store/``.
        backends: what will be scored.

    Raises:
        DataError: naming the file.
    """
    exp_dir, names = encoder.folder, ["embeddings.npz"]
    names += ["crops.npz"] if any(backend.crops for backend in backends) and (exp_dir / "crops.npz").exists() else []
    names += [f"{TRAINING_FOLDER}/cohort.npz"] if any(backend.needs_training for backend in backends) else []
    names += [f"{TRAINING_FOLDER}/calibration.npz"] if any(backend.calibrated for backend in backends) else []
    said = {name: read_source(exp_dir / name) for name in names}
    for name, source in said.items():
        if source and source.split()[0] != encoder.digest:
            raise DataError(f"{exp_dir / name}: made by another model than average.pt is now; extract again (stage 5)")
        store = data_dir / "store" / ("train" if name.startswith(TRAINING_FOLDER) else "test")
        if source and (store / "meta.json").exists() and source.split()[1] != ArrayStore(store).digest:
            raise DataError(f"{exp_dir / name}: made from other audio than {store} holds; extract again (stage 5)")
    cohort, calibration = (said.get(f"{TRAINING_FOLDER}/{name}.npz") for name in ("cohort", "calibration"))
    if cohort and calibration and cohort != calibration:
        place = exp_dir / TRAINING_FOLDER
        raise DataError(f"{place}: cohort.npz and calibration.npz were made apart; extract again (stage 5)")


def _settings(
    options: Any, lists: Sequence[TrialList], backends: Sequence[Backend], scorer: Scorer
) -> dict[str, int | float | str]:
    """What the scores depend on beside the model, where they do."""
    found: dict[str, int | float | str] = {}
    if any(trial_list.trials.models for trial_list in lists):
        found["enrol"] = options.enrol
    if any(backend.uses_top_n for backend in backends):
        found["top_n"] = scorer.top_n
    found |= scorer.training_settings
    if any(backend.uses_p_target for backend in backends):
        found["p_target"] = options.p_target
    return found


def _possible(backends: Sequence[Backend], loss: SpeakerLoss) -> list[Backend]:
    """The back-ends that a loss allows; says which are left out."""
    kept = possible_backends(backends, loss)
    if len(kept) < len(backends):
        left_out = " ".join(backend.name for backend in backends if backend not in kept)
        logger.info("left out, since %s has no distance: %s", loss.name, left_out)
    return kept


def _fitting(backends: Sequence[Backend], trial_list: TrialList) -> list[Backend]:
    """The back-ends that a list allows; says which are left out."""
    kept = fitting_backends(backends, trial_list.name, bool(trial_list.trials.models))
    if len(kept) < len(backends):
        logger.info("left out for %s, since it has enrolment models: cosine+crops", trial_list.name)
    return kept


def _training(options: Any, backends: Sequence[Backend]) -> Training | None:
    """What the back-ends need to know of the training speakers."""
    if not any(backend.needs_training for backend in backends):
        return None
    calibrated = any(backend.calibrated for backend in backends)
    return read_training(options.exp_dir, read_data_dir(options.data_dir / "train"), calibrated)


def _sides(lists: Sequence[TrialList], options: Any, crops: bool) -> list[Side]:
    """What scoring needs of every list; embeddings of all of them are looked up before anything is written."""
    embeddings = read_embeddings(options.exp_dir / "embeddings.npz")
    crop_table = read_embeddings(options.exp_dir / "crops.npz") if crops else None
    average = options.enrol == "average"
    utt2dur = _durations(lists)
    sides = []
    for trial_list in lists:
        trials, place = trial_list.trials, str(trial_list.data.path / "trials")
        if trials.models and not average:
            place += " (with --enrol concatenate, which stage 5 must have had too)"
        embeddings.rows([utt for utt in trials.enrol if not average or utt not in trials.models], place)
        embeddings.rows([*trials.test, *(utt for utts in trials.models.values() if average for utt in utts)], place)
        sides.append(Side(place, embeddings, trials, utt2dur, models_are_means=average, crops=crop_table))
    return sides


def _durations(lists: Sequence[TrialList]) -> dict[str, float]:
    """Seconds of every utterance, and of every enrolment model those of its recordings together."""
    utt2dur = {utt: seconds for trial_list in lists for utt, seconds in trial_list.data.utt2dur.items()}
    models = {model: utts for trial_list in lists for model, utts in trial_list.trials.models.items()}
    return {**utt2dur, **{model: sum(utt2dur[utt] for utt in utts) for model, utts in models.items()}}


def _measure(trial_list: TrialList, backend: Backend, scores: NDArray[np.float32]) -> tuple[ListResult, list[Curves]]:
    trials = trial_list.trials
    speakers = trial_list.speakers(trials.enrol), trial_list.speakers(trials.test)
    number = evaluate(
        trial_list.name,
        backend.name,
        scores,
        trials.labels,
        *speakers,
        calibrated=backend.calibrated,
    )
    if trials.one_kind:
        return number, []
    return number, [summarise_scores(trial_list.name, backend.name, scores, trials.labels)]


if __name__ == "__main__":
    sys.exit(run(main))
