"""Trial lists and models are read as they were written; a list that contradicts itself is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ham.data.trials import Trials, label_problems, model_problem, pair_keys, read_models, read_trials, write_trials
from ham.errors import DataError

TRIALS = Trials(("b-s1-x", "a-s1-x", "b-s1-x"), ("a-s1-x", "a-s2-y", "a-s1-x"), np.array([0, 1, 0], np.int8))
SPEAKERS = {"a-1": "a", "a-2": "a", "b-1": "b"}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_trials(tmp_path / "trials", TRIALS)
    read = read_trials(tmp_path / "trials", ["a-s1-x", "a-s2-y", "b-s1-x"])
    assert (read.enrol, read.test, read.labels.tolist()) == (TRIALS.enrol, TRIALS.test, [0, 1, 0])
    assert (read.num_target, read.num_nontarget, read.one_kind) == (1, 2, False)


def test_trials_alone_accept_any_name_and_keep_repeated_lines(tmp_path: Path) -> None:
    write_trials(tmp_path / "trials", TRIALS)
    assert len(read_trials(tmp_path / "trials")) == 3
    with pytest.raises(DataError, match=r"2 problems: .*:1: expected utterances"):
        read_trials(tmp_path / "trials", ["a-s1-x", "a-s2-y"])
    (tmp_path / "trials").write_text("")
    with pytest.raises(DataError, match="is empty"):
        read_trials(tmp_path / "trials")


def test_contradictions_agree_with_a_naive_search() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        names = rng.integers(0, 5, size=(2, 12)).astype(str)
        labels = rng.permuted(np.repeat(np.array([0, 1], np.int8), 6))
        trials = Trials(tuple(map(str, names[0])), tuple(map(str, names[1])), labels)
        seen: dict[frozenset[str], int] = {}
        naive = 0
        for enrol, test, label in zip(trials.enrol, trials.test, labels.tolist(), strict=True):
            pair = frozenset((enrol, test))
            naive += seen.get(pair, label) != label
            seen[pair] = label
        assert len(label_problems(Path("trials"), trials)) == naive


def test_a_pair_has_one_key_in_either_order() -> None:
    keys = pair_keys(Trials(("a", "b", "a", "c"), ("b", "a", "a", "a"), np.zeros(4, np.int8))).tolist()
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("model", "utts", "words"),
    [
        ("m", [], "found 'm' alone"),
        ("m", ["a-1", "x-1"], "expected utterances of utt2spk, found 'x-1'"),
        ("a-1", ["a-1"], "has the name of an utterance"),
        ("m", ["a-1", "a-1"], "names a recording twice"),
        ("m", ["a-1", "b-1"], "expected recordings of one speaker"),
        ("m", ["a-1", "a-2"], None),
    ],
)
def test_what_is_wrong_with_a_model(model: str, utts: list[str], words: str | None, tmp_path: Path) -> None:
    problem = model_problem(model, utts, SPEAKERS)
    assert problem is None if words is None else words in str(problem)
    (tmp_path / "enrol").write_text(" ".join([model, *utts]) + "\n")
    if words is None:
        assert read_models(tmp_path / "enrol", SPEAKERS) == {model: tuple(utts)}
    else:
        with pytest.raises(DataError, match="enrol:1: "):
            read_models(tmp_path / "enrol", SPEAKERS)
