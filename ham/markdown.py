"""Pieces of Markdown from text that may hold anything: tables, lists, code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


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
