"""Put a model directory at the Hugging Face hub, as OWNER/NAME; with --dry_run check it, and send nothing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ham.bin._use_options import add_json, answer
from ham.cli import Parser
from ham.model.directory import FILES
from ham.model.hub import publish

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    """Publish.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    address = publish(options.folder, options.name, private=options.private, dry_run=options.dry_run)
    sizes = {name: (options.folder / name).stat().st_size for name in FILES if (options.folder / name).exists()}
    for name, size in sizes.items():
        logger.info("%s %s, %d bytes", "would send" if options.dry_run else "sent", options.folder / name, size)
    answer(options, {"address": address, "sent": not options.dry_run, "files": sizes}, address)


def _parser() -> Parser:
    parser = Parser(prog="ham publish", description=__doc__)
    parser.add_argument("folder", type=Path, metavar="DIR", help="a model directory, which `ham pack` makes")
    parser.add_argument("name", metavar="OWNER/NAME", help="its name at the hub; made where it is not there yet")
    parser.add_argument("--private", action="store_true", help="only for those whom the owner lets in")
    parser.add_argument("--dry_run", action="store_true", help="check, say what would be sent, and send nothing")
    add_json(parser)
    return parser
