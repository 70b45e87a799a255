"""Write Kaldi data directories for training and testing from speech, after inspecting every file once.

A root is a folder or a table of speech in one of the layouts that docs/data.md shows; it may have
splits/train_list.txt and trials/*.txt. Written are <data_dir>/train and <data_dir>/test/<root>/<list>. Repeating it
costs little.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ham.audio.decoding import AudioInfo
from ham.cli import Parser, at_least, run
from ham.data.kaldi_dir import (
    DataDir,
    Segment,
    Trials,
    check_replaceable,
    read_data_dir,
    remove_data_dir,
    write_data_dir,
)
from ham.data.segments import OVERSHOOT_S, duration, is_beyond, place, silent
from ham.errors import ConfigError, DataError, summarise
from ham.prepare.inspection import CHECKS, inspect
from ham.prepare.partition import Part, Plan, make_plan
from ham.prepare.same_audio import same_audio
from ham.words import count

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    """Plan, inspect the audio, write what has changed, remove what is no longer asked for."""
    options = _parse(argv)
    _check_writable(options.data_dir)
    roots = [*options.train_roots, *options.csv], [*options.test_roots, *options.csv]
    plan = make_plan(*roots, options.seed, options.data_dir / "unpacked")
    names = [*_by_folder(plan)]
    for name in (*names, *find_others(options.data_dir, names)):  # before hours of decoding
        check_replaceable(options.data_dir / name, name)
    infos, bad = inspect(plan_files(plan), options.data_dir, options.check, options.num_workers)
    segments, errors = place_parts(plan, infos, bad)
    if options.check == "decode":
        errors |= find_silent(plan, segments, options.data_dir, options.num_workers)
    plan = without_bad_utts(plan, errors, options.max_bad_train_files)
    check_same_audio(plan, infos)
    _report_conversions(list(infos.values()), options.sample_rate)
    parts = _by_folder(plan)
    removed = remove_others(options.data_dir, parts)
    changed = [_write(options.data_dir, name, part, infos, segments) for name, part in sorted(parts.items())]
    if not plan.tests:
        logger.info("%s: no test lists; stages 3 and 4 train, stages 5 to 7 need --test_roots", options.data_dir)
    if not plan.train:
        logger.info("%s: no training part; stage 4 needs --train_roots", options.data_dir)
    if not removed and not any(changed):
        logger.info("%s: was already prepared, nothing has changed", options.data_dir)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="ham.bin.prepare_data", description=__doc__)
    parser.add_argument("--train_roots", nargs="*", type=_root, default=[], help="speech to train on")
    parser.add_argument("--test_roots", nargs="*", type=_root, default=[], help="speech to test on")
    parser.add_argument(
        "--csv", nargs="*", type=_root, default=[], help="tables of speech to train and test on: path, speaker, ..."
    )
    parser.add_argument("--data_dir", type=Path, required=True, help="folder to write, egs/<corpus>/data")
    parser.add_argument("--seed", type=int, default=1, help="seed of trial lists and test speakers that are made")
    parser.add_argument(
        "--check", choices=tuple(CHECKS), default="decode", help="decode every file, or believe the headers of all"
    )
    parser.add_argument("--num_workers", type=at_least(1), default=2, help="threads that inspect")
    parser.add_argument(
        "--max_bad_train_files",
        type=at_least(0),
        default=0,
        help="training files that may be left out because they cannot be used; beyond, the run stops",
    )
    parser.add_argument(
        "--sample_rate", type=at_least(1), default=16000, help="rate of the recipe in Hz, to count other files"
    )
    options: argparse.Namespace = parser.parse_args(argv)
    if not options.train_roots and not options.test_roots and not options.csv:
        raise ConfigError("expected --train_roots, --test_roots or --csv, found none of them")
    return options


def _root(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("expected a folder or a table, found an empty word")
    return Path(text)


def _check_writable(folder: Path) -> None:
    """Find out before hours of decoding whether the result can be written."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


def plan_files(plan: Plan) -> list[Path]:
    """The files of all parts of a plan.

    Args:
        plan: what is trained and tested on.

    Returns:
        Each file once.
    """
    return list(dict.fromkeys(file for part in _by_folder(plan).values() for file in part.wav.values()))


