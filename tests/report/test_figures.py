"""Pictures: they show the data given, with the same bytes each time."""

from __future__ import annotations

import re
from statistics import NormalDist
from xml.etree import ElementTree

import numpy as np
import pytest

from ham.report import figures
from ham.score.curves import Curves, summarise_scores


def curve(distance: float, backend: str = "cosine", num_trials: int = 2000) -> Curves:
    labels = np.arange(num_trials) % 2
    return summarise_scores(
        "mini/all", backend, np.random.default_rng(0).normal(size=num_trials) + distance * labels, labels
    )


def texts(svg: bytes) -> list[str]:
    return [
        "".join(element.itertext()) for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")
    ]


@pytest.mark.parametrize("distance", [0.0, 0.5, 2.0, 4.0, 50.0, -50.0])
@pytest.mark.parametrize("num_trials", [4, 2000])
def test_det_curve_of_any_quality(distance: float, num_trials: int) -> None:
    svg = figures.det({"cosine": curve(distance, num_trials=num_trials), "other": curve(1.0, num_trials=num_trials)})
    found = texts(svg)
    assert {"false alarms %", "misses %", "cosine", "other"} <= set(found)
    assert b"nan" not in svg.lower()


def test_det_axes_are_probit_and_hold_the_eer() -> None:
    """Places of the ticks and of the circle against the normal distribution's own quantiles."""
    svg = figures.det({"cosine": curve(4.0)}).decode()
    axis = svg[svg.index('id="matplotlib.axis_1"') : svg.index('id="matplotlib.axis_2"')]
    ticks = [(float(rate), float(x)) for x, rate in re.findall(r'x="([\d.]+)"[^>]*>([\d.]+)</text>', axis)]
    assert {0.1, 1, 5, 40} <= {rate for rate, _ in ticks}
    quantiles, places = [NormalDist().inv_cdf(rate / 100) for rate, _ in ticks], [x for _, x in ticks]
    slope, start = np.polyfit(quantiles, places, 1)
    assert places == pytest.approx([start + slope * quantile for quantile in quantiles], abs=0.01)
    circle = float(re.findall(r'<use [^>]*x="([\d.]+)"', svg)[-1])
    assert NormalDist().cdf((circle - start) / slope) == pytest.approx(NormalDist().cdf(-2), abs=0.01)


def test_histogram_names_both_classes_and_the_threshold() -> None:
    found = texts(figures.histogram(curve(3.0, "hyperbolic")))
    assert {"target", "non-target", "EER threshold", "score (hyperbolic)"} <= set(found)


def test_lines_have_a_legend_only_if_there_are_several() -> None:
    one, two = (
        figures.Line("first", [1, 2, 3], [3.0, 2.0, 1.0]),
        figures.Line("$second_", [1, 2], [0.1, 0.2], faint=True),
    )
    assert "first" not in texts(figures.lines([one], "epoch", "loss"))
    assert {"first", "$second_", "epoch", "loss"} <= set(texts(figures.lines([one, two], "epoch", "loss", log=True)))


def test_logarithmic_axis_has_plain_numbers() -> None:
    found = texts(figures.lines([figures.Line("lr", [1, 2, 3], [1e-3, 1e-4, 1e-5])], "epoch", "lr", log=True))
    assert {"0.001", "0.0001", "1e-05"} <= set(found)


def test_same_data_same_bytes() -> None:
    assert figures.histogram(curve(2.0)) == figures.histogram(curve(2.0))
    assert figures.det({"a": curve(2.0)}) == figures.det({"a": curve(2.0)})


def test_lines_differ_in_dash_as_well_as_in_colour() -> None:
    series = [figures.Line(str(at), [1, 2], [at, at]) for at in range(len(figures.SERIES))]
    svg = figures.lines(series, "x", "y").decode()
    dashes = set(re.findall(r"stroke-dasharray: ([^;\"]+)", svg))
    assert len(dashes) == len(figures.SERIES) - 1


def strokes(svg: bytes) -> set[str]:
    return set(re.findall(r"#[0-9a-f]{6}", svg.decode())) & set(figures.SERIES)


def test_a_name_keeps_its_look_where_others_are_missing() -> None:
    order = ["a", "b", "c"]
    assert strokes(figures.det({"c": curve(2.0)}, order=order)) == {figures.SERIES[2]}
    assert strokes(figures.lines([figures.Line("c", [1, 2], [1, 2], style=2)], "x", "y")) == {figures.SERIES[2]}


def test_many_long_names_make_the_picture_taller_not_the_plot_smaller() -> None:
    heights = []
    for names in (["a", "b"], [f"cosine+mean+as_norm+qmf_{at}" for at in range(12)]):
        svg = figures.det(dict.fromkeys(names, curve(2.0)))
        assert set(names) <= set(texts(svg))
        heights.append(float(re.search(rb'viewBox="0 0 \S+ (\S+)"', svg)[1]))  # type: ignore[index]
    assert heights[1] > heights[0] + 100


def test_small_histogram_has_no_legend() -> None:
    assert "target" not in texts(figures.histogram(curve(3.0), small=True))


def test_forest_shows_trainings_and_published_numbers_where_there_are_some() -> None:
    rows = [figures.Estimate("a", 2.0, 1.0, 3.0, (1.5, 2.5), 1.1), figures.Estimate("b", 2.0, 1.0, 3.0)]
    found = texts(figures.forest(rows, "EER %"))
    assert {"a", "b", "ours", "one training", "published", "EER %"} <= set(found)
    assert not {"ours", "one training", "published"} & set(texts(figures.forest(rows[1:], "EER %")))


def test_a_number_far_outside_is_written_at_the_border() -> None:
    rows = [figures.Estimate(name, 2.0, 1.0, 3.0, reference=1.5) for name in "abc"]
    assert figures.outliers(rows) == []
    rows.append(figures.Estimate("far", 41.38, 37.0, 45.0))
    assert figures.outliers(rows) == ["far"]
    found = texts(figures.forest(rows, "EER %"))
    assert "41.4 \N{RIGHTWARDS ARROW}" in found
    assert "40" not in found
