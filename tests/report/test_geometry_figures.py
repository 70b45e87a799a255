"""Pictures of the page about geometry: every point and leaf is there, the same bytes each time."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from ham.analysis.picture import MOST_LEAVES, Picture, ShownSpeaker, SpeakerTree
from ham.report import geometry_figures
from ham.report.figures import MUTED, SERIES

TREE = SpeakerTree(
    speakers=("a", "b", "c", "d"),
    labels=(("f", "x"), ("m", "x"), ("f", "y"), ("m", "y")),
    merges=((0, 2), (1, 4), (3, 5)),
    heights=(0.5, 0.8, 1.0),
    num_speakers=4,
    purity={},
)


def texts(svg: bytes) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(element.itertext()) for element in root.iter() if element.tag.endswith("}text")]


def picture(kind: str, num_speakers: int = 3, size: float = 0.3) -> Picture:
    speakers = tuple(
        ShownSpeaker(f"s{at}", (), ("u", "v"), ((size, 0.1 * at), (0.0, -size)), 0.1, "s0", 0.2)
        for at in range(num_speakers)
    )
    return Picture(kind, 1.0, 0.5, 0.5, 0.5, speakers, (0.01, 0.02) if kind == "disk" else None)


@pytest.mark.parametrize("whole", [True, False])
def test_disk_names_speakers_circles_and_origin(whole: bool) -> None:
    svg = geometry_figures.disk(picture("disk"), ["first", "$second_", "third"], whole=whole)
    found = texts(svg)
    assert {"first", "$second_", "third", "origin of the ball", "0.5"} <= set(found)
    assert svg == geometry_figures.disk(picture("disk"), ["first", "$second_", "third"], whole=whole)
    assert b"nan" not in svg.lower()


def test_plane_has_axes_and_no_circles() -> None:
    found = texts(geometry_figures.disk(picture("plane"), ["a", "b", "c"]))
    assert "origin of the ball" not in found
    assert "0.0" in found


def test_speakers_differ_in_colour_or_shape() -> None:
    many = picture("disk", 66).speakers
    assert len(set(geometry_figures.marks(many))) == 66
    for first, second in pairwise(geometry_figures.marks(many[:12])):
        assert first[0] != second[0]
        assert first[1] != second[1]


def test_colour_says_the_sex_as_in_the_tree() -> None:
    many = [replace(one, labels=("fm"[at % 2], "x")) for at, one in enumerate(picture("disk", 44).speakers)]
    found = geometry_figures.marks(many)
    assert len(set(found)) == 44
    assert [colour for colour, _ in found[:22]] == [SERIES[0], SERIES[1]] * 11
    svg = geometry_figures.disk(replace(picture("disk"), speakers=tuple(many[:3])), ["a", "b", "c"])
    assert {SERIES[0], SERIES[1]} == {colour for colour in SERIES if colour.encode() in svg}


def test_without_names_there_is_no_legend() -> None:
    found = texts(geometry_figures.disk(picture("disk")))
    assert "0.5" in found
    assert "origin of the ball" not in found


def test_long_names_get_a_line_each() -> None:
    short, long = (
        geometry_figures.disk(picture("disk"), [letter * count for letter in "abc"]) for count in (5, 40) for _ in "x"
    )
    heights = [float(re.search(rb'viewBox="0 0 \S+ ([\d.]+)"', svg)[1]) for svg in (short, long)]  # type: ignore[index]
    assert heights[1] > heights[0]


def test_reach_is_the_farthest_point() -> None:
    assert geometry_figures.reach(picture("disk", 1, 0.4)) == pytest.approx(0.4)


def test_points_that_all_coincide_can_be_drawn() -> None:
    assert b"nan" not in geometry_figures.disk(picture("plane", 2, 0.0), ["a", "b"]).lower()


def test_dendrogram_names_every_leaf_in_an_order_without_crossings() -> None:
    assert geometry_figures.leaf_order(TREE) == [3, 1, 0, 2]
    svg = geometry_figures.dendrogram(TREE, ["leaf a", "leaf b", "leaf c", "leaf d"])
    found = [text for text in texts(svg) if text.startswith("leaf")]
    assert sorted(found) == ["leaf a", "leaf b", "leaf c", "leaf d"]
    assert svg == geometry_figures.dendrogram(TREE, ["leaf a", "leaf b", "leaf c", "leaf d"])


def test_a_branch_joins_its_own_two_and_has_the_colour_of_what_hangs_below() -> None:
    svg = geometry_figures.dendrogram(TREE, list("abcd")).decode()
    group = svg[svg.index('id="LineCollection_1"') :]
    found = re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: none; stroke: ([^";]*)', group)[:3]
    assert [colour for _, colour in found] == [SERIES[0], MUTED, MUTED]
    inner, middle, outer = (np.array(re.findall(r"([\d.]+) ([\d.]+)", path), dtype=float) for path, _ in found)
    for branch, joined in ((middle, inner), (outer, middle)):  # each joins a leaf, at height 0, and the one before
        assert branch[0, 0] == inner[0, 0]
        assert branch[3] == pytest.approx([joined[1, 0], joined[[1, 2], 1].mean()], abs=1e-4)
    zero, half, full = inner[0, 0], inner[1, 0], outer[1, 0]
    assert (half - zero) / (full - zero) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("num_leaves", [2, MOST_LEAVES])
def test_trees_without_labels_of_any_size(num_leaves: int) -> None:
    names = tuple(f"speaker{at}" for at in range(num_leaves))
    merges = tuple((0 if at == 0 else num_leaves + at - 1, at + 1) for at in range(num_leaves - 1))
    tree = SpeakerTree(names, ((),) * num_leaves, merges, tuple(float(at + 1) for at in range(num_leaves - 1)), 9, {})
    assert set(names) <= set(texts(geometry_figures.dendrogram(tree, names)))


def test_bands_name_their_conditions() -> None:
    values = {"p05": 1.0, "p25": 2.0, "p50": 3.0, "p75": 4.0, "p95": 5.0}
    found = texts(geometry_figures.bands({"0.5 s": values, "full": values}, "duration", "norm"))
    assert {"0.5 s", "full", "duration", "norm"} <= set(found)