def place_parts(
    plan: Plan, infos: Mapping[Path, AudioInfo], bad: Mapping[Path, DataError]
) -> tuple[dict[str, Segment], dict[str, str]]:
    """Find where the utterances that are a part of a file lie, and which utterances cannot be used.

    Args:
        plan: what is trained and tested on.
        infos: what is known of the good files.
        bad: the errors of the others.

    Returns:
        The places, for every utterance of a list or training part in which some are parts of files, and the errors.
    """
    segments, errors, beyond = dict[str, Segment](), dict[str, str](), 0
    for part in _by_folder(plan).values():
        for utt, file in part.wav.items():
            if file in bad:
                errors[utt] = str(bad[file])
            elif part.spans and utt not in segments:
                span, info = part.spans.get(utt), infos[file]
                try:
                    segments[utt] = place(span, info, f"{file}, {utt}")
                except DataError as error:
                    errors[utt] = str(error)
                else:
                    beyond += is_beyond(span, info)
    if beyond:
        cut = "1 part of a file ends" if beyond == 1 else f"{beyond} parts of files end"
        logger.warning(
            "%s up to %g s behind the file and %s cut there", cut, OVERSHOOT_S, "is" if beyond == 1 else "are"
        )
    return segments, errors


def find_silent(plan: Plan, segments: Mapping[str, Segment], data_dir: Path, num_workers: int) -> dict[str, str]:
    """Look for silent parts of files, but not among those that the data folder has already.

    Args:
        plan: what is trained and tested on.
        segments: the parts.
        data_dir: the data folder.
        num_workers: threads.

    Returns:
        What is wrong with those utterances of which something is.
    """
    if not segments:
        return {}
    known = {utt: part for name in _by_folder(plan) for utt, part in _known_segments(data_dir / name).items()}
    todo: dict[Path, dict[str, Segment]] = {}
    for part in _by_folder(plan).values():
        for utt, file in part.wav.items():
            if utt in segments and known.get(utt) != (file, segments[utt]):
                todo.setdefault(file, {})[utt] = segments[utt]
    with ThreadPoolExecutor(num_workers) as pool:
        found = tqdm(pool.map(silent, todo, todo.values()), "looking for silence", len(todo), unit=" files", delay=2.0)
        return {utt: error for errors in found for utt, error in errors.items()}


def _known_segments(folder: Path) -> dict[str, tuple[Path, Segment]]:
    """The parts of files in a directory of an earlier run, of files that have not changed since."""
    try:
        old = read_data_dir(folder)
    except DataError:
        return {}
    written_ns = (folder / "utt2spk").stat().st_mtime_ns
    unchanged = {file for file in set(old.wav.values()) if file.exists() and file.stat().st_mtime_ns < written_ns}
    return {utt: (old.wav[utt], part) for utt, part in old.segments.items() if old.wav[utt] in unchanged}


def _by_folder(plan: Plan) -> dict[str, Part]:
    """The parts by the directories that they become, below the data folder."""
    tests = {f"test/{name}": part for name, part in plan.tests.items()}
    return tests | ({"train": plan.train} if plan.train else {})


def without_bad_utts(plan: Plan, errors: Mapping[str, str], max_bad_train_files: int) -> Plan:
    """Leave what cannot be used out of the training part, within a budget.

    Args:
        plan: what is trained and tested on.
        errors: what is wrong with utterances.
        max_bad_train_files: how many training utterances may be left out.

    Returns:
        The plan without them.

    Raises:
        DataError: if a test utterance cannot be used, or more training utterances than the budget allows.
    """
    tested = dict.fromkeys(utt for part in plan.tests.values() for utt in part.wav)
    if bad_tests := list(dict.fromkeys(errors[utt] for utt in tested if utt in errors)):
        raise DataError(f"test files are never left out, replace or unlist them: {summarise(bad_tests)}")
    left_out = {utt: errors[utt] for utt in plan.train.wav if utt in errors} if plan.train else {}
    if plan.train is None or not left_out:
        return plan
    summary = summarise(list(left_out.values()))
    if len(left_out) > max_bad_train_files:
        allowed = f"--max_bad_train_files allows {max_bad_train_files}"
        raise DataError(f"{count(len(left_out), 'training file')} cannot be used and {allowed}: {summary}")
    logger.warning("%d of %d training files are left out: %s", len(left_out), len(plan.train.wav), summary)
    train = _without(plan.train, left_out)
    if len(set(train.utt2spk.values())) < 2:
        raise DataError("training needs at least 2 speakers, and the files left out leave fewer; replace them")
    return replace(plan, train=train)


def check_same_audio(plan: Plan, infos: Mapping[Path, AudioInfo]) -> None:
    """Warn of recordings that occur under two speakers, and refuse a file that is trained on and tested.

    Args:
        plan: what is trained and tested on.
        infos: what is known of its files.

    Raises:
        DataError: if a test file is, by a link or another name, a training file. Copies are said: a corpus may hold
            some that its user cannot change.
    """
    parts = _by_folder(plan).values()
    speakers = {file: part.utt2spk[utt] for part in parts for utt, file in part.wav.items()}
    found = same_audio(speakers, infos)
    trained = frozenset(plan.train.wav.values()) if plan.train else frozenset[Path]()
    both = [(one, other) for one, other in found if (one in trained) != (other in trained)]
    if same := [f"{one} is {other}" for one, other in both if one.samefile(other)]:
        raise DataError(f"trained on and tested, under two speakers' names: {summarise(same)}; leave one of each out")
    if found:
        pairs = summarise([f"{one} is {other}" for one, other in found])
        logger.warning(
            "%d recordings are there under two speakers' names, %d of them trained on and tested: %s",
            len(found),
            len(both),
            pairs,
        )


