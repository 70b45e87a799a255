"""One shard: NumPy reads it, rows come back from any place, damage and other rows are named."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

from ham.data.shards import crc32_of_rows, open_shard, shard_header, shard_name, writing_shard
from ham.errors import DataError


def write(folder: Path, *rows: np.ndarray) -> None:
    with writing_shard(folder / shard_name(0)) as shard:
        for one in rows:
            shard.add(one)
        assert not (folder / shard_name(0)).exists()
    assert shard.lengths == [len(one) for one in rows]
    assert shard.sums == [zlib.crc32(one.tobytes()) for one in rows]
    assert shard.num_bytes == sum(one.nbytes for one in rows)


@pytest.mark.parametrize("width", [(), (3,)])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_numpy_and_the_reader_see_the_same_rows(tmp_path: Path, width: tuple[int, ...], dtype: type) -> None:
    rng = np.random.default_rng(0)
    rows = [(100 * rng.standard_normal((n, *width))).astype(dtype) for n in (5, 0, 9)]
    write(tmp_path, *rows)
    together = np.concatenate(rows)
    np.testing.assert_array_equal(np.load(tmp_path / "shard-00000.npy"), together)
    np.testing.assert_array_equal(open_shard(tmp_path, 0).read(3, 7), together[3:10])
    assert [path.name for path in tmp_path.iterdir()] == ["shard-00000.npy"]


def test_the_checksum_is_of_the_bytes_wherever_they_lie_in_memory() -> None:
    rows = np.arange(24, dtype=np.int16).reshape(4, 6)
    assert crc32_of_rows(rows[:, ::2]) == zlib.crc32(rows[:, ::2].tobytes())
    assert crc32_of_rows(rows[:0]) == 0


def test_a_failure_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected rows of"):
        write(tmp_path, np.zeros(3, np.int16), np.zeros(3, np.float32))
    with pytest.raises(DataError, match="nothing to store"):
        write(tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("how", ["missing", "cut", "longer", "header"])
def test_damage_is_named_when_a_shard_is_opened(tmp_path: Path, how: str) -> None:
    write(tmp_path, np.arange(50, dtype=np.int16))
    path = tmp_path / shard_name(0)
    content = path.read_bytes()
    path.unlink()
    if how != "missing":
        other = shard_header((51,), np.int16).ljust(128) if how == "header" else content[:128]
        path.write_bytes(other + content[128 : -1 if how == "cut" else None] + b"x" * (how == "longer"))
    with pytest.raises(DataError, match=r"shard-00000\.npy: cannot be read or damaged .* delete .* and run stage 3"):
        open_shard(tmp_path, 0)
