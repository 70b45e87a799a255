"""The errors."""

from __future__ import annotations

import pytest

from ham.errors import SHOWN, CheckpointError, ConfigError, DataError, HamError, summarise


@pytest.mark.parametrize(("kind", "status"), [(ConfigError, 2), (DataError, 1), (CheckpointError, 1), (HamError, 1)])
def test_exit_status(kind: type[HamError], status: int) -> None:
    assert kind("x").exit_status == status


def test_one_problem_stands_alone_and_many_are_counted() -> None:
    assert summarise(["a:1: bad"]) == "a:1: bad"
    many = summarise([f"a:{i}: bad" for i in range(9)])
    assert many.startswith("9 problems: a:0: bad; ")
    assert many.count("bad") == SHOWN
    assert many.endswith("and 4 more")
    assert "more" not in summarise(["a", "b"])
