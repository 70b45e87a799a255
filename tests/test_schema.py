"""The checks that make a constructor a schema."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest

from ham.errors import ConfigError
from ham.schema import (
    Positive,
    Range,
    accept,
    check_count,
    check_number,
    check_options,
    choose,
    closest,
    keyword_options,
    option_types,
    unknown_key,
)


class Part:
    def __init__(self, known: int, *, scale: float = 30.0, kind: str = "a") -> None: ...


def test_options_are_the_keyword_only_parameters() -> None:
    assert keyword_options(Part) == {"scale": 30.0, "kind": "a"}
    check_options("part", ["scale"], keyword_options(Part))
    with pytest.raises(ConfigError, match=r"part: .*scale \(default 30\.0\).*found 'sclae'; did you mean 'scale'"):
        check_options("part", ["sclae"], keyword_options(Part))


def test_a_word_must_be_one_of_the_choices() -> None:
    assert choose("kind", "b", ["a", "b"]) == "b"
    with pytest.raises(ConfigError, match="kind: expected one of alpha, beta, found 'alfa'; did you mean 'alpha'"):
        choose("kind", "alfa", ["alpha", "beta"])
    with pytest.raises(ConfigError, match="found 3"):
        choose("kind", 3, ["alpha"])
    assert closest(3, ["alpha"]) == ""


@pytest.mark.parametrize("value", ["3", True, float("nan"), float("inf"), None, 0.5, 11])
def test_a_number_must_be_finite_and_in_its_range(value: object) -> None:
    assert check_number("x", 3, above=1, most=10) == 3.0
    with pytest.raises(ConfigError, match="x: expected a finite number above 1 and at most 10"):
        check_number("x", value, above=1, most=10)


@pytest.mark.parametrize("value", ["3", True, 2.0, 1, -4, None])
def test_a_count_must_be_whole_and_large_enough(value: object) -> None:
    assert check_count("x", 2, least=2) == 2
    with pytest.raises(ConfigError, match=r"x: expected a whole number of at least 2 \(pairs\)"):
        check_count("x", value, least=2, why="pairs")


SHARE = Annotated[float, Range(0, 1)]


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [
        (int, 3, 3),
        (float, 3, 3.0),
        (str, "3", "3"),
        (bool, True, True),
        (Literal["a", "b"], "b", "b"),
        (tuple[float, ...], [1, 0.5], (1.0, 0.5)),
        (SHARE, 1, 1.0),
        (tuple[SHARE, ...], [], ()),
        (dict[str, Positive], {"a": 1, "b": 0.5}, {"a": 1.0, "b": 0.5}),
        (Annotated[int, Range(2)], 10**9, 10**9),
    ],
)
def test_a_value_gets_the_type_of_its_hint(hint: Any, value: object, expected: object) -> None:
    found = accept("x", value, hint)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("hint", "value", "words"),
    [
        (int, 3.0, "x: expected a whole number, found 3.0"),
        (int, True, "x: expected a whole number, found true"),
        (float, "3", "x: expected a number, found '3'"),
        (float, False, "x: expected a number, found false"),
        (float, float("nan"), "x: expected a number, found nan"),
        (SHARE, float("inf"), "x: expected a number, found inf"),
        (SHARE, 1.5, "x: expected 0 to 1, found 1.5"),
        (SHARE, -0.5, "x: expected at least 0, found -0.5"),
        (Annotated[float, Range(above=0)], 0, "x: expected a number above 0, found 0"),
        (Annotated[int, Range(2)], 1, "x: expected at least 2, found 1"),
        (str, None, "x: expected a word, found nothing"),
        (bool, "yes", "x: expected true or false, found 'yes'"),
        (Literal["a", "b"], "c", "x: expected one of a, b, found 'c'"),
        (tuple[int, ...], 3, r"x: expected a list such as \[a, b\], found 3"),
        (dict[str, Positive], [3], r"x: expected a block such as \{a: 1, b: 2\}, found \[3\]"),
        (dict[str, Positive], {"a": 0}, r"x\.a: expected a number above 0, found 0"),
        (dict[str, Positive], {1: 2}, r"x: expected a word, found 1"),
        (tuple[int, ...], [1, "2"], r"x\[1\]: expected a whole number, found '2'"),
    ],
)
def test_a_value_of_another_type_is_refused(hint: Any, value: object, words: str) -> None:
    with pytest.raises(ConfigError, match=f"^{words}"):
        accept("x", value, hint)


def part(known: int, *, share: SHARE = 0.5) -> None: ...


def test_types_of_options_keep_their_ranges() -> None:
    assert option_types(Part) == {"scale": float, "kind": str}
    assert option_types(part) == {"share": SHARE}


def test_an_unknown_key_is_told_with_the_closest_and_all() -> None:
    assert unknown_key("a", "gama", ["gamma", "x"]) == (
        "unknown key 'a.gama'; did you mean 'a.gamma'? the keys here are: gamma, x"
    )
    assert unknown_key("", "q", ["gamma"]) == "unknown key 'q'; the keys here are: gamma"
