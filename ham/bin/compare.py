"""Print several experiments as one Markdown table: EER % [95 % interval] / minDCF at 0.01."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ham.cli import Parser, run
from ham.report.markdown import comparison, markdown_table
from ham.score.results import read_results


def main(argv: Sequence[str]) -> None:
    """Read each experiment's results.json and print the table.

    Args:
        argv: the arguments without the command's name.
    """
    parser = Parser(prog="python -m ham.bin.compare", description=__doc__)
    parser.add_argument("--exp_dirs", type=Path, nargs="+", required=True, help="experiments with results.json")
    folders = parser.parse_args(argv).exp_dirs
    print(*markdown_table(*comparison([read_results(folder / "results.json") for folder in folders])), sep="\n")


if __name__ == "__main__":
    sys.exit(run(main))
