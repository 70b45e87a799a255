"""Stage 3's inputs; the packing itself is shown by tests/data/test_pack.py and tests/test_recipe.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from ham.bin.make_store import noise_recordings, test_recordings
from ham.errors import ConfigError, DataError

test_recordings.__test__ = False


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_noise_ids_begin_with_their_kind(tmp_path: Path) -> None:
    touch(tmp_path / "noise/free/a.wav", tmp_path / "music/b c.wav", tmp_path / "speech/d.flac", tmp_path / "README")
    found = noise_recordings(tmp_path, "musan")
    assert sorted(found) == ["music-b_c", "noise-free-a", "speech-d"]
    assert all(path.is_absolute() for path in found.values())


def test_only_the_simulated_rooms_of_rirs_noises(tmp_path: Path) -> None:
    touch(tmp_path / "simulated_rirs/smallroom/a.wav", tmp_path / "real_rirs/b.wav")
    assert list(noise_recordings(tmp_path, "rirs")) == ["smallroom-a"]


def test_wrong_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--rirs .*none: no such folder"):
        noise_recordings(tmp_path / "none", "rirs")
    with pytest.raises(ConfigError, match="found none"):
        noise_recordings(tmp_path, "rirs")
    touch(tmp_path / "noise/a.wav", tmp_path / "speech/a.wav")
    with pytest.raises(ConfigError, match="missing: music"):
        noise_recordings(tmp_path, "musan")


def test_no_test_list_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="stage 2"):
        test_recordings(tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "r/a/x.wav", tmp_path / "r/a-x.flac")
    with pytest.raises(DataError, match=r"a-x\.flac|x\.wav.*: becomes a-x, as .* does; rename or remove one"):
        noise_recordings(tmp_path / "r", "rirs")
