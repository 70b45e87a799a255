"""How long a training would take on this machine, and the disk that its experiment would need: steps are timed.

Prints one line: seconds, gigabytes, and what they were computed from.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ham.bin._system_options import add_config, read_config
from ham.cli import Parser, at_least, run
from ham.errors import ConfigError
from ham.model.build import pick_device
from ham.train.estimate import Sizes, estimate, read_sizes


def main(argv: Sequence[str]) -> None:
    """Time steps and print the estimate.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    config = read_config(options)
    found = estimate(
        config,
        _sizes(options),
        pick_device(options.device),
        num_backends=options.num_backends,
        crops=options.crops,
    )
    print(f"{found.seconds:.0f} s, {found.gigabytes} GB: {found.words}")


def _parser() -> Parser:
    parser = Parser(prog="python -m ham.bin.estimate", description=__doc__)
    parser.add_argument("--data_dir", type=Path, default=None, help="prepared data; else the numbers below")
    parser.add_argument("--num_utts", type=at_least(1), default=None, help="training utterances")
    parser.add_argument("--num_speakers", type=at_least(2), default=None, help="training speakers")
    parser.add_argument("--num_test_utts", type=at_least(0), default=0, help="test utterances")
    parser.add_argument("--num_trials", type=at_least(0), default=0, help="trials of all lists")
    parser.add_argument("--num_backends", type=at_least(1), default=2, help="back-ends that write scores")
    parser.add_argument("--crops", action="store_true", help="five crops of every test utterance are embedded too")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add_config(parser)
    return parser


def _sizes(options: Any) -> Sizes:
    """From the data directory where it is prepared, else from the options."""
    base = options.data_dir
    if base is not None and (sizes := read_sizes(base)):
        return sizes
    if options.num_utts is None or options.num_speakers is None:
        found = "neither" if base is None else f"no {base}/train"
        raise ConfigError(f"expected a prepared --data_dir, or --num_utts and --num_speakers; found {found}")
    return Sizes(options.num_utts, options.num_speakers, options.num_test_utts, options.num_trials)


if __name__ == "__main__":
    sys.exit(run(main))
