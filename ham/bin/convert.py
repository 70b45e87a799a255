"""Convert a folder of M4A files, as VoxCeleb2's, to WAV or FLAC, 16 kHz, one channel, 16 bit, in several processes.

Files that are there already are left alone, so that a run that was stopped is continued; to convert one again, remove
it. M4A files can also be used as they are: this copy only saves their decoding when they are packed.
Once all are converted, their folder may be removed; to convert into another format, remove the target.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ham.cli import Parser, at_least, run
from ham.corpora.convert import FORMATS, convert


def main(argv: Sequence[str]) -> None:
    """Convert what has not been converted yet."""
    parser = Parser(prog="ham.bin.convert", description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder of M4A files, as vox2_dev/m4a")
    parser.add_argument("--target", type=Path, required=True, help="folder to write, as vox2_dev/wav")
    parser.add_argument("--format", choices=FORMATS, default="wav", help="flac takes half the space, and longer")
    parser.add_argument("--num_workers", type=at_least(1), default=4, help="processes")
    parser.add_argument(
        "--max_missing_files", type=at_least(0), default=0, help="files that may be left out as damaged"
    )
    options = parser.parse_args(argv)
    convert(
        options.source,
        options.target,
        options.format,
        num_workers=options.num_workers,
        max_bad=options.max_missing_files,
    )


if __name__ == "__main__":
    sys.exit(run(main))
