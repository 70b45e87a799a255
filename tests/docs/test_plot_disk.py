"""The README's picture: out of a geometry.json, the same every time, with a ground of its own."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from docs.figures import plot_disk
from ham.analysis.picture import write_geometry
from tests.analysis.test_picture import LABELS, whole


def test_every_utterance_is_on_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    geometry = whole(LABELS)
    write_geometry(tmp_path / "geometry.json", geometry)
    for name in ("a.svg", "b.svg"):
        monkeypatch.setattr("sys.argv", ["plot_disk.py", str(tmp_path), "--out", str(tmp_path / name)])
        plot_disk.main()
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert (tmp_path / "a.svg").read_text() == plot_disk.draw(geometry.picture)
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    tags = [element.tag.partition("}")[2] for element in root.iter()]
    assert tags.count("use") == sum(len(speaker.points) for speaker in geometry.picture.speakers) + 1  # the origin
    assert tags.index("rect") < tags.index("g")


def test_the_picture_in_the_readme_is_small() -> None:
    ElementTree.parse(plot_disk.PICTURE)
    assert plot_disk.PICTURE.stat().st_size < 30_000
