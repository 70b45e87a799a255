"""Options that several commands share: which configuration, with which changes."""

from __future__ import annotations

import argparse
import logging
import re
from pathlib import Path
from typing import Any

from ham.cli import Parser, at_least, boolean
from ham.config import Config, load_config, origin
from ham.errors import ConfigError
from ham.losses import LOSSES
from ham.train.blocks import remarks, resolve
from ham.words import clip

__all__ = ["CHANGE", "add_config", "add_num_gpus", "add_processes", "boolean", "read_config", "top_n"]

logger = logging.getLogger(__name__)

CHANGE = re.compile(r"\s+(?=[A-Za-z_.]+=)")
"""White space between two changes; a value such as ``[0.9, 1.1]`` may hold some too."""


def top_n(text: str) -> int:
    """Read ``--top_n``: 0 leaves the number to the size of the cohort, and one score has no deviation.

    Args:
        text: the option's value.

    Returns:
        The number.

    Raises:
        argparse.ArgumentTypeError: if it is anything else.
    """
    if not text.isdecimal() or int(text) == 1:
        raise argparse.ArgumentTypeError(f"expected 0 or a whole number of at least 2, found {text!r}")
    return int(text)


def add_config(parser: Parser) -> None:
    """Add ``--config``, ``--loss`` and ``--set``."""
    parser.add_argument(
        "--config", type=Path, required=True, help="the system: a YAML file of conf/, or an experiment's config.yaml"
    )
    parser.add_argument("--loss", default="", help="name of a loss that replaces the configuration's")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="changes, as train.epochs=3")


def add_num_gpus(parser: Parser) -> None:
    """Add ``--num_gpus``."""
    parser.add_argument("--num_gpus", default="1", help="processes on this machine, or auto: one a GPU")


def add_processes(parser: Parser) -> None:
    """Add ``--num_gpus``, ``--nnodes`` and ``--rdzv``."""
    add_num_gpus(parser)
    parser.add_argument("--nnodes", type=at_least(1), default=1, help="machines that train together")
    parser.add_argument("--rdzv", default="", metavar="HOST:PORT", help="where several machines meet: one of them")


def read_config(options: Any) -> Config:
    """Load the configuration that the options name, every option of its parts spelt out; say what was not taken.

    Raises:
        ConfigError: naming the file, if it, a key, a value, the loss or another part is wrong.
    """
    if options.loss and options.loss not in LOSSES:
        raise ConfigError(f"--loss {clip(options.loss)}: no such loss; choose one of {', '.join(LOSSES)}")
    changes = [change for text in options.set for change in CHANGE.split(text.strip()) if change]
    config = load_config(options.config, changes, options.loss or None)
    full = resolve(config, origin(options.config, changes, options.loss))
    for remark in remarks(config, full):
        logger.info("%s", remark)
    return full
