"""Stage 6: score every trial list by every back-end, compute the error rates, write results.json."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import ham
import ham.losses
from ham.bin._system_options import top_n
from ham.cli import Parser, boolean, run
from ham.data.kaldi_dir import read_data_dir
from ham.embeddings.recordings import ENROL
from ham.files import lock_folder
from ham.losses.base import SpeakerLoss
from ham.model.encoder import SpeakerEncoder
from ham.provenance import git_commit, versions
from ham.report.text_tables import table, text_table
from ham.score.backends import DEFAULT, FORM, Backend, fitting_backends, parse_backends, possible_backends
from ham.score.calibration import write_calibration
from ham.score.cohort import read_training
from ham.score.curves import Curves, summarise_scores, write_curves
from ham.score.decisions import Decisions
from ham.score.durations import check_cuts, duration_rates, parse_durations
from ham.score.embedded_trials import check_sources, read_embedded
from ham.score.held_aside import read_held_aside
from ham.score.intervals import few_speakers
from ham.score.normalisation import NORMS, TOP_N
from ham.score.results import DurationRates, ListRates, ListResult, Results, evaluate, write_results
from ham.score.retrieval import ListRetrieval, retrieval
from ham.score.score_file import Scores, write_scores
from ham.score.scorer import EmbeddedTrials, Scorer, TrainingSpeakers
from ham.score.thresholds import rates_at
from ham.score.trial_lists import TrialList, find_lists, read_list
from ham.words import count

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    """Score an experiment.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    with lock_folder(options.exp_dir, "stage 6"):
        _score_experiment(options)


def _score_experiment(options: argparse.Namespace) -> None:
    """Score, and write scores, calibrations, curves and the numbers, which say that all of them are there."""
    wanted, durations = parse_backends(options.backends), parse_durations(options.durations)
    lists = [read_list(options.data_dir, name) for name in find_lists(options.data_dir, options.test_sets)]
    notes = {trial_list.name: trial_list.notes for trial_list in lists if trial_list.notes}
    for name, found in notes.items():
        logger.warning("%s: %s", name, "; ".join(found))
    encoder = SpeakerEncoder.load(options.exp_dir, "cpu")
    check_sources(options.exp_dir, options.data_dir, wanted, encoder.fingerprint)
    check_cuts(options.exp_dir, options.data_dir, durations, encoder.fingerprint)
    backends = _possible(wanted, encoder.loss)
    plans = [_fitting(backends, trial_list) for trial_list in lists]
    crops = any(backend.crops for plan in plans for backend in plan)
    embedded = read_embedded(lists, options.exp_dir, average=options.enrol == "average", crops=crops)
    scorer = Scorer(encoder.loss, _training(options, backends), top_n=options.top_n, p_target=options.p_target)
    for backend in backends:  # before anything is written
        scorer.check(backend)
    decisions = _decisions(options, encoder.fingerprint, backends, scorer)
    (options.exp_dir / "results.json").unlink(missing_ok=True)
    scored = _score(lists, embedded, plans, scorer, decisions, options)
    for name, calibration in scorer.calibrations.items():
        write_calibration(options.exp_dir / "calibration" / f"{name}.json", calibration)
    has_models = any(trial_list.trials.models for trial_list in lists)
    results = Results(
        name=options.exp_dir.resolve().name,
        seed=encoder.seed,
        commit=git_commit(Path(ham.__file__).parent),
        versions=versions(),
        command=encoder.command,
        results=tuple(scored.numbers),
        settings=({"enrol": options.enrol} if has_models else {}) | scorer.settings(backends),
        notes={**notes, **_with_few_speakers(lists, notes)},
        decisions=decisions,
        at_thresholds=tuple(scored.at_thresholds),
        retrieval=tuple(_retrieval(lists, embedded, plans)),
        durations=tuple(_durations(lists, embedded, scorer, decisions, durations, options.exp_dir)),
        fingerprint=encoder.fingerprint,
    )
    write_curves(options.exp_dir / "curves.json", scored.curves)
    write_results(options.exp_dir / "results.json", results)
    print(text_table(*table(results.results)))


class _Found(NamedTuple):
    """What scoring gives beside the scores."""

    numbers: list[ListResult]
    curves: list[Curves]
    at_thresholds: list[ListRates]


