"""The errors."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from ham.errors import LONGEST, SHOWN, CheckpointError, ConfigError, DataError, HamError, naming, summarise


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


def test_a_message_that_quotes_a_file_keeps_its_place_and_its_cure() -> None:
    message = str(DataError(f"list.txt:3: expected '1|0 <path> <path>', found {'x' * 10_000_000!r}; correct the line"))
    assert len(message) < LONGEST + 40
    assert message.startswith("list.txt:3: expected '1|0 <path> <path>', found 'xxx")
    assert message.endswith("; correct the line")


def test_every_problem_of_a_file_has_room() -> None:
    text = summarise([f"list.txt:{n}: found {'x' * 1_000_000!r}; correct line {n}" for n in range(9)])
    assert all(f"list.txt:{n}: " in text and f"; correct line {n}" in text for n in range(SHOWN))
    assert len(str(DataError(f"place: {text}"))) < LONGEST + 40


def test_a_full_disk_names_the_file() -> None:
    with pytest.raises(OSError, match=r"report\.html") as caught, naming(Path("exp/report.html")):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == "exp/report.html"
    with pytest.raises(OSError, match="inner"), naming(Path("outer")):
        raise OSError(errno.ENOSPC, "No space left on device", "inner")
