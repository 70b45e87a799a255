"""The scores file: round trip to the bit, joining by key, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ham.errors import DataError
from ham.score.score_file import Scores, read_scores, write_scores


def test_round_trip_keeps_every_bit(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=300).astype(np.float32)
    values[:3] = [0.0, 1e-30, -np.float32(1) / 3]
    scores = Scores(tuple(f"a{i}" for i in range(300)), tuple(f"b{i}" for i in range(300)), values)
    path = tmp_path / "root" / "list.cosine"
    write_scores(path, scores)
    found = read_scores(path)
    assert (found.enrol, found.test) == (scores.enrol, scores.test)
    assert np.array_equal(found.values, values)
    assert path.read_text().splitlines()[2] == "a2 b2 -0.333333343"
    assert [file.name for file in path.parent.iterdir()] == ["list.cosine"]


def test_labels_are_a_fourth_column_as_wespeaker_reads_it(tmp_path: Path) -> None:
    scores = Scores(("a", "a"), ("b", "c"), np.float32([0.5, -0.25]))
    write_scores(tmp_path / "s", scores, np.array([1, 0], np.int8))
    assert (tmp_path / "s").read_text() == "a b 0.5 target\na c -0.25 nontarget\n"
    tokens = [line.strip().split() for line in (tmp_path / "s").open()]  # what its compute_metrics.py expects
    assert all(len(each) == 4 for each in tokens)
    assert [(float(each[2]), each[-1] == "target") for each in tokens] == [(0.5, True), (-0.25, False)]
    found = read_scores(tmp_path / "s")
    assert (found.enrol, found.test, found.values.tolist()) == (scores.enrol, scores.test, [0.5, -0.25])


def test_join_goes_by_key_not_by_line() -> None:
    scores = Scores(("a", "a", "c"), ("b", "c", "a"), np.float32([1, 2, 3]))
    assert scores.join(["c", "a"], ["a", "b"]).tolist() == [3, 1]
    assert scores.join(("a", "a", "c"), ("b", "c", "a")).tolist() == [1, 2, 3]
    assert scores.join(["a", "a"], ["c", "c"]).tolist() == [2, 2]


def test_join_refuses_a_trial_without_score_and_the_two_sides_are_not_interchangeable() -> None:
    scores = Scores(("a",), ("b",), np.float32([1]))
    with pytest.raises(DataError, match=r"x.cosine: expected a score for 'b a', found none"):
        scores.join(["b"], ["a"], "x.cosine")


def test_join_refuses_two_scores_for_one_pair_unless_they_are_equal() -> None:
    twice = Scores(("a", "a"), ("b", "b"), np.float32([1, 1]))
    assert twice.join(["a"], ["b"]).tolist() == [1]
    differing = Scores(("a", "a"), ("b", "b"), np.float32([1, 2]))
    with pytest.raises(DataError, match="'a b', found two different"):
        differing.join(["a"], ["b"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b\n", "s:1: expected '<enrol> <test> <score>', found 'a b'"),
        ("a b 1 2\n", "s:1: "),
        ("a b 1\n\nc d 2\n", "s:2: .* found ''"),
        ("a b 1\na c x\n", "s:2: .* found 'a c x'"),
        ("a b nan\n", "s:1: "),
        ("", "found none"),
        ("x\n" * 9, "9 problems: .*and 4 more"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_scores(path)


def test_missing_and_binary_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="stage 6"):
        read_scores(tmp_path / "s")
    (tmp_path / "s").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="UTF-8"):
        read_scores(tmp_path / "s")


def test_lengths_must_agree() -> None:
    with pytest.raises(DataError, match="2 enrolment ids, 1 test ids and 1 scores"):
        Scores(("a", "b"), ("c",), np.float32([1]))
