"""The table of measures of a known tree."""

from __future__ import annotations

from dataclasses import replace

from ham.report.hierarchy_table import hierarchy_table
from tests.analysis.test_hierarchy import measured


def test_the_table_has_a_row_an_experiment() -> None:
    one = measured()
    head, rows = hierarchy_table([one, replace(one, name="b", hyperbolic_radius=None)])
    assert [len(row) for row in rows] == [len(head)] * 2
    cells = dict(zip(head, rows[0], strict=True))
    assert cells["delta (Gaussian)"].endswith("(0.250)")
    assert cells["purity sex (chance)"].startswith("1.000 (0.")
    assert cells["norm at 0.5, 1, 2, full s"] == "1.12, 2.12, 3.12, 4.12"
    assert cells["hyperbolic radius at 0.5 s, full, 0 dB"] == "1.125, 4.125, 7.125"
    assert cells["centre radius 5, 50, 95 %"] == "0.100, 0.200, 0.300"
    assert [float(value) for value in cells["rank corr. sex, accent, speaker, session"].split(", ")] == [
        round(level.correlation.value, 3) for level in one.structure.levels.values()
    ]
    assert float(cells["effective rank"]) == round(one.structure.effective_rank, 1)
    assert (rows[1][0], rows[1][-3]) == ("b", "-")
    assert rows[0][-1] == "-"
    assert hierarchy_table([replace(one, heard=-0.5)])[1][0][-1] == "-0.50"
