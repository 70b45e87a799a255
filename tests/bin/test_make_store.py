"""Stage 3's inputs; the packing itself is shown by tests/data/test_pack.py and tests/test_recipe.py."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from ham.bin.make_store import main, noise_recordings, speech, test_recordings
from ham.data.kaldi_dir import Segment, write_data_dir
from ham.data.trials import Trials
from ham.errors import ConfigError, DataError
from tests.waiting import status_after_waiting

test_recordings.__test__ = False

CONFIG = Path(__file__).parents[2] / "conf/mini.yaml"
UTTS = ("a-1", "a-2", "b-1")
TRIALS = Trials(("a-1", "a-1"), ("a-2", "b-1"), np.array([1, 0], np.int8))


def write(folder: Path, trials: Trials | None, segments: Mapping[str, Segment] | None = None) -> None:
    wav, spk = dict.fromkeys(UTTS, Path("/x/r.wav")), {utt: utt[0] for utt in UTTS}
    write_data_dir(folder, wav, spk, dict.fromkeys(UTTS, 1.0), trials, segments=segments)


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


def test_either_side_may_be_missing_but_not_both(tmp_path: Path) -> None:
    write(tmp_path / "train", None)
    assert list(speech(tmp_path)) == ["train"]
    write(tmp_path / "test/r/t", TRIALS)
    assert list(speech(tmp_path)) == ["train", "test"]
    shutil.rmtree(tmp_path / "train")
    assert list(speech(tmp_path)) == ["test"]
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(DataError, match=r"train: no such data directory"):
        speech(tmp_path)


def test_parts_of_files_come_with_their_durations(tmp_path: Path) -> None:
    write(tmp_path / "test/r/t", TRIALS, {"a-1": Segment(0, 1), "a-2": Segment(1, 2), "b-1": Segment(2, 3)})
    found = test_recordings(tmp_path)
    assert found.segments["a-2"] == (1, 2)
    assert found.durations == dict.fromkeys(UTTS, 1.0)
    write(tmp_path / "test/r/u", TRIALS, {"a-1": Segment(0, 1), "a-2": Segment(1, 2.5), "b-1": Segment(2, 3)})
    with pytest.raises(DataError, match=r"a-2 is .* in another list; run stage 2"):
        test_recordings(tmp_path)


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "r/a/x.wav", tmp_path / "r/a-x.flac")
    with pytest.raises(DataError, match=r"a-x\.flac|x\.wav.*: becomes a-x, as .* does; rename or remove one"):
        noise_recordings(tmp_path / "r", "rirs")


def test_it_waits_for_another_that_prepares_the_data(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    status = status_after_waiting(main, ["--data_dir", tmp_path, "--config", CONFIG], tmp_path, caplog)
    assert status == 1  # as there are no data
