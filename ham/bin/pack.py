"""Make a model directory of an experiment: weights, configuration, thresholds, numbers, model card, checksums."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ham.bin._use_options import add_json, answer
from ham.cli import Parser
from ham.files import lock_folder
from ham.model.directory import CARD, FILES, pack, read_directory

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    """Pack.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    with lock_folder(options.exp, "pack"):  # numbers and thresholds are to be of one scoring
        pack(
            options.exp,
            options.out,
            licence=options.licence,
            data_licence=options.data_licence,
            anonymous=options.anonymous,
            force=options.force,
        )
    found = read_directory(options.out)
    for name, missing in {
        "licence of the weights, which --licence states": not found.licence,
        "numbers, as stage 6 has not been run": not found.results,
        "thresholds, which stage 6 chooses": not found.decisions,
    }.items():
        if missing:
            logger.info("%s: without %s", options.out, name)
    logger.info("%s: read it, it is what others see", options.out / CARD)
    files = [str(options.out / name) for name in FILES if (options.out / name).exists()]
    answer(options, {"folder": str(options.out), "fingerprint": found.fingerprint, "files": files}, "\n".join(files))


def _parser() -> Parser:
    parser = Parser(prog="ham pack", description=__doc__)
    parser.add_argument("exp", type=Path, metavar="EXP", help="an experiment's folder, with average.pt")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make")
    parser.add_argument("--licence", default="", help="of the weights: apache-2.0, cc-by-nc-4.0, or a sentence")
    parser.add_argument("--data_licence", default="", help="what to say of the licence of the training speech")
    parser.add_argument(
        "--anonymous", action="store_true", help="leave out the training speakers' ids and mean embeddings"
    )
    parser.add_argument("--force", action="store_true", help="replace another model directory")
    add_json(parser)
    return parser
