from __future__ import annotations

import tempfile
from pathlib import Path

import espeak
import espeakng_loader
import numpy as np
import pytest
from espeak import Synthesiser
from numpy.typing import NDArray

from ham.errors import HamError

VOICE = "pitch 100 140\nflutter 9\nbreath 6 6 6 6 6 6 6 6\n"
WORDS = "apple tower window"


def speak(synthesiser: Synthesiser, seed: int = 1) -> NDArray[np.float32]:
    return synthesiser.speak(WORDS, rate_wpm=165, seed=seed)


def test_speech_is_there_and_not_clipped() -> None:
    with Synthesiser("gmw/en-US", VOICE) as synthesiser:
        samples = speak(synthesiser)
    assert samples.dtype == np.float32
    assert espeak.SAMPLE_RATE // 2 < samples.size < 3 * espeak.SAMPLE_RATE
    assert 0.05 < np.abs(samples).max() < 0.99


def test_an_instance_knows_nothing_of_earlier_ones() -> None:
    with Synthesiser("gmw/en-US", VOICE) as first:
        alone = speak(first)
        assert not np.array_equal(speak(first), alone), "espeak-ng keeps no state; fresh instances are not needed"
        with Synthesiser("gmw/en", VOICE) as other:
            speak(other)
            with Synthesiser("gmw/en-US", VOICE) as second:
                assert np.array_equal(speak(second), alone)


def test_the_seed_changes_the_breath() -> None:
    spoken = []
    for seed in (1, 1, 2):
        with Synthesiser("gmw/en-US", VOICE) as synthesiser:
            spoken.append(speak(synthesiser, seed))
    assert np.array_equal(spoken[0], spoken[1])
    assert not np.array_equal(spoken[0], spoken[2])


def test_neither_folders_nor_the_installed_data_are_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = sorted(Path(espeakng_loader.get_data_path()).rglob("*"))
    with Synthesiser("gmw/en-US", VOICE) as synthesiser:
        speak(synthesiser)
        assert list(tmp_path.iterdir())
    assert not list(tmp_path.iterdir())
    assert sorted(Path(espeakng_loader.get_data_path()).rglob("*")) == before


def one_line(error: pytest.ExceptionInfo[HamError]) -> str:
    assert error.value.exit_status == 1
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_missing_library_is_reported_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(espeakng_loader, "get_library_path", lambda: str(tmp_path / "none.so"))
    with pytest.raises(HamError) as error, Synthesiser("gmw/en-US", ""):
        pass
    assert "pip install" in one_line(error)


def test_a_damaged_library_is_reported_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / espeak.DATA_NAME).symlink_to(espeakng_loader.get_data_path())
    (tmp_path / "broken.so").write_bytes(b"not a library")
    monkeypatch.setattr(espeakng_loader, "get_library_path", lambda: str(tmp_path / "broken.so"))
    with pytest.raises(HamError, match="cannot be loaded") as error, Synthesiser("gmw/en-US", ""):
        pass
    assert "pip install" in one_line(error)


def test_an_unknown_language_file_is_reported() -> None:
    with pytest.raises(HamError, match="gmw/xx") as error, Synthesiser("gmw/xx", ""):
        pass
    one_line(error)


@pytest.mark.parametrize("length", [50, espeak.MAX_HOME - 20])
def test_a_path_within_the_limit_works(length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        folder = Path(short) / ("x" * (length - len(short)))
        folder.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(folder))
        with Synthesiser("gmw/en-US", VOICE) as synthesiser:
            assert speak(synthesiser).size


def test_a_path_beyond_the_limit_is_refused_with_its_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("x" * espeak.MAX_HOME)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with pytest.raises(HamError, match="TMPDIR") as error, Synthesiser("gmw/en-US", VOICE):
        pass
    one_line(error)
