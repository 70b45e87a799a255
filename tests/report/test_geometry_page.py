"""The page about geometry: well formed, self-contained, escaped, with words for every picture."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ham.analysis.picture import Geometry
from ham.report import geometry_page
from ham.report.geometry_figures import reach
from tests.analysis.test_picture import LABELS, whole
from tests.report.test_experiment_page import Checker


@pytest.fixture(scope="module")
def disk() -> Geometry:
    return whole(LABELS)


@pytest.fixture(scope="module")
def plane() -> Geometry:
    return whole({}, "softmax")


def test_page_is_well_formed_and_self_contained(disk: Geometry, plane: Geometry) -> None:
    for geometry in (disk, plane):
        text = geometry_page.render(geometry)
        checker = Checker(text)
        assert checker.open == []
        assert not {tag for tag, _ in checker.elements} & {"script", "link", "img", "iframe", "object", "base"}
        assert "http" not in text
        assert not re.search(r"@import|src=|url\((?!#)", text)
        assert "<b>made up" not in text
        assert checker.text.count("<b>made up</b>") == 2
        assert "nan" not in checker.text.lower().split()


def test_every_picture_has_words_and_every_id_is_there_once(disk: Geometry) -> None:
    elements = Checker(geometry_page.render(disk)).elements
    pictures = [attrs for tag, attrs in elements if tag == "svg"]
    # the disk (enlarged as well, where the points are near its middle), tree, norm against two things, centres
    enlarged = reach(disk.picture) < geometry_page.ENLARGED_BELOW
    assert len(pictures) == 5 + enlarged == sum(tag == "figcaption" for tag, _ in elements)
    for attrs in pictures:
        assert attrs["role"] == "img"
        assert len(attrs["aria-label"] or "") > 30
    ids = [attrs["id"] for _, attrs in elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in elements:
        for target in re.findall(r"url\(#([^)]+)\)", " ".join(filter(None, attrs.values()))):
            assert target in ids


def test_numbers_are_on_the_page(disk: Geometry) -> None:
    text = Checker(geometry_page.render(disk)).text
    for value in (disk.delta.value, disk.delta.gaussian, disk.tree.purity["sex"].value, *disk.tree.heights):
        assert f"{value:.3f}" in text
    assert f"{100 * disk.picture.explained:.0f} % of the mean sinh²" in text
    assert f"{disk.radii['norm'].quantiles['0.5 s']['p05']:.3g}" in text
    assert "The hyperbolic radius is 1.3 for every utterance" in text
    for name, labels in LABELS.items():
        assert " ".join([name, *labels]) in text


def test_the_table_of_leaves_is_the_whole_tree(disk: Geometry) -> None:
    """The largest height between two leaves is that of the branch which joins them."""
    tree, text = disk.tree, Checker(geometry_page.render(disk)).text
    found = re.findall(
        r"(\S+) [fm] a\d ([\d.]+|-)(?= )", text[text.index("joins the one above") : text.index("Short and noisy")]
    )
    order, heights = [tree.speakers.index(name) for name, _ in found], [height for _, height in found]
    assert sorted(order) == list(range(len(tree.speakers)))
    assert heights[0] == "-"
    nodes: list[set[int]] = [{leaf} for leaf in range(len(order))]
    for (left, right), height in zip(tree.merges, tree.heights, strict=True):
        nodes.append(nodes[left] | nodes[right])
        inside = sorted(order.index(leaf) for leaf in nodes[-1])
        assert inside == list(range(inside[0], inside[-1] + 1))
        assert max(map(float, heights[inside[0] + 1 : inside[-1] + 1])) == pytest.approx(height, abs=5e-4)


def test_without_tree_distance_or_log(plane: Geometry) -> None:
    centres = replace(plane.centres, kind="centre_norm", epochs=(), logged={})
    text = Checker(geometry_page.render(replace(plane, centres=centres, radii={}))).text
    assert "there is no disk" in text
    assert "has no speakers.tsv" in text
    assert "No test utterance is long enough" in text
    assert "so there is no curve" in text
    assert "Poincaré" not in text
    assert "ordered by name and not" in text


def test_the_corpus_is_left_out_of_names_where_there_is_one(disk: Geometry) -> None:
    speakers = tuple(replace(speaker, speaker=f"tiny-{speaker.speaker}") for speaker in disk.picture.speakers)
    nearest = {speaker.speaker: f"tiny-{speaker.speaker}" for speaker in disk.picture.speakers}
    speakers = tuple(replace(speaker, nearest=nearest[speaker.nearest]) for speaker in speakers)
    renamed = replace(disk, picture=replace(disk.picture, speakers=speakers))
    one = replace(renamed, roots=("tiny",))
    assert "tiny-s0" not in Checker(geometry_page.render(one)).text
    assert "tiny-s0 f a0" in Checker(geometry_page.render(replace(one, roots=("tiny", "other")))).text
