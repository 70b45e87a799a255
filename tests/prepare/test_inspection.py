"""Inspection of files: what is known is not looked at again, what is bad is said, an interruption loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ham.audio.decoding import AudioInfo
from ham.errors import DataError
from ham.prepare.inspection import CHECKS, inspect


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three good recordings and one that is none."""
    made = [tmp_path / f"{number}.wav" for number in range(4)]
    for number, path in enumerate(made[:3]):
        samples = np.random.default_rng(number).integers(-900, 900, 1600 * (number + 1))
        soundfile.write(path, samples.astype(np.int16), 16000)
    made[3].write_bytes(b"no audio")
    return made


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that have been inspected, by either check."""
    seen: list[Path] = []
    for name, (look, memory) in list(CHECKS.items()):

        def _look(path: Path, look: Callable[[Path], AudioInfo] = look) -> AudioInfo:
            seen.append(path)
            return look(path)

        monkeypatch.setitem(CHECKS, name, (_look, memory))
    return seen


@pytest.mark.parametrize("check", ["decode", "header"])
def test_each_file_is_looked_at_once(check: str, files: list[Path], looked_at: list[Path], tmp_path: Path) -> None:
    infos, bad = inspect(files, tmp_path, check, 2)
    assert [infos[path].num_samples for path in files[:3]] == [1600, 3200, 4800]
    assert list(bad) == [files[3]]
    assert str(files[3]) in str(bad[files[3]])
    assert sorted(looked_at) == files
    again, still_bad = inspect(files, tmp_path, check, 2)
    assert again == infos
    assert list(still_bad) == [files[3]]
    assert looked_at[4:] == [files[3]]  # what is bad is tried again
    assert (tmp_path / CHECKS[check][1]).is_file()


def test_what_was_inspected_before_an_interruption_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / f"{number:02d}.wav" for number in range(40)]
    for path in files:
        soundfile.write(path, np.ones(1600, np.int16), 16000)
    look, memory = CHECKS["header"]

    def _stop_at_the_last(path: Path) -> AudioInfo:
        if path == files[-1]:
            raise KeyboardInterrupt
        return look(path)

    monkeypatch.setitem(CHECKS, "header", (_stop_at_the_last, memory))
    with pytest.raises(KeyboardInterrupt):
        inspect(files, tmp_path, "header", 1)

    def _refuse(path: Path) -> AudioInfo:
        raise DataError(f"{path}: looked at again")

    monkeypatch.setitem(CHECKS, "header", (_refuse, memory))
    infos, bad = inspect(files, tmp_path, "header", 1)
    assert len(infos) >= 16
    assert [*infos, *bad] == files
