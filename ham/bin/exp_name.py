"""Check a request before any work is done, and print the default name of its experiment.

The name is ``<configuration>_<loss>``, with ``_seed<N>`` for another seed than 1.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ham.bin._cli import Parser, at_least, run
from ham.bin._options import add_config, read_config
from ham.bin._system import check_parts, pick_device
from ham.errors import ConfigError
from ham.losses import LOSSES
from ham.score.backends import DEFAULT, parse_backends


def main(argv: Sequence[str]) -> None:
    """Check the configuration and print the name."""
    parser = Parser(prog="ham.bin.exp_name", description=__doc__)
    parser.add_argument("--seed", type=at_least(0), default=1, help="the experiment's seed")
    parser.add_argument("--device", default="auto", help="checked here, so that a wrong one is refused at once")
    parser.add_argument("--backends", nargs="+", default=[*DEFAULT], help="checked here, likewise")
    add_config(parser)
    options = parser.parse_args(argv)
    backends = parse_backends(options.backends)
    config = read_config(options)
    if not LOSSES[config.loss.name].has_distance and all(backend.needs_distance for backend in backends):
        names = " ".join(backend.name for backend in backends)
        raise ConfigError(f"--backends {names}: the loss {config.loss.name} has no distance; add cosine")
    check_parts(config)
    pick_device(options.device)
    suffix = "" if options.seed == 1 else f"_seed{options.seed}"
    print(f"{options.config.stem}_{config.loss.name}{suffix}")


if __name__ == "__main__":
    sys.exit(run(main))
