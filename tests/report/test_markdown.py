"""Experiments side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ham.errors import DataError
from ham.report.markdown import bullets, comparison, escape_markdown, fenced, markdown_table
from ham.score.results import ListResult, Results

ROW = ListResult("mini/all", "cosine", 10, 30, 0.0123, 0.01, 0.0156, 0.2, 0.1)


def results(name: str, *rows: ListResult) -> Results:
    return Results(name, 1, None, {}, "./run.sh", rows)


def test_columns_are_lists_and_backends_rows_are_experiments() -> None:
    a = results("a", ROW, replace(ROW, backend="hyperbolic", eer=0.5, eer_high=0.6))
    head, rows = comparison([a, results("b", replace(ROW, eer=0.02))])
    assert head == ["experiment", "mini/all cosine", "mini/all hyperbolic"]
    assert rows[0] == ["a", "1.23 [1.00, 1.56] / 0.200", "50.00 [1.00, 60.00] / 0.200"]
    assert rows[1] == ["b", "2.00 [1.00, 1.56] / 0.200", "-"]


def test_different_lists_are_not_compared() -> None:
    with pytest.raises(DataError, match="b: mini/all has 11 target"):
        comparison([results("a", ROW), results("b", replace(ROW, num_target=11))])


def test_a_table_is_escaped_and_sets_numbers_to_the_right() -> None:
    assert markdown_table(["a", "b|c", "d"], [["x_", "1 [0, 2]", "3"]], num_left=2) == [
        "| a | b\\|c | d |",
        "| --- | --- | ---: |",
        "| x\\_ | 1 \\[0, 2\\] | 3 |",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dev_test_hard", "dev_test_hard"),
        ("_x_", "\\_x\\_"),
        ("<script>&`*|[a](b)", "\\<script\\>\\&\\`\\*\\|\\[a\\](b)"),
        ("two\nlines  here", "two lines here"),
    ],
)
def test_escape_markdown(text: str, expected: str) -> None:
    assert escape_markdown(text) == expected


def test_bullets_are_escaped() -> None:
    assert bullets(["a", "b\n- <c>"]) == ["- a", "- b - \\<c\\>"]


def test_text_cannot_leave_its_block() -> None:
    assert fenced("echo '```' && echo\n# heading") == ["````sh", "echo '```' && echo", "# heading", "````"]
