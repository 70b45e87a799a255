"""Words of messages."""

from __future__ import annotations

import pytest

from ham.words import SHORT, clip, count, quote


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1000, "1000 files"), (-1, "-1 files")]
)
def test_one_is_singular(number: int, words: str) -> None:
    assert count(number, "file") == words


def test_a_plural_of_its_own() -> None:
    assert [count(n, "class", "classes") for n in (1, 2)] == ["1 class", "2 classes"]


@pytest.mark.parametrize("size", [0, 1, 29, 30, 31, 10_000_000])
def test_clip_keeps_both_ends_and_counts_the_rest(size: int) -> None:
    text = "".join(chr(97 + k % 26) for k in range(min(size, 1000))) + "z" * max(0, size - 1000)
    found = clip(text, 30)
    if size <= 30:
        assert found == text
    else:
        assert found == f"{text[:20]}...({size - 30} characters)...{text[-10:]}"


RING: list[object] = [1]
RING.append(RING)
DEEP: list[object] = []
for _ in range(5000):
    DEEP = [DEEP]
WIDE: list[object] = ["x" * 1000] * 1000
for _ in range(9):
    WIDE = [WIDE] * 9


@pytest.mark.parametrize("value", [RING, DEEP, WIDE, "x" * 10**7, {"a": WIDE}, b"x" * 10**6, 1.5, "it's", [1, "b"]])
def test_a_quotation_is_short(value: object) -> None:
    assert 0 < len(quote(value)) < SHORT + 40


@pytest.mark.parametrize(
    ("value", "words"), [(None, "nothing"), (True, "true"), (False, "false"), (1, "1"), ("a\n", "'a\\n'"), ([1], "[1]")]
)
def test_values_as_the_user_wrote_them(value: object, words: str) -> None:
    assert quote(value) == words