def _without(part: Part, utts: Collection[str]) -> Part:
    return replace(
        part,
        wav={utt: file for utt, file in part.wav.items() if utt not in utts},
        utt2spk={utt: spk for utt, spk in part.utt2spk.items() if utt not in utts},
        sessions={utt: session for utt, session in part.sessions.items() if utt not in utts},
    )


def _report_conversions(infos: Sequence[AudioInfo], sample_rate: int) -> None:
    """Say once what reading will do to files that are not mono or have another rate."""
    rates = Counter(info.sample_rate for info in infos if info.sample_rate != sample_rate)
    if rates:
        counts = ", ".join(f"{number} at {rate} Hz" for rate, number in sorted(rates.items()))
        found = count(rates.total(), "file")
        logger.info("resampled to %d Hz when read: %s, %s", sample_rate, found, counts)
    if several := sum(info.num_channels > 1 for info in infos):
        logger.info("%s of more than one channel: the average of the channels is read", count(several, "file"))


def find_others(data_dir: Path, names: Collection[str]) -> list[str]:
    """Find what lies where data directories do and was not asked for.

    Args:
        data_dir: the data folder.
        names: the directories that are asked for, ``train`` and ``test/<root>/<list>``.

    Returns:
        Names of the same kind, sorted; hidden ones are none.
    """
    found = [*data_dir.glob("train"), *data_dir.glob("test/*/*")]
    others = (path.relative_to(data_dir).as_posix() for path in found if not path.name.startswith("."))
    return sorted(name for name in others if name not in names)


def remove_others(data_dir: Path, names: Collection[str]) -> list[str]:
    """Remove the directories of an earlier request, so that no stage goes on with them.

    Args:
        data_dir: the data folder.
        names: the directories to keep, ``train`` and ``test/<root>/<list>``.

    Returns:
        The names of what was removed.

    Raises:
        DataError: if one of them is not as stage 2 wrote it.
    """
    others = find_others(data_dir, names)
    for name in others:
        remove_data_dir(data_dir / name, name)
        logger.info("%s: removed, it was not asked for this time", data_dir / name)
    for root in data_dir.glob("test/*"):
        if root.is_dir() and not any(root.iterdir()):
            root.rmdir()
    return others


def _write(
    data_dir: Path, name: str, part: Part, infos: Mapping[Path, AudioInfo], segments: Mapping[str, Segment]
) -> bool:
    """Write a directory unless it is there with the same content; returns whether it was written."""
    own = {utt: segments[utt] for utt in part.wav} if part.spans else {}
    utt2dur = {utt: round(_seconds(infos[file], own.get(utt)), 6) for utt, file in part.wav.items()}
    new = DataDir(data_dir / name, part.wav, part.utt2spk, utt2dur, part.trials, own, part.sessions)
    same = _is_same(new)
    if not same:
        write_data_dir(new.path, new.wav, new.utt2spk, new.utt2dur, new.trials, name, new.segments, new.sessions)
    logger.info("%s: %s%s", new.path, _describe(new), " (unchanged)" if same else "")
    return not same


def _seconds(info: AudioInfo, segment: Segment | None) -> float:
    return duration(segment, info.sample_rate) if segment else info.duration_s


def _is_same(new: DataDir) -> bool:
    try:
        old = read_data_dir(new.path)
    except DataError:
        return False
    tables = [(one.wav, one.utt2spk, one.utt2dur, one.segments, one.sessions) for one in (old, new)]
    return tables[0] == tables[1] and _are_same_trials(old.trials, new.trials)


def _are_same_trials(one: Trials | None, other: Trials | None) -> bool:
    if one is None or other is None:
        return one is other
    same_rest = (one.enrol, one.test, one.models, one.notes) == (other.enrol, other.test, other.models, other.notes)
    return same_rest and np.array_equal(one.labels, other.labels)


def _describe(content: DataDir) -> str:
    hours = sum(content.utt2dur.values()) / 3600
    text = f"{count(len(content.wav), 'utterance')} of {count(len(content.spk2utt), 'speaker')}, {hours:.2f} h"
    if content.trials is None:
        return text
    models = f", {count(len(content.trials.models), 'model')}" if content.trials.models else ""
    return f"{text}{models}, {content.trials.num_target} target and {content.trials.num_nontarget} non-target trials"


if __name__ == "__main__":
    sys.exit(run(main))
