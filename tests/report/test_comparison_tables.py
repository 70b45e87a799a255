"""Tables of systems: what each cell says, computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ham.report.comparison_tables import Column, Entry, Table, cost_table, difference_table, eer_table, published_digits
from ham.report.published import Published
from ham.report.text_tables import PUBLISHED_RULE
from ham.score.intervals import Estimate, Interval
from ham.score.results import ListResult
from ham.score.seeds import Difference, SeedSummary


def result(eer: float, backend: str = "cosine") -> ListResult:
    return ListResult("x/all", backend, 10, 90, eer, eer, eer, 10 * eer, 5 * eer)


@pytest.fixture
def table() -> Table:
    published = Published("c", "b", "x/all", "cosine", 0.01048, 0.119, None, "a log", True, False)
    difference = Difference(0.004, Interval(0.001, 0.0071), Estimate(1.0, 1))
    entries = {
        "a": Entry(SeedSummary("a", (0.02,), Interval(0.01, 0.03), None, 48), (result(0.02),)),
        "b": Entry(
            SeedSummary("b", (0.02, 0.028), Interval(0.011, 0.034), difference, 48),
            (result(0.02), result(0.028)),
            published,
        ),
    }
    hard = {"a": Entry(SeedSummary("a", (0.04,), Interval(0.03, 0.05), None, 48), (result(0.04),))}
    return Table("cosine", "a", (Column("x/all", "cosine", entries), Column("x/hard", "cosine", hard)))


def test_ours_published_and_the_difference_in_points(table: Table) -> None:
    assert eer_table(table) == (
        ["system", "x/all", "published", "minus published", "x/hard"],
        [
            ["a", "2.00 [1.00, 3.00]", "-", "-", "4.00 [3.00, 5.00]"],
            ["b", "2.40 [1.10, 3.40] (2.00 to 2.80)", "1.048", "+1.35", "-"],
        ],
    )


def test_the_difference_to_the_reference(table: Table) -> None:
    assert difference_table(table) == (["system", "x/all", "x/hard"], [["b", "+0.40 [+0.10, +0.71]", "-"]])
    assert difference_table(replace(table, columns=table.columns[1:])) is None


def test_a_difference_that_rounds_to_zero_has_no_minus(table: Table) -> None:
    entry = table.columns[0].entries["b"]
    none = Difference(-0.00001, Interval(-0.00004, 0.00002), Estimate(1.0, 1))
    same = replace(entry, summary=replace(entry.summary, difference=none))
    columns = (replace(table.columns[0], entries={**table.columns[0].entries, "b": same}),)
    found = difference_table(replace(table, columns=columns))
    assert found is not None
    assert found[1] == [["b", "+0.00 [+0.00, +0.00]"]]


def test_costs_are_means_over_the_trainings(table: Table) -> None:
    head, rows = cost_table(table)
    assert head == ["system", "x/all minDCF", "published minDCF", "x/hard minDCF"]
    assert rows == [["a", "0.200 / 0.100", "-", "0.400 / 0.200"], ["b", "0.240 / 0.120", "0.119 / -", "-"]]


def test_actual_costs_stand_where_scores_are_calibrated(table: Table) -> None:
    entry = table.columns[0].entries["a"]
    known = replace(entry.results[0], act_dcf_p01=0.3, act_dcf_p05=0.2, cllr=0.15, min_cllr=0.1)
    calibrated = Column("x/all", "cosine+llr", {"a": replace(entry, results=(known, known))})
    head, (row,) = cost_table(replace(table, columns=(calibrated,)))
    assert head[2:] == ["x/all actDCF", "x/all Cllr / minCllr"]
    assert row[2:] == ["0.300 / 0.200", "0.150 / 0.100"]


@pytest.mark.parametrize(("rule", "shown"), [(0.0200001, False), (0.0205, True), (None, False)])
def test_the_published_rule_is_shown_where_it_differs(table: Table, rule: float | None, shown: bool) -> None:
    entry = table.columns[0].entries["a"]
    other = replace(entry, results=(replace(entry.results[0], eer_published=rule),))
    head, (row,) = eer_table(replace(table, columns=(Column("x/all", "cosine", {"a": other}),)))
    assert (PUBLISHED_RULE in head) is shown
    assert ("2.05" in row) is shown


def test_a_heading_names_the_back_end_where_lists_differ(table: Table) -> None:
    first, second = table.columns
    mixed = replace(table, columns=(first, replace(second, backend="cosine+crops")))
    assert [mixed.heading(column) for column in mixed.columns] == ["x/all (cosine)", "x/hard (cosine+crops)"]
    assert table.heading(first) == "x/all"
    assert table.systems == ["a", "b"]


@pytest.mark.parametrize(("rate", "text"), [(0.01048, "1.048"), (0.0087, "0.87"), (0.02, "2.00"), (0.00957, "0.957")])
def test_published_numbers_keep_their_digits(rate: float, text: str) -> None:
    assert published_digits(rate) == text
