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
from collections.abc import Sequence
from pathlib import Path

from ham.audio import SAMPLE_RATE
from ham.audio.decoding import report_conversions
from ham.audio.inspection import CHECKS, inspect
from ham.cli import Parser, at_least, run
from ham.data.kaldi_dir import check_replaceable
from ham.errors import ConfigError
from ham.files import lock_folder
from ham.prepare.data_folder import find_others, remove_others, write_subset
from ham.prepare.partition import make_partition, without_bad_utts
from ham.prepare.same_audio import check_same_audio
from ham.prepare.segments import find_silent, place_parts

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    """Divide the speech, inspect its audio, write what has changed, remove what is no longer asked for."""
    options = _parse(argv)
    _check_writable(options.data_dir)
    with lock_folder(options.data_dir, "stage 2", wait=True):
        _prepare(options)


def _prepare(options: argparse.Namespace) -> None:
    """Do it, alone in the data folder."""
    roots = [*options.train_roots, *options.csv], [*options.test_roots, *options.csv]
    partition = make_partition(*roots, options.seed, options.data_dir / "unpacked")
    names = [*partition.folders]
    for name in (*names, *find_others(options.data_dir, names)):  # before hours of decoding
        check_replaceable(options.data_dir / name, name)
    infos, bad = inspect(partition.files, options.data_dir, options.check, options.num_workers)
    segments, errors = place_parts(partition, infos, bad)
    if options.check == "decode":
        errors |= find_silent(partition, segments, options.data_dir, options.num_workers)
    partition = without_bad_utts(partition, errors, options.max_bad_train_files)
    check_same_audio(partition, infos)
    report_conversions(list(infos.values()), options.sample_rate)
    removed = remove_others(options.data_dir, names)
    changed = [write_subset(options.data_dir, name, partition.folders[name], infos, segments) for name in sorted(names)]
    if not partition.tests:
        logger.info("%s: no test lists; stages 3 and 4 train, stages 5 to 7 need --test_roots", options.data_dir)
    if not partition.train:
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
        "--sample_rate", type=at_least(1), default=SAMPLE_RATE, help="rate of the recipe in Hz, to count other files"
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


if __name__ == "__main__":
    sys.exit(run(main))
