"""Make the roots of VoxCeleb from its unpacked speech and its trial lists, everything counted.

Written are <data_dir>/roots/vox1 and, if it is trained on, <data_dir>/roots/vox2: tables of the files, which stay where
they are, and trials/. Stage 2 takes them like any other root. With --needs nothing is written: two lines name the
archives and the list files that a request needs. With --count nothing is written either: the speech alone is counted,
before anything is fetched that would be of no use without it.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from voxceleb import (
    LISTS,
    TEST_SPEAKERS,
    TRAIN_SETS,
    Request,
    check_counts,
    choose_speakers,
    find_speakers,
    list_files,
    listed_speakers,
    make_request,
    read_list,
    search_places,
    unpacked_places,
)

from ham.cli import Parser, at_least, run
from ham.corpora.catalogue import Catalogue, load_catalogue
from ham.errors import ConfigError
from ham.prepare.roots import write_root
from ham.words import count

logger = logging.getLogger(f"ham.{__name__}")  # whose messages are shown

ARCHIVES = Path(__file__).parents[1] / "conf" / "archives.yaml"


def main(argv: Sequence[str]) -> None:
    """Find, count, write.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parse(argv)
    request = make_request(options.train_set, options.trial_lists)
    if options.needs:
        print(" ".join(request.sets), " ".join(request.files), sep="\n")
        return
    catalogue = load_catalogue(options.catalogue)
    lists = _read_lists(options.archives, request, catalogue, only_there=options.count)
    tested = {name: listed_speakers(lines) for name, lines in lists.items()}
    found = find_speakers(_places(options, request))
    named = set().union(*tested.values()) if tested else set(found) & TEST_SPEAKERS
    speakers = choose_speakers(found, request, named)
    files = {root: list_files(folders, options.num_workers) for root, folders in speakers.items()}
    test_speakers = tested.get("vox1_o_clean", tested.get("vox1_o", set() if tested else named))
    check_counts(files, request, catalogue, test_speakers, options.max_missing_files)
    if options.count:
        return
    trials = {f"trials/{name}.txt": lines for name, lines in lists.items()}
    for root, table in files.items():
        write_root(options.data_dir / "roots" / root, table, trials if root == "vox1" else {})
        size = f"{count(len(table), 'file')} of {count(len(speakers[root]), 'speaker')}"
        logger.info("%s: %s", options.data_dir / "roots" / root, size)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = Parser(prog="prepare.py", description=__doc__)
    parser.add_argument("--train_set", nargs="+", default=["vox2_dev"], help=f"one or both of {' '.join(TRAIN_SETS)}")
    parser.add_argument(
        "--trial_lists", nargs="*", default=[], help=f"of {' '.join(LISTS)}; the cleaned ones that can be"
    )
    parser.add_argument("--needs", action="store_true", help="say which archives and lists are needed, and stop")
    parser.add_argument("--count", action="store_true", help="count the speech, also without the lists, and stop")
    parser.add_argument("--corpora_dir", type=Path, help="unpacked speech, as stage 1 leaves it")
    parser.add_argument("--wav_root", type=Path, help="unpacked speech in any layout, instead of --corpora_dir")
    parser.add_argument("--vox2_audio", choices=("flac", "wav", "m4a"), default="flac", help="m4a: not converted")
    parser.add_argument("--archives", type=Path, help="folder of the trial lists, veri_test2.txt ...")
    parser.add_argument("--data_dir", type=Path, help="folder to write, egs/voxceleb/data")
    parser.add_argument("--catalogue", type=Path, default=ARCHIVES, help="counts in place of conf/archives.yaml's")
    parser.add_argument("--max_missing_files", type=at_least(0), default=0, help="utterances that a set may lack")
    parser.add_argument("--num_workers", type=at_least(1), default=2, help="threads that list folders")
    options: argparse.Namespace = parser.parse_args(argv)
    if not options.needs:
        missing = [f"--{name}" for name in ("archives", "data_dir") if getattr(options, name) is None]
        if missing or (options.corpora_dir is None) == (options.wav_root is None):
            raise ConfigError(f"expected {' and '.join(missing) or 'one of --corpora_dir and --wav_root'}")
    return options


def _read_lists(archives: Path, request: Request, catalogue: Catalogue, *, only_there: bool) -> dict[str, list[str]]:
    """The lines of each trial list, or of those whose file is there."""
    unknown = [file for file in request.files if file not in catalogue.lists]
    if unknown:
        raise ConfigError(f"--catalogue: expected the trial list {unknown[0]}, found no such entry")
    names = [name for name in request.lists if not only_there or (archives / LISTS[name]).is_file()]
    return {name: read_list(archives, name, catalogue.lists[LISTS[name]]) for name in names}


def _places(options: argparse.Namespace, request: Request) -> list[Path]:
    """Absolute folders that hold speakers' folders."""
    if options.wav_root is None:
        return unpacked_places(Path(os.path.abspath(options.corpora_dir)), request, options.vox2_audio)  # noqa: PTH100
    if not options.wav_root.is_dir():
        raise ConfigError(f"--wav_root {options.wav_root}: no such folder")
    places = search_places(Path(os.path.abspath(options.wav_root)))  # noqa: PTH100  (keeps links)
    logger.info("%s: speech in %s", options.wav_root, ", ".join(map(str, places)))
    return places


if __name__ == "__main__":
    sys.exit(run(main))
