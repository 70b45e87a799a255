"""The page about the two claims of hyperbolic losses: what each comparison of a system with its control gives.

Takes the experiments that are there of the table `claims` (egs/<corpus>/conf/tables.yaml), prints the comparisons, and
with --page writes the results into a page, below its line `## Results`, with its figures beside it in `figures/`.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ham.cli import Parser, run
from ham.errors import ConfigError, DataError
from ham.files import lock_place, replacing, write_text
from ham.report.claims import Claims, measure_claims, read_comparisons
from ham.report.claims_page import HEADING, render
from ham.report.text_tables import text_table
from ham.schema import choose
from ham.score.results import decimals
from ham.score.trial_lists import rated_lists
from ham.sweep.tables import read_tables
from ham.train.experiment_name import default_name

USUAL = ("claims", "longer")
"""The tables whose rows are shown, those of them that there are."""


def main(argv: Sequence[str]) -> None:
    """Measure, and write the page.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    before = _kept(options.page) if options.page else ""
    folders = _folders(options)
    lists = rated_lists(options.data_dir, [options.root])
    lists.sort(key=lambda one: one.name != f"{options.root}/{options.tested}")
    comparisons = read_comparisons(options.comparisons)
    claims = measure_claims(folders, comparisons, lists, options.data_dir, options.root)
    if options.page:
        page = render(claims, shlex.join(["python", "-m", "ham.bin.claims", *argv]), "figures")
        with lock_place(options.page, "the claims"):
            for name, content in page.figures.items():
                with replacing(options.page.parent / "figures" / name) as part:
                    part.write_bytes(content)
            write_text(options.page, before + page.text)
    print(text_table(*_printed(claims)))


def _printed(claims: Claims) -> tuple[list[str], list[list[str]]]:
    rows = [
        [name, one.comparison.factor, decimals(one.value, 3, "+"), *(decimals(end, 3, "+") for end in one.interval)]
        for name, found in claims.effects.items()
        for one in found
    ]
    return ["measure", "factor", "difference", "low", "high"], rows


def _folders(options: Any) -> dict[str, list[Path]]:
    """By row of the table, the experiments that have been scored, each seed once."""
    _, tables = read_tables(options.tables, str(options.data_dir))
    found: dict[str, list[Path]] = {}
    for name in options.table:
        choose("--table", name, tables)
    for table in (tables[name] for name in options.table or USUAL if name in tables):
        for row in table.losses:
            names = [default_name(table.config, row, seed) for seed in options.seeds]
            places = [
                [root / name for root in options.exp_roots if (root / name / "results.json").exists()] for name in names
            ]
            found[row] = [there[0] for there in places if there]
    if not any(found.values()):
        roots = ", ".join(map(str, options.exp_roots))
        raise DataError(f"{roots}: expected scored experiments of the table, found none; run egs/mini/claims.sh")
    return found


def _kept(page: Path) -> str:
    """What stands above the results."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    before, heading, _ = text.partition(HEADING)
    if not heading:
        raise ConfigError(f"--page {page}: expected a page with the line {HEADING}, found none")
    return before


def _parser() -> Parser:
    parser = Parser(prog="python -m ham.bin.claims", description=__doc__)
    parser.add_argument("--data_dir", type=Path, required=True, help="egs/<corpus>/data, with <root>/speakers.tsv")
    parser.add_argument("--exp_roots", type=Path, nargs="+", required=True, help="folders of the experiments")
    parser.add_argument("--tables", type=Path, required=True, help="egs/<corpus>/conf/tables.yaml")
    parser.add_argument("--table", nargs="+", default=[], help="tables whose rows are shown; default: claims longer")
    parser.add_argument("--comparisons", type=Path, required=True, help="egs/<corpus>/conf/claims.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="seeds that are shown")
    parser.add_argument("--root", default="mini", help="corpus whose tree is known")
    parser.add_argument("--tested", default="hard", help="trial list whose EER is tested, the others stand beside")
    parser.add_argument("--page", type=Path, help="page to write the results into")
    return parser


if __name__ == "__main__":
    sys.exit(run(main))
