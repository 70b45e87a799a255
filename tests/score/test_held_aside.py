"""The speech that thresholds are chosen on: whose, which pairs, and what its file gives back."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from ham.data.kaldi_dir import DataDir
from ham.embeddings.table import write_embeddings
from ham.errors import DataError
from ham.score import held_aside as module
from ham.score.backends import parse_backends
from ham.score.scorer import Scorer

UTT2SPK = {f"s{s:02d}-{u}": f"s{s:02d}" for s in range(12) for u in range(3)}


def test_speakers_that_the_network_was_not_trained_on_come_first() -> None:
    everybody = sorted({*UTT2SPK.values()})
    aside, learnt = everybody[:10], everybody[10:]
    assert module.choose_speakers(UTT2SPK, learnt, aside) == (aside, "10 speakers kept aside from the training")
    found, whose = module.choose_speakers({**UTT2SPK, "alone-1": "alone"}, everybody[9:], aside[:9])
    assert found == everybody
    assert whose.startswith("12 training speakers, whom the network tells apart better than others")
    many = {f"s{s:03d}-{u}": f"s{s:03d}" for s in range(600) for u in range(2)}
    chosen = module.choose_speakers(many, {*many.values()}, [])[0]
    assert (len(chosen), chosen[0], chosen[-1]) == (module.MOST_SPEAKERS, "s000", "s599")
    assert module.choose_speakers({"a-1": "a", "b-1": "b"}, ["a", "b"], [])[0] == []


@pytest.mark.parametrize("trained_on", [[], ["others", "more"], ["s00", "s01"]])  # imported; other corpora
def test_speakers_of_other_speech_are_not_called_training_speakers(trained_on: list[str]) -> None:
    found, whose = module.choose_speakers(UTT2SPK, trained_on, [])
    assert found == [speaker for speaker in sorted({*UTT2SPK.values()}) if speaker not in trained_on]
    assert whose == f"{len(found)} speakers of the training data that the model does not name among those it has learnt"


def test_pairs_are_all_there_are_or_a_fair_share() -> None:
    speakers = np.array([*UTT2SPK.values()])
    expected = {(i, j) for i, j in combinations(range(len(speakers)), 2) if speakers[i] != speakers[j]}
    found = module.pairs_across(speakers)
    assert {tuple(pair) for pair in found.tolist()} == expected
    assert len(found) == len(expected)
    some = module.pairs_across(np.repeat(np.arange(300).astype(str), 2), 20_000)
    assert 15_000 < len(some) <= 20_000
    assert len({tuple(pair) for pair in some.tolist()}) == len(some)
    assert (some[:, 0] // 2 < some[:, 1] // 2).all()
    assert np.bincount(some.ravel(), minlength=600).min() > 20


@pytest.fixture
def written(tmp_path: Path) -> Path:
    durations = dict.fromkeys(UTT2SPK, 3.0)
    train = DataDir(Path("train"), {}, UTT2SPK, durations, None, sessions={utt: utt[-1] for utt in UTT2SPK})
    speakers, whose = module.choose_speakers(UTT2SPK, ["s10", "s11"], [f"s{s:02d}" for s in range(10)])
    targets, utts = module.choose_targets(train, speakers, 0)
    assert utts == {utt for utt, speaker in UTT2SPK.items() if speaker in speakers}
    generator = np.random.default_rng(0)
    centres = dict(zip(speakers, generator.normal(size=(10, 6)), strict=True))
    rows = {utt: (centres[UTT2SPK[utt]] + 0.5 * generator.normal(size=6)).astype(np.float32) for utt in sorted(utts)}
    module.write_held_aside(tmp_path, rows, UTT2SPK, targets, whose, "model audio")
    return tmp_path


def test_the_file_holds_every_trial(written: Path) -> None:
    found = module.read_held_aside(written, "model")
    assert found is not None
    trials = found.embedded.trials
    same = [enrol[:3] == test[:3] for enrol, test in zip(trials.enrol, trials.test, strict=True)]
    assert same == trials.labels.astype(bool).tolist()
    assert (trials.num_target, trials.num_nontarget) == (10 * 3, 45 * 9)
    assert found.embedded.utt2spk == {utt: UTT2SPK[utt] for utt in found.embedded.embeddings.utts}
    assert found.whose == "10 speakers kept aside from the training"


def test_back_ends_without_calibration_get_decisions(written: Path) -> None:
    found = module.read_held_aside(written, "model")
    assert found is not None
    decisions = found.decisions(parse_backends(["cosine+crops", "cosine+llr"]), Scorer(), 0.01)
    assert list(decisions) == ["cosine"]
    cosine = decisions["cosine"]
    assert (cosine.num_speakers, cosine.num_target, cosine.num_nontarget) == (10, 30, 405)
    assert cosine.whose == found.whose
    assert cosine.llr(cosine.point().threshold or 0.0) == pytest.approx(0.0, abs=3.0)


def test_none_where_the_file_is_missing_or_of_another_model(written: Path, tmp_path: Path) -> None:
    assert module.read_held_aside(tmp_path / "elsewhere", "model") is None
    assert module.read_held_aside(written, "other") is None
    whole = (written / module.FILE).read_bytes()
    (written / module.FILE).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"thresholds\.npz: expected a \.npz file"):
        module.read_held_aside(written, "model")
    write_embeddings(written / module.FILE, ["a"], np.ones((1, 2), np.float32), "model audio")
    with pytest.raises(DataError, match=r"thresholds\.npz: expected speakers and trials, found none; delete it"):
        module.read_held_aside(written, "model")
