"""Check a request before any work is done, and print the name of its experiment."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ham.bin._system_options import add_config, add_processes, read_config
from ham.cli import Parser, at_least, run
from ham.embeddings.table import FORMATS, check_format
from ham.losses import LOSSES
from ham.model.build import pick_device
from ham.score.backends import DEFAULT, parse_backends, possible_backends
from ham.score.durations import parse_durations
from ham.train.distill import check_teacher
from ham.train.distributed import check_batch
from ham.train.experiment_name import check_name, default_name
from ham.train.initial import check_initial
from ham.train.launch import num_processes


def main(argv: Sequence[str]) -> None:
    """Check the configuration and print the name."""
    parser = Parser(prog="ham.bin.check_request", description=__doc__)
    parser.add_argument("--exp_name", default="auto", help="another name than the default one")
    parser.add_argument("--seed", type=at_least(0), default=1, help="the experiment's seed")
    parser.add_argument("--device", default="auto", help="checked here, so that a wrong one is refused at once")
    parser.add_argument("--backends", nargs="+", default=[*DEFAULT], help="checked here, likewise")
    parser.add_argument("--durations", nargs="*", default=[], metavar="SECONDS", help="checked here, likewise")
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="checked here: it may need a package")
    parser.add_argument("--init_from", help="given where a training is asked for; checked here, and the teacher")
    add_processes(parser)
    add_config(parser)
    options = parser.parse_args(argv)
    backends = parse_backends(options.backends)
    parse_durations(options.durations)
    check_format(Path(f"/embeddings.{options.format}"))  # in whatever folder
    config = read_config(options)
    if options.init_from is not None:
        check_teacher(config.distill)
        check_initial(Path(options.init_from) if options.init_from else None, config.train)
    possible_backends(backends, LOSSES[config.loss.name])
    pick_device(options.device)
    processes = num_processes(options.num_gpus, options.device) * options.nnodes
    check_batch(config.data.batch_size, processes, config.train.accumulate)
    default = default_name(options.config.stem, config.loss.name, options.seed)
    print(check_name(default if options.exp_name == "auto" else options.exp_name))


if __name__ == "__main__":
    sys.exit(run(main))
