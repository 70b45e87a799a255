"""Pieces of Markdown from text that may hold anything: tables, lists, code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ham.errors import DataError
from ham.score.results import ListResult, Results, decimals, per_cent


def comparison(experiments: Sequence[Results]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table: EER in per cent with its 95 % interval, and minDCF at 0.01.

    Args:
        experiments: at least one, all scored on the same lists with the same numbers of trials.

    Returns:
        The head, and a row for each experiment; ``-`` where an experiment lacks a back-end, or the list non-targets.

    Raises:
        DataError: if two experiments were scored on different trials.
    """
    counts: dict[str, tuple[int, int]] = {}
    columns: dict[tuple[str, str], None] = {}
    for experiment in experiments:
        for result in experiment.results:
            count = (result.num_target, result.num_nontarget)
            if counts.setdefault(result.trial_list, count) != count:
                raise DataError(
                    f"{experiment.name}: {result.trial_list} has {count[0]} target and {count[1]} non-target trials, "
                    f"but {counts[result.trial_list]} in {experiments[0].name}; score both on the same list"
                )
            columns[result.trial_list, result.backend] = None
    head = ["experiment", *(f"{trial_list} {backend}" for trial_list, backend in columns)]
    rows = []
    for experiment in experiments:
        found = {(result.trial_list, result.backend): result for result in experiment.results}
        rows.append([experiment.name, *(_cell(found.get(column)) for column in columns)])
    return head, rows


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], *, num_left: int = 1) -> list[str]:
    """Lines of a Markdown table; its cells are escaped.

    Args:
        head: heads of the columns.
        rows: as many cells each.
        num_left: number of columns set to the left, the first ones; numbers go to the right.

    Returns:
        One line for the head, one for the rule, one for each row.
    """
    rule = ["---"] * num_left + ["---:"] * (len(head) - num_left)
    escaped = [[escape_markdown(cell) for cell in row] for row in (head, *rows)]
    return ["| " + " | ".join(row) + " |" for row in (escaped[0], rule, *escaped[1:])]


def escape_markdown(text: str) -> str:
    """Escape whatever Markdown or HTML within it would interpret; an underscore within a word is left alone.

    Args:
        text: any text.

    Returns:
        One line that Markdown shows as ``text``.
    """
    one_line = " ".join(text.split())
    escaped = re.sub(r"([\\`*{}\[\]<>|#&~$])", r"\\\1", one_line)
    return re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", escaped)


def bullets(sentences: Iterable[str]) -> list[str]:
    """Lines of a list in Markdown.

    Args:
        sentences: any texts; they are escaped.

    Returns:
        One line for each.
    """
    return [f"- {escape_markdown(sentence)}" for sentence in sentences]


def fenced(text: str) -> list[str]:
    """Lines of a block of shell commands; its fence is longer than any run of backticks in it.

    Args:
        text: any text.

    Returns:
        The lines of the text between those of the fence.
    """
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
    return [f"{fence}sh", *text.splitlines(), fence]


def _cell(result: ListResult | None) -> str:
    """EER, interval and minDCF in one cell."""
    if result is None or result.eer is None:
        return "-"
    eer, low, high = map(per_cent, (result.eer, result.eer_low, result.eer_high))
    return f"{eer} [{low}, {high}] / {decimals(result.min_dcf_p01, 3)}"
