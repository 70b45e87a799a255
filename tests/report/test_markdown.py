"""Experiments side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ham.errors import DataError
from ham.report.markdown import comparison, markdown_table
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
    assert markdown_table(head, rows).splitlines()[1] == "| --- | ---: | ---: |"


def test_different_lists_are_not_compared() -> None:
    with pytest.raises(DataError, match="b: mini/all has 11 target"):
        comparison([results("a", ROW), results("b", replace(ROW, num_target=11))])
