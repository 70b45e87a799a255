"""Measure how trained systems show a known tree (sex, accent, speaker, session), and what their radii follow.

For the synthetic corpus `mini` and others that bring speakers.tsv and sessions.tsv. Writes hierarchy.json into every
experiment and prints one table, in which experiments of the same name (several seeds) share a row.
"""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ham.analysis.hierarchy import measure_hierarchy, write_hierarchy
from ham.analysis.labels import read_counts, read_leaves
from ham.cli import Parser, run
from ham.data.store import ArrayStore
from ham.embeddings.table import read_embeddings
from ham.markdown import markdown_table
from ham.model.encoder import SpeakerEncoder
from ham.report.hierarchy_table import hierarchy_table

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    """Measure experiments.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    leaves = read_leaves(options.data_dir, options.root)
    counts = read_counts(options.data_dir)
    store = ArrayStore(options.data_dir / "store" / "test")
    systems = [  # all, before the first is measured
        (read_embeddings(folder / "embeddings.npz"), SpeakerEncoder.load(folder, options.device))
        for folder in options.exp_dirs
    ]
    found = []
    for table, encoder in systems:
        started = time.perf_counter()
        found.append(measure_hierarchy(encoder, table, leaves, store, _command(options, encoder.folder), counts))
        write_hierarchy(encoder.folder / "hierarchy.json", found[-1])
        logger.info("%s/hierarchy.json: measured in %.1f s", encoder.folder, time.perf_counter() - started)
    print(*markdown_table(*hierarchy_table(found)), sep="\n")


def _parser() -> Parser:
    parser = Parser(prog="python -m ham.bin.hierarchy", description=__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="egs/<corpus>/data, with <root>/speakers.tsv")
    parser.add_argument("--exp_dirs", type=Path, nargs="+", required=True, help="experiments with embeddings.npz")
    parser.add_argument("--root", default="mini", help="corpus whose tree is known: its test lists are measured")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser


def _command(options: Any, folder: Path) -> str:
    """The command for this experiment alone: what else was measured in the same run changes nothing."""
    place = ["--data_dir", str(options.data_dir), "--exp_dirs", str(folder), "--root", options.root]
    return shlex.join(["python", "-m", "ham.bin.hierarchy", *place])


if __name__ == "__main__":
    sys.exit(run(main))
