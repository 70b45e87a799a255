"""The table of an experiment as text: columns where they are needed, aligned in a terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ham.report.text_tables import PUBLISHED_RULE, merged, row_names, rules_differ, table, text_table
from ham.score.results import ListResult

ROW = ListResult("mini/all", "cosine", 1200, 34_000, 0.01984, 0.0151, 0.02409, 0.1234, 0.0567)


def test_table_is_in_per_cent_and_aligned() -> None:
    head, (row,) = table([ROW])
    assert head == ["list", "back-end", "EER % [95 %]", "minDCF 0.01", "minDCF 0.05", "targets", "non-targets"]
    assert row == ["mini/all", "cosine", "1.98 [1.51, 2.41]", "0.123", "0.057", "1,200", "34,000"]
    lines = text_table(head, [row, ["a", *row[1:]]]).splitlines()
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert lines[3].startswith("a        ")


def test_columns_that_no_row_needs_are_left_out() -> None:
    plain = replace(ROW, eer_published=0.01983, min_cllr=0.0712)
    head, (row,) = table([plain])
    assert (PUBLISHED_RULE in head, "Cllr" in head, row[head.index("minCllr")]) == (False, False, "0.071")
    calibrated = replace(plain, backend="cosine+llr", eer_published=0.0199, act_dcf_p01=0.2, act_dcf_p05=0.1, cllr=0.08)
    head, (first, second) = table([plain, calibrated])
    assert head[3:10] == [
        PUBLISHED_RULE, "minDCF 0.01", "minDCF 0.05", "actDCF 0.01", "actDCF 0.05", "Cllr", "minCllr"
    ]  # fmt: skip
    assert (first[3], second[3]) == ("1.98", "1.99")
    assert first[6:9] == ["-", "-", "-"]
    assert second[6:9] == ["0.200", "0.100", "0.080"]


def test_cosine_and_hyperbolic_share_a_row_where_nothing_tells_them_apart() -> None:
    twin, normed = replace(ROW, backend="hyperbolic"), replace(ROW, backend="hyperbolic+as_norm")
    _, rows = table([ROW, twin, normed, replace(ROW, trial_list="mini/hard")])
    names = [("mini/all", "cosine, hyperbolic"), ("mini/all", "hyperbolic+as_norm"), ("mini/hard", "cosine")]
    assert [(row[0], row[1]) for row in rows] == names
    assert rows[0][2:] == table([ROW])[1][0][2:]
    for other in (replace(twin, min_cllr=0.1), replace(twin, eer=None), replace(ROW, backend="cosine+mean")):
        assert len(merged([ROW, other])) == 2
    perfect = replace(ROW, eer=0.0)
    assert len(merged([perfect, replace(perfect, backend="hyperbolic")])) == 2
    assert row_names([ROW, twin])["mini/all", "hyperbolic"] == "cosine, hyperbolic"


def test_without_targets_or_non_targets_there_is_no_rate() -> None:
    _, (row,) = table([ListResult("mini/all", "cosine", 0, 30)])
    assert row == ["mini/all", "cosine", "-", "-", "-", "0", "30"]


@pytest.mark.parametrize(("published", "found"), [(None, False), (0.01983, False), (0.0199, True)])
def test_rules_differ_where_a_printed_digit_does(published: float | None, found: bool) -> None:
    assert rules_differ(replace(ROW, eer_published=published)) is found
