"""Reading across the borders of parts against the joined bytes; parts that are gone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ham.corpora.split_file import Parts
from ham.errors import DataError

SIZES = (1000, 1, 700, 0, 299)
WHOLE = np.random.default_rng(0).bytes(sum(SIZES))


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    paths, start = [], 0
    for number, size in enumerate(SIZES):
        paths.append(tmp_path / f"part{number}")
        paths[-1].write_bytes(WHOLE[start : start + size])
        start += size
    with Parts(paths) as opened:
        yield opened


def test_any_piece_is_that_of_the_whole(parts: Parts) -> None:
    assert (parts.size, parts.sizes, parts.starts) == (2000, SIZES, (0, 1000, 1001, 1701, 1701))
    rng = np.random.default_rng(1)
    for start, size in rng.integers(0, 2100, (300, 2)).tolist():
        assert parts.read(start, size) == WHOLE[start : start + size]


def test_a_file_object_seeks_and_reads(parts: Parts) -> None:
    with parts.as_file() as one, parts.as_file() as other:
        assert one.read() == WHOLE
        assert other.tell() == 0
        assert other.seek(-100, os.SEEK_END) == 1900
        assert other.seek(-1000, os.SEEK_CUR) == 900
        assert other.read(200) == WHOLE[900:1100]
        with pytest.raises(ValueError, match="negative"):
            other.seek(-1)


def test_the_part_of_a_place(parts: Parts) -> None:
    assert [parts.index(place) for place in (0, 999, 1000, 1001, 1700, 1701, 2000)] == [0, 0, 1, 2, 2, 4, 4]


def test_a_removed_part_is_named_and_its_space_is_free(parts: Parts) -> None:
    parts.read(0, 2000)
    parts.remove(0)
    parts.remove(0)
    assert not parts.paths[0].exists()
    assert parts.read(1000, 500) == WHOLE[1000:1500]
    with pytest.raises(DataError, match=r"part0: is needed, and gone"):
        parts.read(999, 5)
    names = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not any("part0" in name for name in names)


def test_parts_that_are_gone_need_their_sizes(parts: Parts) -> None:
    parts.paths[0].unlink()
    with pytest.raises(FileNotFoundError):
        Parts(parts.paths)
    with Parts(parts.paths, SIZES) as again:
        assert again.read(1000, 1000) == WHOLE[1000:]


def test_a_part_that_shrinks_is_named(parts: Parts) -> None:
    os.truncate(parts.paths[2], 100)
    with pytest.raises(DataError, match="part2: has become shorter"):
        parts.read(0, 2000)
