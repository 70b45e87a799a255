"""Ids in a table behave as the strings that they are."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from ham.data.ids import Ids, lines_digest


def test_ids_are_found_and_compare_as_strings() -> None:
    for names in (["a", "b-1", "b-10", "é"], ["b-10", "é", "a", "b-1"]):
        ids = Ids(np.array([name.encode() for name in names]))
        assert list(ids) == names
        assert ids == names == list(ids[0:4])
        assert ids == tuple(names)
        assert ids != (*names[:3], "x")
        assert ids != names[:3]
        assert [ids.index(name) for name in names] == [0, 1, 2, 3]
        assert [name in ids for name in (*names, "b", "", "zz", "a-very-long-one", "a\0", 3)] == [True] * 4 + [
            False
        ] * 6
        with pytest.raises(ValueError, match="'b' is not among the 4 ids"):
            ids.index("b")
        with pytest.raises(ValueError, match="not among"):
            ids.index(names[0], 1)


@pytest.mark.parametrize("number", [0, 1, 4096, 10_000])
def test_the_digest_is_that_of_the_text(number: int) -> None:
    lines = [f"é{n}" for n in range(number)]
    assert lines_digest(iter(lines)) == hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()
