"""Check a request before any work is done, and print the default name of its experiment.

The name is ``<configuration>_<loss>``, with ``_seed<N>`` for another seed than 1.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ham.bin._system_options import add_config, read_config
from ham.cli import Parser, at_least, run
from ham.errors import ConfigError
from ham.losses import LOSSES
from ham.model.build import pick_device
from ham.score.backends import DEFAULT, parse_backends, possible_backends
from ham.words import quote

MOST_BYTES = 100
"""Of a name: file systems allow 255, and temporary names and suffixes come on top."""


def main(argv: Sequence[str]) -> None:
    """Check the configuration and print the name."""
    parser = Parser(prog="ham.bin.check_request", description=__doc__)
    parser.add_argument("--exp_name", default="auto", help="another name than the default one")
    parser.add_argument("--seed", type=at_least(0), default=1, help="the experiment's seed")
    parser.add_argument("--device", default="auto", help="checked here, so that a wrong one is refused at once")
    parser.add_argument("--backends", nargs="+", default=[*DEFAULT], help="checked here, likewise")
    add_config(parser)
    options = parser.parse_args(argv)
    backends = parse_backends(options.backends)
    config = read_config(options)
    possible_backends(backends, LOSSES[config.loss.name])
    pick_device(options.device)
    suffix = "" if options.seed == 1 else f"_seed{options.seed}"
    default = f"{options.config.stem}_{config.loss.name}{suffix}"
    print(check_name(default if options.exp_name == "auto" else options.exp_name))


def check_name(name: str) -> str:
    """Check that a name is one of a folder in ``exp/``, which no command takes for an option or a path.

    Args:
        name: the name asked for.

    Returns:
        The same.

    Raises:
        ConfigError: if it is empty, too long, begins with anything but a letter, digit or ``_``, or holds a slash or
            a character that cannot be seen.
    """
    if name and (name[0].isalnum() or name[0] == "_") and "/" not in name and name.isprintable():
        if len(name.encode()) <= MOST_BYTES:
            return name
        found = f"{len(name.encode())}: {quote(name)}"
        raise ConfigError(f"--exp_name: expected at most {MOST_BYTES} bytes, found {found}")
    raise ConfigError(
        f"--exp_name: expected the name of a folder, a letter, a digit or _ first and no slash, found {quote(name)}; "
        "--exp_root says where the folder lies"
    )


if __name__ == "__main__":
    sys.exit(run(main))
