"""Write Kaldi data directories for training and testing from folders of speech, after inspecting every file once.

A root holds wav/<speaker>/<session>/<utterance>.{wav,flac,ogg,m4a} and, if you have them, splits/train_list.txt and
trials/*.txt. Written are <data_dir>/train and <data_dir>/test/<root>/<list>. Repeating it costs little.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ham.bin._cli import Parser, at_least, run
from ham.data.audio import AudioInfo, inspect_audio, inspect_files, inspect_header
from ham.data.audio_cache import AudioCache
from ham.data.kaldi_dir import DataDir, Trials, check_replaceable, read_data_dir, remove_data_dir, write_data_dir
from ham.data.plan import Part, Plan, make_plan
from ham.data.same_audio import same_audio
from ham.errors import ConfigError, DataError, summarise
from ham.words import count

logger = logging.getLogger(__name__)

CHECKS = {"decode": (inspect_audio, ".audio_cache.json"), "header": (inspect_header, ".header_cache.json")}
"""How a file is inspected, and the name of the memory of inspected files in the data folder."""

SAVE_EVERY = 50_000
"""Files after which the memory is written: a run that is killed loses some minutes of decoding."""


def main(argv: Sequence[str]) -> None:
    """Plan, inspect the audio, write what has changed, remove what is no longer asked for."""
    options = _parse(argv)
    _check_writable(options.data_dir)
    plan = make_plan(options.train_roots, options.test_roots, options.seed)
    names = [*(f"test/{name}" for name in plan.tests), *(["train"] if plan.train else [])]
    for name in (*names, *find_others(options.data_dir, names)):  # before hours of decoding
        check_replaceable(options.data_dir / name, name)
    infos, bad = inspect(plan_files(plan), options.data_dir, options.check, options.num_workers)
    plan = without_bad_files(plan, bad, options.max_bad_train_files)
    check_same_audio(plan, infos)
    _report_conversions(list(infos.values()), options.sample_rate)
    parts = {f"test/{name}": part for name, part in plan.tests.items()}
    if plan.train:
        parts["train"] = plan.train
    removed = remove_others(options.data_dir, parts)
    changed = [_write(options.data_dir, name, part, infos) for name, part in sorted(parts.items())]
    if not removed and not any(changed):
        logger.info("%s: was already prepared, nothing has changed", options.data_dir)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="ham.bin.prepare_data", description=__doc__)
    parser.add_argument("--train_roots", nargs="*", type=_root, default=[], help="folders of speech to train on")
    parser.add_argument("--test_roots", nargs="*", type=_root, default=[], help="folders of speech to test on")
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
    if not options.train_roots and not options.test_roots:
        raise ConfigError("expected --train_roots or --test_roots, found neither")
    return options


def _root(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("expected a folder, found an empty word")
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
    parts = [*plan.tests.values()] + ([plan.train] if plan.train else [])
    return list(dict.fromkeys(file for part in parts for file in part.wav.values()))


def inspect(
    files: Sequence[Path], data_dir: Path, check: str, num_workers: int
) -> tuple[dict[Path, AudioInfo], dict[Path, DataError]]:
    """Inspect every file that the data folder's memory does not know; new ones are remembered, also when interrupted.

    Args:
        files: the files.
        data_dir: the data folder.
        check: one of ``CHECKS``.
        num_workers: threads.

    Returns:
        What is known of the good files, and the errors of the bad ones.
    """
    look, name = CHECKS[check]
    cache = AudioCache(data_dir / name)
    infos, bad = cache.find(files), dict[Path, DataError]()
    todo = [file for file in files if file not in infos]
    found = inspect_files(todo, num_workers, look)
    every_s = 0.5 if sys.stderr.isatty() else 30.0
    try:
        for file, info in tqdm(
            found, "inspecting audio", len(todo), unit=" files", delay=2.0, mininterval=every_s, maxinterval=60
        ):
            if isinstance(info, DataError):
                bad[file] = info
            else:
                infos[file] = info
                cache.add(file, info)
                if len(infos) % SAVE_EVERY == 0:
                    cache.save()
    finally:
        cache.save()
    return infos, bad


def without_bad_files(plan: Plan, bad: Mapping[Path, DataError], max_bad_train_files: int) -> Plan:
    """Leave bad files out of the training part, within a budget.

    Args:
        plan: what is trained and tested on.
        bad: the errors of the files that cannot be used.
        max_bad_train_files: how many training files may be left out.

    Returns:
        The plan without them.

    Raises:
        DataError: if a test file is bad, or more training files than the budget allows.
    """
    tested = {file for part in plan.tests.values() for file in part.wav.values()}
    if bad_tests := [str(error) for file, error in bad.items() if file in tested]:
        raise DataError(f"test files are never left out, replace or unlist them: {summarise(bad_tests)}")
    if plan.train is None or not bad:
        return plan
    left_out = {utt: str(bad[file]) for utt, file in plan.train.wav.items() if file in bad}
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
    parts = [*plan.tests.values()] + ([plan.train] if plan.train else [])
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
    return Part(
        wav={utt: file for utt, file in part.wav.items() if utt not in utts},
        utt2spk={utt: spk for utt, spk in part.utt2spk.items() if utt not in utts},
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


def _write(data_dir: Path, name: str, part: Part, infos: Mapping[Path, AudioInfo]) -> bool:
    """Write a directory unless it is there with the same content; returns whether it was written."""
    utt2dur = {utt: round(infos[file].duration_s, 6) for utt, file in part.wav.items()}
    new = DataDir(data_dir / name, part.wav, part.utt2spk, utt2dur, part.trials)
    same = _is_same(new)
    if not same:
        write_data_dir(new.path, new.wav, new.utt2spk, new.utt2dur, new.trials, name)
    logger.info("%s: %s%s", new.path, _describe(new), " (unchanged)" if same else "")
    return not same


def _is_same(new: DataDir) -> bool:
    try:
        old = read_data_dir(new.path)
    except DataError:
        return False
    tables = [(one.wav, one.utt2spk, one.utt2dur) for one in (old, new)]
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
