"""Make the root of CN-Celeb from its unpacked archives, everything counted, short training utterances joined.

Written is <data_dir>/roots/cnceleb: a table of the files, which stay where they are, splits/, trials/ and enrol/.
Stage 2 takes it like any other root. Joined utterances become FLAC files in
<corpora_dir>/CN-Celeb_joined_<seconds>s.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cnceleb import (
    ENROL_LISTS,
    LIST,
    NUM_TARGET,
    NUM_TRAIN_SPEAKERS,
    NUM_TRIALS,
    ROOT,
    TRAIN_SETS,
    Evaluation,
    Folders,
    Training,
    check_counts,
    check_disjoint,
    check_train_sets,
    find_folders,
    list_data,
    plan_training,
    read_evaluation,
    train_speakers,
)
from join import write_joints
from tqdm import tqdm

from ham.audio.inspection import inspect
from ham.cli import Parser, at_least, run
from ham.corpora.catalogue import Catalogue, load_catalogue
from ham.errors import ConfigError, DataError, summarise
from ham.prepare.roots import write_root
from ham.words import count

logger = logging.getLogger(f"ham.{__name__}")  # whose messages are shown

ARCHIVES = Path(__file__).parents[1] / "conf" / "archives.yaml"

Data = dict[str, dict[str, str]]

_BUDGET_HELP = "utterances that a corpus may lack; training speakers without a folder; files that cannot be read"


def main(argv: Sequence[str]) -> None:
    """Find, count, join, write.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parse(argv)
    train_sets = check_train_sets(options.train_set)
    folders = _folders(options)
    catalogue = load_catalogue(options.catalogue or ARCHIVES)
    cn1, trained = _list(folders, train_sets, catalogue, options.max_missing_files)
    evaluation = read_evaluation(_there(folders.cn1, "CN-Celeb_flac"), cn1, options.enrol_list)
    check_disjoint(set(trained), evaluation.speakers)
    if options.catalogue is None:
        _check_known_counts(evaluation, len(trained), train_sets)
    training = _join(trained, options)
    _write(options.data_dir / "roots" / ROOT, training, evaluation)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="prepare.py", description=__doc__)
    parser.add_argument("--train_set", nargs="+", default=list(TRAIN_SETS), help=f"of {' '.join(TRAIN_SETS)}")
    parser.add_argument("--corpora_dir", type=Path, required=True, help="unpacked archives; joined files go there too")
    parser.add_argument("--wav_root", type=Path, help="where the archives are unpacked, if not in --corpora_dir")
    parser.add_argument("--data_dir", type=Path, required=True, help="folder to write, egs/cnceleb/data")
    parser.add_argument("--join_short_s", type=_seconds, default=5.0, help="join shorter utterances; 0: none")
    parser.add_argument(
        "--enrol_list", choices=ENROL_LISTS, default="map", help="recordings of a model: several, or the joined one"
    )
    parser.add_argument("--catalogue", type=Path, help="counts in place of those of conf/archives.yaml")
    parser.add_argument("--max_missing_files", type=at_least(0), default=0, help=_BUDGET_HELP)
    parser.add_argument("--num_workers", type=at_least(1), default=2, help="threads that read and join")
    options: argparse.Namespace = parser.parse_args(argv)
    return options


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected seconds, at least 0, found {text!r}")
    return value


def _folders(options: argparse.Namespace) -> Folders:
    top = Path(os.path.abspath(options.wav_root or options.corpora_dir))  # noqa: PTH100  (keeps links)
    if not top.is_dir():
        raise ConfigError(f"{top}: no such folder; run stage 1, or name unpacked speech with --wav_root")
    return find_folders(top)


def _there(folder: Path | None, name: str) -> Path:
    if folder is None:
        raise DataError(f"expected an unpacked {name}, found none; run stage 1")
    return folder


