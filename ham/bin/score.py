"""Stage 6: score every trial list by every back-end, compute the error rates, write results.json."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import ham
import ham.losses
from ham.bin._cli import Parser, at_least, run
from ham.data.kaldi_dir import DataDir, Trials, read_data_dir, trial_dirs
from ham.errors import CheckpointError, ConfigError, DataError
from ham.losses.base import SpeakerLoss
from ham.score.backend import EmbeddingTable, cosine_scores, distance_scores, read_embeddings, with_models
from ham.score.curves import Curves, summarise_scores, write_curves
from ham.score.embeddings import ENROL
from ham.score.intervals import NUM_RESAMPLES
from ham.score.results import (
    ListResult,
    Results,
    evaluate,
    git_commit,
    table,
    text_table,
    write_results,
)
from ham.score.scores import Scores, write_scores
from ham.train import checkpoint

logger = logging.getLogger(__name__)

Rows = NDArray[np.int64]
Backends = Mapping[str, Callable[[EmbeddingTable, Rows, Rows], NDArray[np.float32]]]


@dataclass(frozen=True)
class TrialList:
    """A trial list: its name, its data directory and the trials in it."""

    name: str
    data: DataDir
    trials: Trials

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
    lists = [read_list(options.data_dir, name) for name in find_lists(options.data_dir, options.test_sets)]
    embeddings = read_embeddings(options.exp_dir / "embeddings.npz")
    seed, command, loss = read_trained(options.exp_dir / "average.pt")
    backends = _backends(loss)
    for trial_list in lists:  # all of them, before anything is written
        _rows(trial_list, embeddings, options.enrol)
    numbers: list[ListResult] = []
    curves: list[Curves] = []
    for trial_list in lists:
        for backend, score in backends.items():
            scores = score(*_rows(trial_list, embeddings, options.enrol, backend == "cosine"))
            _write(options.exp_dir / "scores" / f"{trial_list.name}.{backend}", trial_list.trials, scores)
            number, curve = _measure(trial_list, backend, scores, options.num_resamples)
            numbers.append(number)
            curves.append(curve)
    results = Results(
        name=options.exp_dir.resolve().name,
        seed=seed,
        commit=git_commit(Path(ham.__file__).parent),
        versions=checkpoint.versions(),
        command=command or options.command or shlex.join(["python", "-m", "ham.bin.score", *argv]),
        results=tuple(numbers),
    )
    write_curves(options.exp_dir / "curves.json", curves)
    write_results(options.exp_dir / "results.json", results)
    print(text_table(*table(results.results)))


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
        "--num_resamples", type=at_least(1), default=NUM_RESAMPLES, help="bootstrap draws of an interval"
    )
    parser.add_argument(
        "--command", default="", help="command that results.json names if the model does not say how it was trained"
    )
    return parser


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


def read_trained(place: Path) -> tuple[int, str, SpeakerLoss]:
    """Read what scoring needs of a trained system.

    Args:
        place: ``average.pt``.

    Returns:
        Seed and command of the training, and the loss with its trained centres and its options.

    Raises:
        CheckpointError: if an entry is missing or the loss does not fit its configuration.
    """
    state = checkpoint.load(place)
    try:
        seed = int(state["seed"])
        options = dict(state["config"]["loss"])
        dim, num_speakers = state["config"]["backbone"]["embedding_dim"], state["num_speakers"]
        loss = ham.losses.build(options.pop("name"), dim, num_speakers, **options)
        loss.load_state_dict(state["loss"])
    except KeyError as error:
        raise CheckpointError(f"{place}: expected the entry {error}, found none; average again (stage 5)") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{place}: the loss does not fit its configuration ({reason}); train again") from error
    return seed, str(state.get("command", "")), loss.eval()


def _backends(loss: SpeakerLoss) -> Backends:
    backends: dict[str, Callable[[EmbeddingTable, Rows, Rows], NDArray[np.float32]]] = {"cosine": cosine_scores}
    if loss.has_distance:
        backends["hyperbolic"] = lambda table, enrol, test: distance_scores(table, enrol, test, loss.distance)
    return backends


def _rows(
    trial_list: TrialList, embeddings: EmbeddingTable, enrol: str, unit: bool = True
) -> tuple[EmbeddingTable, Rows, Rows]:
    """The table to score with, which holds the list's models, and where the two sides of its trials are in it."""
    place, trials = str(trial_list.data.path / "trials"), trial_list.trials
    if enrol == "average":
        embeddings = with_models(embeddings, trials.models, unit, place)
    elif trials.models:
        place += " (with --enrol concatenate, which stage 5 must have had too)"
    return embeddings, embeddings.rows(trials.enrol, place), embeddings.rows(trials.test, place)


def _write(path: Path, trials: Trials, scores: NDArray[np.float32]) -> None:
    write_scores(path, Scores(trials.enrol, trials.test, scores))
    logger.info("%s: %d trials scored", path, len(scores))


def _measure(
    trial_list: TrialList, backend: str, scores: NDArray[np.float32], num_resamples: int
) -> tuple[ListResult, Curves]:
    trials = trial_list.trials
    speakers = trial_list.speakers(trials.enrol), trial_list.speakers(trials.test)
    number = evaluate(trial_list.name, backend, scores, trials.labels, *speakers, num_resamples=num_resamples)
    return number, summarise_scores(trial_list.name, backend, scores, trials.labels)


if __name__ == "__main__":
    sys.exit(run(main))
