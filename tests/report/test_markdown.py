"""Tables in Markdown."""

from __future__ import annotations

from ham.report.markdown import markdown_table


def test_numbers_stand_to_the_right() -> None:
    assert markdown_table(["system", "x/all"], [["a", "1.23"]]).splitlines() == [
        "| system | x/all |",
        "| --- | ---: |",
        "| a | 1.23 |",
    ]
