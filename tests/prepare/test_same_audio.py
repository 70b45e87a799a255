"""Equal recordings of two speakers are found, others are not."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from ham.audio.decoding import AudioInfo
from ham.prepare.same_audio import same_audio

INFO = AudioInfo(16000, 16000, 1)


def write(folder: Path, contents: dict[str, bytes]) -> dict[Path, str]:
    """Files by name; a name begins with its speaker's letter."""
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {folder / name: name[0] for name in contents}


@pytest.mark.parametrize("seed", range(4))
def test_they_are_those_of_a_naive_comparison(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    kinds = [rng.bytes(size) for size in (9000, 9000, 20_000, 50)]
    kinds.append(kinds[0][:-1] + bytes([kinds[0][-1] ^ 1]))  # the piece in the middle is the same
    speakers = write(tmp_path, {f"{'abc'[n % 3]}{n}": kinds[rng.integers(len(kinds))] for n in range(12)})
    found = same_audio(speakers, dict.fromkeys(speakers, INFO))
    assert all(one.read_bytes() == other.read_bytes() and one.name[0] != other.name[0] for one, other in found)
    naive = {
        one.read_bytes()
        for one, other in combinations(speakers, 2)
        if one.read_bytes() == other.read_bytes() and one.name[0] != other.name[0]
    }
    assert {one.read_bytes() for one, _ in found} == naive


def test_links_are_the_same_and_a_speakers_own_copies_are_left(tmp_path: Path) -> None:
    speakers = write(tmp_path, {"a1": b"x" * 9000, "a2": b"x" * 9000, "b1": b"y" * 9000})
    infos = dict.fromkeys(speakers, INFO)
    assert same_audio(speakers, infos) == []
    (tmp_path / "c1").symlink_to(tmp_path / "a1")
    speakers[tmp_path / "c1"], infos[tmp_path / "c1"] = "c", INFO
    assert same_audio(speakers, infos) == [(tmp_path / "a1", tmp_path / "c1")]


def test_files_that_differ_in_length_are_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speakers = write(tmp_path, {"a1": b"x" * 9000, "b1": b"x" * 9000})
    infos = {tmp_path / "a1": INFO, tmp_path / "b1": AudioInfo(16001, 16000, 1)}
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("opened"))
    assert same_audio(speakers, infos) == []
