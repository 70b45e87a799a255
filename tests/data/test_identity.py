"""What is said of audio that differs from what was used, against changes made on purpose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ham.data.identity import SUMS_FILE, changes, identity, read_sums, write_sums
from ham.data.store import ArrayStore, write_store

ITEMS = {f"u{i}": np.arange(10 + i, dtype=np.int16) for i in range(5)}
SPEAKERS = {f"u{i}": f"s{i // 2}" for i in range(5)}


def made(path: Path, items: dict[str, np.ndarray]) -> ArrayStore:
    write_store(path, items.items(), {"sample_rate": 16000})
    return ArrayStore(path)


@pytest.mark.parametrize(
    ("changed", "speakers", "said"),
    [
        ({}, {}, []),
        ({"u3": np.zeros(13, np.int16)}, {}, ["the training audio changed: 1 of 5 recordings, first u3"]),
        (
            {"u1": np.zeros(7, np.int16), "u4": np.zeros(14, np.int16)},
            {},
            ["the training audio changed: 2 of 5 recordings, first u1"],
        ),
        ({}, {"u2": "s0"}, ["the speakers of the training recordings changed"]),
        (
            {"u0": np.ones(10, np.int16)},
            {"u2": "s0"},
            [
                "the speakers of the training recordings changed",
                "the training audio changed: 1 of 5 recordings, first u0",
            ],
        ),
        ({"u9": np.ones(10, np.int16)}, {"u9": "s0"}, ["the training recordings changed: 5 -> 6"]),
    ],
)
def test_what_changed_is_said(
    changed: dict[str, np.ndarray], speakers: dict[str, str], said: list[str], tmp_path: Path
) -> None:
    old = made(tmp_path / "old", ITEMS)
    before = identity(old, SPEAKERS)
    write_sums(tmp_path, {"train": old})
    new = made(tmp_path / "new", {**ITEMS, **changed})
    found = changes("training", before, new, identity(new, {**SPEAKERS, **speakers}), read_sums(tmp_path)["train"])
    assert found == said


def test_other_names_and_lost_checksums_are_said_in_fewer_words(tmp_path: Path) -> None:
    old = made(tmp_path / "old", ITEMS)
    renamed = made(tmp_path / "renamed", {f"x{utt}": rows for utt, rows in ITEMS.items()})
    assert changes("noise", identity(old), renamed, identity(renamed), None) == ["the noise ids changed"]
    other = made(tmp_path / "other", {**ITEMS, "u0": np.ones(10, np.int16)})
    assert changes("noise", identity(old), other, identity(other), None) == ["the noise audio changed"]
    assert changes("noise", identity(old), other, identity(other), old.sums[:3]) == ["the noise audio changed"]


@pytest.mark.parametrize("content", [None, b"", b"junk", b"PK\x03\x04 and no more"])
def test_a_file_of_checksums_that_is_lost_is_no_error(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / SUMS_FILE).write_bytes(content)
    assert read_sums(tmp_path) == {}


def test_checksums_are_kept_by_name_of_the_store(tmp_path: Path) -> None:
    stores = {"train": made(tmp_path / "a", ITEMS), "rirs": made(tmp_path / "b", {"r": ITEMS["u0"]})}
    write_sums(tmp_path, stores)
    found = read_sums(tmp_path)
    assert {name: sums.tolist() for name, sums in found.items()} == {n: s.sums.tolist() for n, s in stores.items()}
