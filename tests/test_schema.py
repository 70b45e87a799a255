"""The checks that make a constructor a schema."""

from __future__ import annotations

import pytest

from ham.errors import ConfigError
from ham.schema import check_count, check_number, check_options, choose, closest, keyword_options


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
