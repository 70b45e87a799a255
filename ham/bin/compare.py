"""Experiments in tables: a row a system, a column a trial list, intervals, differences, published numbers beside.

A system is the folder of an experiment, or `NAME=FOLDER[,FOLDER...]`, the folders being those of the same system
trained with several seeds. Prints the tables and, with --out, writes RESULTS.md, table.html and table.tex.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ham.cli import Parser, run
from ham.errors import ConfigError, DataError
from ham.files import lock_place, write_text
from ham.losses import LOSSES
from ham.report import comparison_page
from ham.report.comparison import Comparison, cells_of, latex, markdown, without_repeats
from ham.report.published import Published, read_published
from ham.report.systems import PROTOCOL, build_tables, read_systems
from ham.report.text_tables import text_table
from ham.score.trial_lists import rated_lists
from ham.train.experiment_name import FINETUNED


def main(argv: Sequence[str]) -> None:
    """Make the tables.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    folders = parse_systems(options.systems)
    reference = options.reference or next(iter(folders))
    if reference not in folders:
        raise ConfigError(f"--reference: expected one of {', '.join(folders)}, found '{reference}'")
    published = _read_published(options, folders)
    lists = rated_lists(options.data_dir or _data_beside(folders), options.test_sets)
    systems = read_systems(folders)
    tables, repeated = without_repeats(
        build_tables(systems, lists, options.backends, published, reference, options.reference_backends)
    )
    comparison = Comparison(
        title=options.title,
        tables=tables,
        repeated=repeated,
        systems={name: tuple(trainings.values()) for name, trainings in systems.items()},
        reference=reference,
        command=shlex.join(["python", "-m", "ham.bin.compare", *argv]),
        published_from=f"{options.published}, {options.published_config}" if options.published else "",
    )
    files = {"RESULTS.md": markdown, "table.html": comparison_page.render, "table.tex": latex} if options.out else {}
    if options.out:
        with lock_place(options.out, "a comparison"):
            for name, render in files.items():
                write_text(options.out / name, render(comparison))
    for table in comparison.tables:
        for title, cells in cells_of(table, reference).items():
            print(f"{table.title}: {title}\n{text_table(*cells)}\n")
    for name in files:
        print(options.out / name)


def _parser() -> Parser:
    parser = Parser(prog="python -m ham.bin.compare", description=__doc__)
    parser.add_argument("--systems", nargs="+", required=True, metavar="SYSTEM", help="scored experiments, see above")
    parser.add_argument(
        "--data_dir", type=Path, help="its test/<root>/<list> are shown; else data beside the experiments' folder"
    )
    parser.add_argument("--reference", default="", help="system that the others are compared with; else the first")
    parser.add_argument(
        "--reference_backends", nargs="+", default=[],
        help="compare every table with the reference scored by each of these as well",
    )  # fmt: skip
    parser.add_argument("--test_sets", nargs="+", default=["all"], help="lists (<root>/<list>), roots, or all")
    parser.add_argument(
        "--backends", nargs="+", default=["cosine"],
        help=f"a table each: cosine, cosine+as_norm, ..., all; {PROTOCOL}: for each list that of its published numbers",
    )  # fmt: skip
    parser.add_argument("--published", type=Path, help="file of published numbers: egs/<corpus>/conf/published.yaml")
    parser.add_argument(
        "--published_config",
        default="",
        help="configuration whose published numbers are shown, those of fine-tuned systems beside <loss>_lm",
    )
    parser.add_argument("--title", default="Systems compared", help="heading of the files")
    parser.add_argument("--out", type=Path, help="folder for RESULTS.md, table.html and table.tex")
    return parser


def parse_systems(words: Sequence[str]) -> dict[str, list[Path]]:
    """Read the systems.

    Args:
        words: ``FOLDER`` or ``NAME=FOLDER[,FOLDER...]`` each.

    Returns:
        The experiments' folders by name; a folder without a name has its own.

    Raises:
        ConfigError: if a word has another form, or a name or a folder of a system stands twice.
    """
    systems: dict[str, list[Path]] = {}
    for word in words:
        name, equals, listed = word.partition("=")
        members = [Path(folder) for folder in listed.split(",") if folder] if equals else [Path(word)]
        if not name or (equals and len(members) <= listed.count(",")):
            raise ConfigError(f"--systems: expected FOLDER or NAME=FOLDER,FOLDER, found '{word}'")
        name = name if equals else members[0].resolve().name
        if len({folder.resolve() for folder in members}) < len(members):
            raise ConfigError(f"--systems: {name}: expected different experiments, found one of them twice")
        if name in systems:
            raise ConfigError(f"--systems: expected different names, found '{name}' twice; write NAME=FOLDER")
        systems[name] = members
    return systems


def _data_beside(folders: Mapping[str, Sequence[Path]]) -> Path:
    """``egs/<corpus>/data`` for experiments in ``egs/<corpus>/exp``."""
    return next(iter(folders.values()))[0].resolve().parents[1] / "data"


def _read_published(options: Any, systems: Iterable[str]) -> list[Published]:
    if bool(options.published) != bool(options.published_config):
        raise ConfigError("--published and --published_config: expected both or neither, found one of them")
    if not options.published:
        return []
    every = read_published(options.published)
    names = list(dict.fromkeys(entry.config for entry in every))
    if options.published_config not in names:
        choices = f"one of {', '.join(names) or 'none'} ({options.published})"
        raise ConfigError(f"--published_config: expected {choices}, found '{options.published_config}'")
    if strange := sorted({entry.system for entry in every} - {*LOSSES, *systems}):
        place = f"{options.published}: system {strange[0]}"
        raise DataError(f"{place}: expected a loss ({', '.join(LOSSES)}) or a system of the table, found neither")
    ours = [entry for entry in every if entry.config == options.published_config]
    tuned = [replace(entry, system=entry.system + FINETUNED) for entry in ours if entry.finetuned]
    return [*(entry for entry in ours if not entry.finetuned), *(entry for entry in tuned if entry.system in systems)]


if __name__ == "__main__":
    sys.exit(run(main))
