"""Try a model in the browser: record or drop two files, see whether they are of one speaker, enrol and name speakers.

The page is for this machine alone unless --host says otherwise. Ctrl-C ends it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from ham.bin._use_options import add_model, answer, load_model
from ham.cli import Parser, at_least
from ham.demo.answers import Answers
from ham.demo.page import render
from ham.demo.server import POLL_S, Server
from ham.errors import ConfigError

LAST_PORT = 65535


def main(argv: Sequence[str]) -> None:
    """Serve the page until Ctrl-C.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    if options.port > LAST_PORT:
        raise ConfigError(f"--port {options.port}: expected a number up to {LAST_PORT}")
    encoder = load_model(options)
    with TemporaryDirectory(prefix="ham_demo_") as folder:
        database = options.db or Path(folder) / "speakers.db"
        keeps = f"in the file {options.db.name}" if options.db else "until this demo ends"
        with Server(options.host, options.port, Answers(encoder, database), render(encoder, keeps)) as server:
            for number in (signal.SIGINT, signal.SIGTERM):  # or the temporary database would stay behind
                if signal.getsignal(number) != signal.SIG_IGN:
                    signal.signal(number, server.end)
            answer(options, {"url": server.url}, f"{server.url} (Ctrl-C ends it)")
            sys.stdout.flush()  # whoever reads it through a pipe waits for it
            server.serve_forever(POLL_S)


def _parser() -> Parser:
    parser = Parser(prog="ham demo", description=__doc__)
    add_model(parser)
    parser.add_argument(
        "--db", type=Path, help="the file of the enrolled speakers; without it they are forgotten at the end"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 is for every machine")
    parser.add_argument("--port", type=at_least(0), default=7860, help="0 is any free one")
    return parser
