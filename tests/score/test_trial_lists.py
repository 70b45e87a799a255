"""The trial lists of a data directory: choosing, reading, whose the recordings are."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from ham.data.kaldi_dir import write_data_dir
from ham.data.trial_remarks import NO_RATES
from ham.data.trials import Trials
from ham.errors import ConfigError, DataError
from ham.score.trial_lists import find_lists, rated_lists, read_list

UTTS = {"a-1": "a", "a-2": "a", "b-1": "b", "b-2": "b", "c-1": "c"}


def write_list(data_dir: Path, name: str, labels: tuple[int, ...]) -> None:
    trials = Trials(("a-1", "b-1"), ("a-2", "a-2"), np.array(labels, np.int8))
    write_data_dir(
        data_dir / "test" / name,
        {utt: Path(f"/audio/{utt}.wav") for utt in UTTS},
        UTTS,
        {utt: 2.0 + number for number, utt in enumerate(UTTS)},
        trials,
        name=f"test/{name}",
    )


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    for name in ("mini/all", "mini/hard", "real/dev"):
        write_list(tmp_path, name, (1, 0))
    return tmp_path


@pytest.mark.parametrize(
    ("wanted", "lists"),
    [
        (["all"], ["mini/all", "mini/hard", "real/dev"]),
        (["mini"], ["mini/all", "mini/hard"]),
        (["real/dev", "mini/all"], ["mini/all", "real/dev"]),
        (["real/dev,mini/all"], ["mini/all", "real/dev"]),
        (["real/dev mini/all"], ["mini/all", "real/dev"]),
    ],
)
def test_choice_of_lists(data_dir: Path, wanted: list[str], lists: list[str]) -> None:
    (data_dir / "test/mini/.half").mkdir()
    (data_dir / "test/mini/.half/trials").write_text("")
    assert find_lists(data_dir, wanted) == lists


def test_a_list_that_is_not_there(data_dir: Path) -> None:
    with pytest.raises(ConfigError, match="unknown trial list 'mini/al': expected all or some of mini/all mini/hard"):
        find_lists(data_dir, ["mini/al"])
    (data_dir / "test/real/dev/trials").unlink()
    with pytest.raises(DataError, match="real/dev: expected the file trials, found none"):
        read_list(data_dir, "real/dev")


def test_speakers_of_models_too(data_dir: Path) -> None:
    folder = data_dir / "test/real/dev"
    (folder / "enrol").write_text("model-a a-1 a-2\n")
    (folder / "trials").write_text("model-a a-1 target\nmodel-a b-2 nontarget\n")
    lists = [read_list(data_dir, name) for name in ("mini/all", "real/dev")]
    assert lists[1].speakers(["model-a", "b-2", "c-1"]) == ["a", "b", "c"]
    assert [one.num_speakers for one in lists] == [2, 2]


def test_lists_of_one_kind_have_no_rate(data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = data_dir / "test/mini/hard/trials"
    path.write_text("a-1 a-2 target\n")
    assert read_list(data_dir, "mini/hard").notes == (NO_RATES,)
    assert read_list(data_dir, "mini/all").notes == ()
    with caplog.at_level(logging.INFO):
        assert [one.name for one in rated_lists(data_dir, ["all"])] == ["mini/all", "real/dev"]
    assert "left out, with trials of one kind and so no error rate: mini/hard" in caplog.text
    with pytest.raises(DataError, match="found one kind in mini/hard; add trials"):
        rated_lists(data_dir, ["mini/hard"])
