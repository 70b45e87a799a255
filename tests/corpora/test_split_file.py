"""Reading across the borders of parts against the joined bytes; parts that shrink."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ham.corpora.split_file import SplitFile
from ham.errors import DataError

SIZES = (1000, 1, 700, 0, 299)
WHOLE = np.random.default_rng(0).bytes(sum(SIZES))


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    paths, start = [], 0
    for number, size in enumerate(SIZES):
        paths.append(tmp_path / f"part{number}")
        paths[-1].write_bytes(WHOLE[start : start + size])
        start += size
    return paths


@pytest.fixture
def file(parts: list[Path]) -> Iterator[SplitFile]:
    with SplitFile(parts) as opened:
        yield opened


def test_any_piece_is_that_of_the_whole(file: SplitFile) -> None:
    assert file.size == 2000
    rng = np.random.default_rng(1)
    for start, size in rng.integers(0, 2100, (300, 2)).tolist():
        file.seek(start)
        assert file.read(size) == WHOLE[start : start + size]


def test_it_seeks_and_reads(file: SplitFile) -> None:
    assert file.read() == WHOLE
    assert file.seek(-100, os.SEEK_END) == 1900
    assert file.seek(-1000, os.SEEK_CUR) == file.tell() == 900
    assert file.read(200) == WHOLE[900:1100]
    with pytest.raises(ValueError, match="negative"):
        file.seek(-1)


def test_it_is_called_by_its_last_part_and_closes_all(parts: list[Path]) -> None:
    with SplitFile(parts) as file:
        assert file.name == str(parts[-1])
    names = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not any(str(parts[0].parent) in name for name in names)
    parts[0].unlink()
    with pytest.raises(FileNotFoundError):
        SplitFile(parts)


def test_a_part_that_shrinks_is_named(file: SplitFile, parts: list[Path]) -> None:
    os.truncate(parts[2], 100)
    with pytest.raises(DataError, match="part2: has become shorter"):
        file.read(2000)