def _score(
    lists: Sequence[TrialList],
    embedded: Sequence[EmbeddedTrials],
    plans: Sequence[Sequence[Backend]],
    scorer: Scorer,
    decisions: Mapping[str, Decisions],
    options: argparse.Namespace,
) -> _Found:
    """Write the scores of every list by every back-end of its plan; gives error rates and curves."""
    found = _Found([], [], [])
    with tqdm(total=sum(map(len, plans)), desc="score", unit="list", delay=2) as bar:
        for trial_list, its_embedded, plan in zip(lists, embedded, plans, strict=True):
            trials = trial_list.trials
            for backend in plan:
                scores = scorer.scores(backend, its_embedded)
                path = options.exp_dir / "scores" / f"{trial_list.name}.{backend.name}"
                labels = trials.labels if options.score_labels else None
                write_scores(path, Scores(trials.enrol, trials.test, scores), labels)
                found.numbers.append(_rates(trial_list, backend, scores))
                if not trials.one_kind:
                    found.curves.append(summarise_scores(trial_list.name, backend.name, scores, trials.labels))
                    found.at_thresholds.extend(_at_thresholds(trial_list, backend, scores, decisions))
                bar.update()
            scorer.forget(its_embedded)
            what = f"{count(len(trials), 'trial')} scored by {count(len(plan), 'back-end')}"
            logger.info("%s/scores/%s.*: %s", options.exp_dir, trial_list.name, what)
    return found


def _decisions(
    options: argparse.Namespace, digest: str, backends: Sequence[Backend], scorer: Scorer
) -> dict[str, Decisions]:
    """Thresholds by back-end, where stage 5 has embedded what they are chosen on; says where not."""
    held_aside = read_held_aside(options.exp_dir, digest)
    if held_aside is None:
        logger.info("no thresholds: stage 5 has embedded no training speech by these weights to choose them on")
        return {}
    return held_aside.decisions(backends, scorer, options.p_target)


def _at_thresholds(
    trial_list: TrialList, backend: Backend, scores: NDArray[np.float32], decisions: Mapping[str, Decisions]
) -> list[ListRates]:
    """What the thresholds of a back-end, if it has some, give on a list."""
    points = decisions[backend.name].points if backend.name in decisions else ()
    labels = trial_list.trials.labels
    return [
        ListRates(trial_list.name, backend.name, point.name, *rates_at(point.threshold, scores, labels))
        for point in points
        if point.threshold is not None
    ]


def _durations(
    lists: Sequence[TrialList],
    embedded: Sequence[EmbeddedTrials],
    scorer: Scorer,
    decisions: Mapping[str, Decisions],
    durations: Sequence[float],
    exp_dir: Path,
) -> Iterator[DurationRates]:
    """Error rates of every list by duration, where some are asked for."""
    for trial_list, whole in zip(lists, embedded, strict=True):
        if durations and not trial_list.trials.one_kind:
            yield from duration_rates(trial_list, whole, scorer, exp_dir, durations, decisions.get("cosine"))


def _retrieval(
    lists: Sequence[TrialList], embedded: Sequence[EmbeddedTrials], plans: Sequence[Sequence[Backend]]
) -> Iterator[ListRetrieval]:
    """Rates of searches among the models of every list that has some and is scored by the cosine."""
    for trial_list, its_embedded, plan in zip(lists, embedded, plans, strict=True):
        if any(backend.name == "cosine" for backend in plan) and (found := retrieval(trial_list, its_embedded)):
            yield found


def _rates(trial_list: TrialList, backend: Backend, scores: NDArray[np.float32]) -> ListResult:
    trials = trial_list.trials
    speakers = trial_list.speakers(trials.enrol), trial_list.speakers(trials.test)
    return evaluate(trial_list.name, backend.name, scores, trials.labels, *speakers, calibrated=backend.calibrated)


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
        "--backends", nargs="+", default=[*DEFAULT], help=f"{FORM.replace('NORM', '|+'.join(NORMS))}, or all"
    )
    parser.add_argument(
        "--top_n",
        type=top_n,
        default=TOP_N,
        help="highest cohort scores that as_norm keeps; 0: of a third of the speakers",
    )
    parser.add_argument(
        "--durations", nargs="*", default=[], metavar="SECONDS", help="error rates of cuts that stage 5 embedded so"
    )
    parser.add_argument(
        "--score_labels", type=boolean, default=False, help="true: target or nontarget as a fourth column of scores"
    )
    parser.add_argument("--p_target", type=_prior, default=0.01, help="prior that calibrations are trained for")
    return parser


def _prior(text: str) -> float:
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a probability between 0 and 1, found {text}")
    return value


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


def _training(options: argparse.Namespace, backends: Sequence[Backend]) -> TrainingSpeakers | None:
    """What the back-ends need to know of the training speakers."""
    if not any(backend.needs_training for backend in backends):
        return None
    calibrated = any(backend.calibrated for backend in backends)
    return read_training(options.exp_dir, read_data_dir(options.data_dir / "train"), calibrated)


if __name__ == "__main__":
    sys.exit(run(main))
