"""Directories are written where their content is new, and those that were not asked for are removed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ham.audio.decoding import AudioInfo
from ham.data.kaldi_dir import Segment, read_data_dir
from ham.data.speech import Span
from ham.data.trials import Trials
from ham.errors import DataError
from ham.prepare.data_folder import find_others, remove_others, write_subset
from ham.prepare.partition import Subset

A, B = Path("/x/a.wav"), Path("/x/b.wav")
INFOS = {A: AudioInfo(40000, 16000, 1), B: AudioInfo(8000, 8000, 2)}
SUBSET = Subset({"a-1": A, "b-1": B}, {"a-1": "a", "b-1": "b"})
TRIALS = Trials(("a-1", "b-1"), ("b-1", "b-1"), np.array([0, 1], np.int8))


def test_a_directory_is_written_once(tmp_path: Path) -> None:
    assert write_subset(tmp_path, "train", SUBSET, INFOS, {})
    assert read_data_dir(tmp_path / "train").utt2dur == {"a-1": 2.5, "b-1": 1.0}
    assert not write_subset(tmp_path, "train", SUBSET, INFOS, {})
    assert write_subset(tmp_path, "train", replace(SUBSET, sessions={"a-1": "x", "b-1": "y"}), INFOS, {})
    assert write_subset(tmp_path, "train", SUBSET, {**INFOS, A: AudioInfo(40001, 16000, 1)}, {})


def test_other_trials_are_another_directory(tmp_path: Path) -> None:
    assert write_subset(tmp_path, "test/r/l", replace(SUBSET, trials=TRIALS), INFOS, {})
    assert not write_subset(tmp_path, "test/r/l", replace(SUBSET, trials=TRIALS), INFOS, {})
    for other in (
        replace(TRIALS, labels=np.array([0, 0], np.int8)),
        replace(TRIALS, notes=("few",)),
        replace(TRIALS, models={"m": ("a-1",)}),
        None,
        TRIALS,
    ):
        assert write_subset(tmp_path, "test/r/l", replace(SUBSET, trials=other), INFOS, {})


def test_a_part_of_a_file_has_the_length_of_its_samples(tmp_path: Path) -> None:
    part = replace(SUBSET, spans={"a-1": Span(0.1, 1.23456)})
    segments = {"a-1": Segment(0.1, 1.23456), "b-1": Segment(0.0, 1.0)}
    assert write_subset(tmp_path, "train", part, INFOS, segments)
    read = read_data_dir(tmp_path / "train")
    assert read.utt2dur["a-1"] == round((round(1.23456 * 16000) - 1600) / 16000, 6)
    assert read.segments == segments


def test_what_was_not_asked_for_is_removed_if_stage_2_wrote_it(tmp_path: Path) -> None:
    for name in ("train", "test/r/one", "test/r/two", "test/s/one"):
        write_subset(tmp_path, name, SUBSET, INFOS, {})
    (tmp_path / "test/r/.hidden").mkdir()
    assert find_others(tmp_path, ["test/r/one"]) == ["test/r/two", "test/s/one", "train"]
    assert remove_others(tmp_path, ["test/r/one"]) == ["test/r/two", "test/s/one", "train"]
    assert [path.name for path in (tmp_path / "test").iterdir()] == ["r"]
    (tmp_path / "train").mkdir()
    (tmp_path / "train/thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match="lacks the mark"):
        remove_others(tmp_path, ["test/r/one"])