def _list(folders: Folders, train_sets: Sequence[str], catalogue: Catalogue, budget: int) -> tuple[Data, Data]:
    """The utterances of all speakers of CN-Celeb1, and those of the training speakers."""
    cn1 = _there(folders.cn1, "CN-Celeb_flac")
    data = list_data(cn1)
    check_counts(cn1, data, catalogue.sets.get("cn1"), budget)
    trained: Data = {}
    if "cn1_dev" in train_sets:
        trained.update({name: data[name] for name in train_speakers(cn1, "dev/dev.lst", data, budget)})
    if "cn2" in train_sets:
        cn2 = _there(folders.cn2, "CN-Celeb2_flac")
        more = list_data(cn2)
        check_counts(cn2, more, catalogue.sets.get("cn2"), budget)
        speakers = train_speakers(cn2, "spk.lst", more, budget)
        if both := sorted(trained.keys() & speakers):
            raise DataError(f"{cn2}/spk.lst: in CN-Celeb1 too: {count(len(both), 'speaker')}, the first is {both[0]}")
        trained.update({name: more[name] for name in speakers})
    return data, trained


def _check_known_counts(evaluation: Evaluation, num_speakers: int, train_sets: Sequence[str]) -> None:
    num_target = sum(line.startswith("1") for line in evaluation.trials)
    if (len(evaluation.trials), num_target) != (NUM_TRIALS, NUM_TARGET):
        found = f"{len(evaluation.trials)} and {num_target}"
        raise DataError(f"trials.lst: expected {NUM_TRIALS} trials, {NUM_TARGET} of them targets, found {found}")
    if set(train_sets) == set(TRAIN_SETS) and num_speakers != NUM_TRAIN_SPEAKERS:
        logger.warning("%d training speakers; most recipes count %d", num_speakers, NUM_TRAIN_SPEAKERS)


def _join(trained: Mapping[str, Mapping[str, str]], options: argparse.Namespace) -> Training:
    """Join what is short; the files are made here. What cannot be read is not trained on."""
    seconds = options.join_short_s
    files = [Path(file) for own in trained.values() for file in own.values()]
    options.data_dir.mkdir(parents=True, exist_ok=True)
    infos, bad = inspect(files, options.data_dir, "header", options.num_workers) if seconds else ({}, {})
    trained = {
        speaker: {stem: file for stem, file in own.items() if Path(file) not in bad} for speaker, own in trained.items()
    }
    folder = Path(os.path.abspath(options.corpora_dir)) / f"CN-Celeb_joined_{seconds:g}s"  # noqa: PTH100
    training = plan_training(trained, infos, seconds, folder)
    found = write_joints(training.joints, options.num_workers)
    made = list(tqdm(found, "joining utterances", len(training.joints), unit=" files", delay=2.0))
    errors = [*map(str, bad.values()), *(error for one in made for error in one.errors)]
    _check_decoded(errors, options.max_missing_files)
    if made:
        counts = sum(one.num_parts for one in made), seconds, sum(one.num_parts > 0 for one in made)
        text = "%s: %d utterances below %g s joined to %d files, %d of them now"
        logger.info(text, folder, *counts, sum(one.is_new for one in made))
    empty = {str(joint.target) for joint, one in zip(training.joints, made, strict=True) if not one.num_parts}
    return replace(training, files={name: file for name, file in training.files.items() if file not in empty})


def _check_decoded(errors: Sequence[str], budget: int) -> None:
    """Name the utterances that were left out, and refuse more than the budget."""
    if len(errors) > budget:
        said = f"{count(len(errors), 'utterance')} cannot be read and --max_missing_files allows {budget}"
        cure = f"restore them, or leave them out with --max_missing_files {len(errors)}"
        raise DataError(f"{said}: {summarise(errors)}; {cure}")
    for number, error in enumerate(errors, 1):
        logger.warning("left out of the training, %d of %d: %s", number, len(errors), error)


def _write(path: Path, training: Training, evaluation: Evaluation) -> None:
    speakers = {name.split("/", 1)[0] for name in training.files}
    lists = {
        "splits/train_list.txt": [f"{name.split('/', 1)[0]} {name}" for name in sorted(training.files)],
        f"trials/{LIST}.txt": evaluation.trials,
        f"enrol/{LIST}.txt": [f"{model} {' '.join(names)}" for model, names in sorted(evaluation.models.items())],
    }
    write_root(path, {**training.files, **evaluation.files}, lists)
    trained = f"{count(len(training.files), 'training file')} of {count(len(speakers), 'speaker')}"
    tested = f"{count(len(evaluation.models), 'model')}, {count(len(evaluation.trials), 'trial')}"
    logger.info("%s: %s, %s", path, trained, tested)


if __name__ == "__main__":
    sys.exit(run(main))
