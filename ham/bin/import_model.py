"""Make a model directory of a public model, a state dict of another project; nothing in the file is run."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ham.bin._use_options import add_json, answer
from ham.cli import Parser
from ham.model.directory import CARD, FILES
from ham.model.imported import import_model
from ham.model.layouts import LAYOUTS

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    """Import.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    found = import_model(
        options.file,
        options.out,
        options.layout,
        licence=options.licence,
        data_licence=options.data_licence,
        force=options.force,
    )
    layout = found.imported["layout"]
    if not found.licence:
        logger.info("%s: without licence of the weights, which --licence states", options.out)
    logger.info("%s: read it, it is what others see", options.out / CARD)
    files = [str(options.out / name) for name in FILES if (options.out / name).exists()]
    said = {"folder": str(options.out), "layout": layout, "fingerprint": found.fingerprint, "files": files}
    answer(options, said, "\n".join(files))


def _parser() -> Parser:
    parser = Parser(prog="ham import", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="the weights, as torch.save writes them")
    parser.add_argument("--layout", default="", help=f"whose names these are: {', '.join(LAYOUTS)}; else what fits")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder to make")
    parser.add_argument("--licence", default="", help="of the weights: apache-2.0, cc-by-nc-4.0, or a sentence")
    parser.add_argument("--data_licence", default="", help="what to say of the licence of the training speech")
    parser.add_argument("--force", action="store_true", help="replace another model directory")
    add_json(parser)
    return parser
