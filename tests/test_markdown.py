"""Experiments side by side."""

from __future__ import annotations

import pytest

from ham.markdown import bullets, escape_markdown, fenced, markdown_table


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
