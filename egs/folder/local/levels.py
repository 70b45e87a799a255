"""Levels of real speech: sex, language, speaker and session of roots whose speakers.tsv tells sex and language.

Prints a row an experiment and level: the rank correlation of the level with its 95 % interval over speakers, the purity
with its chance, p, and the difference of the rank correlation to the first experiment. The two sexes of two languages
part in three ways only, so that the p of the level sex says nothing there; a language that is one root cannot be told
from its microphones. Definitions: docs/claims.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ham.analysis.labels import read_tsv
from ham.analysis.levels import level_errors, measure_levels
from ham.analysis.tree import Leaf
from ham.cli import Parser, run
from ham.embeddings.table import read_embeddings
from ham.errors import DataError
from ham.report.claims import CORRELATION, shown, shown_difference
from ham.report.text_tables import text_table
from ham.score.seeds import summarise

SEXES = ("sex", "sex_estimated")


def main(argv: Sequence[str]) -> None:
    """Measure experiments.

    Args:
        argv: the arguments without the command's name.
    """
    parser = Parser(prog="levels.py", description=__doc__)
    parser.add_argument("--roots", type=Path, nargs="+", required=True, help="folders with speakers.tsv")
    parser.add_argument("--exp_dirs", type=Path, nargs="+", required=True, help="experiments with embeddings.npz")
    options = parser.parse_args(argv)
    speakers = {name: known for root in options.roots for name, known in read_speakers(root).items()}
    tables = {folder.name: read_embeddings(folder / "embeddings.npz") for folder in options.exp_dirs}
    leaves = {name: [leaf_of(utt, speakers) for utt in table.utts] for name, table in tables.items()}
    levels = {name: measure_levels(table.embeddings, leaves[name]) for name, table in tables.items()}
    errors = {name: level_errors(table.embeddings, leaves[name]) for name, table in tables.items()}
    rows = []
    for level in next(iter(levels.values())):
        for one in summarise({name: [found[level]] for name, found in errors.items()}, next(iter(errors))):
            found = levels[one.system][level]
            value, low, high = shown(CORRELATION, one)
            minus = "-"
            if one.difference is not None:
                minus = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*shown_difference(CORRELATION, one.difference))
            cells = [f"{value:.3f} [{low:.3f}, {high:.3f}]", f"{found.correlation.p:.3f}"]
            cells += [f"{found.purity.value:.3f} ({found.purity.chance:.3f})", f"{found.purity.p:.3f}", minus]
            rows.append([level.replace("accent", "language"), one.system, *cells])
    print(text_table(["level", "experiment", "rank correlation", "p", "purity (chance)", "p", "minus first"], rows))


def read_speakers(root: Path) -> dict[str, tuple[str, str]]:
    """Sex and language of the speakers of a root, by the names that the recipe gives them.

    Args:
        root: its folder.

    Returns:
        By ``<root>-<speaker>``.

    Raises:
        DataError: if the file is missing, or a speaker's sex or language.
    """
    path = root / "speakers.tsv"
    found = {}
    for number, row in enumerate(read_tsv(path, ["language"]), 2):
        sex = next((row[name] for name in SEXES if row.get(name)), None)
        if sex is None:
            raise DataError(f"{path}:{number}: expected a value for {' or '.join(SEXES)}, found none")
        found[f"{root.name}-{row['speaker']}"] = (sex, row["language"])
    return found


def leaf_of(utt: str, speakers: dict[str, tuple[str, str]]) -> Leaf:
    """Where an utterance called ``<root>-<speaker>-<session>-...`` hangs.

    Args:
        utt: its name.
        speakers: as :func:`read_speakers` gives them.

    Returns:
        Sex, language, speaker and session.

    Raises:
        DataError: if no speaker has such utterances.
    """
    for name, (sex, language) in speakers.items():
        if utt.startswith(f"{name}-"):
            return Leaf(sex, language, name, utt.removeprefix(f"{name}-").split("-")[0])
    raise DataError(f"--roots: expected the speaker of {utt} in a speakers.tsv, found none; name its root too")


if __name__ == "__main__":
    sys.exit(run(main))
