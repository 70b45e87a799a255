"""Tables for LaTeX: a plain ``tabular`` with the rules of the package booktabs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SPECIAL = str.maketrans(
    {
        **{character: f"\\{character}" for character in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)


def escape_latex(text: str) -> str:
    """Escape whatever LaTeX would interpret.

    Args:
        text: any text.

    Returns:
        One line that LaTeX sets as ``text``.
    """
    return " ".join(text.split()).translate(_SPECIAL)


def latex_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a ``tabular``: the first column to the left, the others to the right.

    Args:
        head: heads of the columns.
        rows: as many cells each.

    Returns:
        One line for the head, one a row, and the rules; the cells are escaped. A row never begins with a bracket, which
        LaTeX would take for an argument of the line end before it.
    """
    first, *others = [" & ".join(_cell(cell) for cell in row) + r" \\" for row in (head, *rows)]
    columns = "l" + "r" * (len(head) - 1)
    rules = rf"\begin{{tabular}}{{{columns}}}", r"\toprule", r"\midrule", r"\bottomrule", r"\end{tabular}"
    return [*rules[:2], first, rules[2], *others, *rules[3:]]


def _cell(text: str) -> str:
    """A cell, its minus signs as those of mathematics."""
    shown = re.sub(r"(?<![^\s\[(])-(?=\d)", "$-$", escape_latex(text))
    return f"{{{shown}}}" if text.lstrip().startswith(("[", "*")) else shown
