"""Unpack the archives of the corpora, joined or in parts, and hold what they contain against the known counts.

Repeating it costs little, and a run that was stopped is continued. With --keep_archives false the archive of a set is
removed as soon as all that it held is on the disk. A set whose folder was removed is unpacked again.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ham.cli import Parser, at_least, boolean, run
from ham.corpora.catalogue import load_catalogue
from ham.corpora.unpack import locate, unpack
from ham.schema import choose


def main(argv: Sequence[str]) -> None:
    """Find all archives first, then unpack set after set."""
    parser = Parser(prog="ham.bin.unpack", description=__doc__)
    parser.add_argument("--sets", nargs="+", required=True, help="what to unpack: names of the catalogue, musan, rirs")
    parser.add_argument("--archives", type=Path, required=True, help="folder that holds the archives")
    parser.add_argument("--corpora_dir", type=Path, required=True, help="folder to unpack into")
    parser.add_argument(
        "--keep_archives",
        type=boolean,
        default=True,
        metavar="true|false",
        help="false: remove each once unpacked",
    )
    parser.add_argument(
        "--max_missing_files", type=at_least(0), default=0, help="files of a set that may be missing or damaged"
    )
    parser.add_argument("--num_workers", type=at_least(1), default=4, help="threads that unpack")
    parser.add_argument(
        "--accept_repacked",
        type=boolean,
        default=False,
        metavar="true|false",
        help="true: take archives of another size than the owners'; names, growth and counts are checked as ever",
    )
    parser.add_argument("--catalogue", type=Path, required=True, help="a corpus's archives.yaml: what there is")
    options = parser.parse_args(argv)
    known = load_catalogue(options.catalogue).sets
    sets = [known[choose("--sets", name, known)] for name in dict.fromkeys(options.sets)]
    for one in sets:
        locate(one, options.archives, options.corpora_dir)
    for one in sets:
        unpack(
            one,
            options.archives,
            options.corpora_dir,
            keep_archives=options.keep_archives,
            accept_repacked=options.accept_repacked,
            max_missing=options.max_missing_files,
            num_workers=options.num_workers,
        )


if __name__ == "__main__":
    sys.exit(run(main))
