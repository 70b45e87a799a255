"""Only what the recipe wrote, as it wrote it, is replaced or removed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ham.data.ownership import check_ours, mark_name, write_mark
from ham.errors import DataError


@pytest.fixture
def made(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    (folder / "deep").mkdir(parents=True)
    (folder / "one").write_text("1\n")
    (folder / "deep/two words").write_text("2\n")
    write_mark(folder, 2, "made")
    return folder


def test_what_was_written_is_ours(made: Path, tmp_path: Path) -> None:
    check_ours(made, 2, "made")
    check_ours(tmp_path / "nothing", 2, "nothing")
    (tmp_path / "empty").mkdir()
    check_ours(tmp_path / "empty", 2, "empty")
    (made / "one").unlink()  # what is gone cannot be lost
    check_ours(made, 2, "made")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "three").write_text(""), "it also holds 'three'"),
        (lambda folder: (folder / "deep/.hidden").write_text(""), "it also holds 'deep/.hidden'"),
        (lambda folder: (folder / "deep/link").symlink_to("/nowhere"), "it also holds 'deep/link'"),
        (lambda folder: (folder / "deep/link").symlink_to("/tmp"), "it also holds 'deep/link'"),
        (lambda folder: (folder / "one").write_text("1"), "'one' was changed since"),
        (lambda folder: (folder / "deep/two words").write_text("3\n"), "'deep/two words' was changed since"),
        (lambda folder: (folder / mark_name(2)).unlink(), "it lacks the mark .made_by_stage_2"),
        (lambda folder: (folder / mark_name(2)).write_text(""), "it also holds"),
        (lambda folder: (folder / mark_name(2)).rename(folder / mark_name(1)), "it lacks the mark"),
    ],
)
def test_what_was_not_is_refused_and_stays(spoil: Callable[[Path], object], words: str, made: Path) -> None:
    spoil(made)
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    with pytest.raises(DataError) as caught:
        check_ours(made, 2, "made")
    assert str(caught.value).startswith(f"{made}: expected a folder that stage 2 wrote, but ")
    assert words in str(caught.value)
    assert "move it away" in str(caught.value)
    assert {path: path.read_bytes() for path in made.rglob("*") if path.is_file()} == before


def test_a_copy_and_a_file_are_not_ours(made: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it is a copy of 'made'; move it away"):
        check_ours(made, 2, "other")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="it is a file; move it away"):
        check_ours(tmp_path / "file", 2, "file")


def test_damage_may_be_written_again_but_not_what_others_added(made: Path) -> None:
    (made / "one").write_text("damaged")
    check_ours(made, 2, "made", lambda folder: (folder / "one").read_text() == "damaged")
    (made / "three").write_text("")
    with pytest.raises(DataError, match="it also holds 'three'"):
        check_ours(made, 2, "made", lambda _: True)
