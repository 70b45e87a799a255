"""The training speakers that back-ends learn from: choices, sums, calibration trials, files."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ham.data.kaldi_dir import DataDir
from ham.embeddings.table import write_embeddings
from ham.errors import DataError
from ham.score import cohort as module

SPEAKERS, UTTS = 12, 6


@pytest.fixture
def train(tmp_path: Path) -> DataDir:
    names = [(f"s{s:02d}", v, u) for s in range(SPEAKERS) for v in range(2) for u in range(UTTS // 2)]
    utts = {f"{s}-v{v}-{u}": (s, Path(f"/audio/{s}/v{v}/{u}.flac")) for s, v, u in names}
    return DataDir(
        path=tmp_path / "train",
        wav={utt: wav for utt, (_, wav) in utts.items()},
        utt2spk={utt: spk for utt, (spk, _) in utts.items()},
        utt2dur={utt: 2.0 + number % 5 for number, utt in enumerate(utts)},
        trials=None,
    )


def test_the_cohort_is_spread_and_leaves_out_who_was_kept_aside(train: DataDir) -> None:
    cohort = module.choose_cohort(train.utt2spk, ["s01", "s02"], 2, "train")
    assert len(cohort) == SPEAKERS - 2
    assert cohort["s00"] == ["s00-v0-0", "s00-v1-2"]
    everything = module.choose_cohort(train.utt2spk, [], 0, "train")
    assert [len(utts) for utts in everything.values()] == [UTTS] * SPEAKERS
    with pytest.raises(DataError, match="train: expected training speakers for the cohort, found none"):
        module.choose_cohort(train.utt2spk, [f"s{s:02d}" for s in range(SPEAKERS)], 0, "train")


def test_calibration_prefers_strangers_where_there_are_enough(train: DataDir) -> None:
    aside = [f"s{s:02d}" for s in range(10)]
    assert module.calibration_speakers(train.utt2spk, aside)[0] == {*aside}
    everybody, sentence = module.calibration_speakers(train.utt2spk, aside[:9])
    assert everybody == {*train.utt2spk.values()}
    assert "too far from 0; set data.valid_speakers to 10 or more" in sentence


def test_calibration_targets_cross_sessions(train: DataDir) -> None:
    trials = module.make_calibration_trials(train, {"s00", "s01", "s02"}, 1)
    assert {utt.split("-")[0] for utt in (*trials.enrol, *trials.test)} == {"s00", "s01", "s02"}
    for enrol, test, label in zip(trials.enrol, trials.test, trials.labels, strict=True):
        assert (enrol.split("-")[0] == test.split("-")[0]) == bool(label)
        if label:
            assert enrol.split("-")[1] != test.split("-")[1]
    assert trials.num_target == 3 * 9


def test_sessions_that_the_directory_names_count(train: DataDir) -> None:
    sessions = {utt: str(number % 2) for number, utt in enumerate(train.utt2spk)}
    trials = module.make_calibration_trials(replace(train, sessions=sessions), {"s00", "s01"}, 1)
    pairs = zip(trials.enrol, trials.test, trials.labels, strict=True)
    assert all(sessions[enrol] != sessions[test] for enrol, test, label in pairs if label)


def test_sessions_of_every_layout() -> None:
    utts = {
        "vox1-id1-Vx-00001": "/v/id1/Vx/00001.wav",
        "vox1-id1-Vx-clip-2": "/v/id1/Vx/clip-2.wav",
        "vox1-id1-Vy-00001": "/v/id1/Vy/00001.wav",
        "cn-id2-singing-01-001": "/cn/id2/singing-01-001.flac",
        "cn-id2-singing-01-002": "/cn/id2/singing-01-002.flac",
        "cn-id2-singing-02-001": "/cn/id2/singing-02-001.flac",
        "cn-id3-live_broadcast-01-001": "/cn/id3/live_broadcast-01-001.flac",
        "cn-id3-live_broadcast-joined-02-003": "/joined/id3/live_broadcast-02-003x4.flac",
        "cn-id3-movie-01-001": "/cn/id3/movie-01-001.flac",
    }
    utt2spk = {utt: "-".join(utt.split("-")[:2]) for utt in utts}
    found = list(module.sessions_of({utt: Path(path) for utt, path in utts.items()}, utt2spk).values())
    assert found == [
        "Vx", "Vx", "Vy", "singing-01", "singing-01", "singing-02", "live_broadcast", "live_broadcast", "movie",
    ]  # fmt: skip


def test_sums_taken_up_in_blocks_equal_the_means(train: DataDir) -> None:
    cohort = module.choose_cohort(train.utt2spk, ["s03"], 4, "train")
    utts = list(train.utt2spk)
    embeddings = np.random.default_rng(0).normal(size=(len(utts), 5)).astype(np.float32) + 100
    sums = module.SpeakerSums(cohort, 5)
    for start in range(0, len(utts), 7):
        sums.add(utts[start : start + 7], embeddings[start : start + 7])
    found = sums.means()
    assert found.utts == tuple(cohort)
    for speaker, row in zip(found.utts, found.embeddings, strict=True):
        own = [embeddings[utts.index(utt)].astype(float) for utt in cohort[speaker]]
        np.testing.assert_allclose(row, np.mean(own, axis=0), rtol=1e-6)
    every = [embeddings[utts.index(utt)].astype(float) for own in cohort.values() for utt in own]
    np.testing.assert_allclose(sums.mean(), np.mean(every, axis=0), rtol=1e-12)
    with pytest.raises(DataError, match="expected embeddings of every speaker, found none of s00"):
        module.SpeakerSums(cohort, 5).means()


def write(exp_dir: Path, train: DataDir, *, mean: bool = True) -> None:
    folder = exp_dir / module.FOLDER
    folder.mkdir(parents=True)
    rows = np.random.default_rng(1).normal(size=(4, 5)).astype(np.float32)
    extra = {"mean": np.arange(5.0), "cohort_utts": np.array(3), "train_chunk_s": np.array(0.5)} if mean else {}
    write_embeddings(folder / "cohort.npz", ("s04", "s05"), rows[:2], extra=extra)
    trials = module.make_calibration_trials(train, {"s00", "s01"}, 0)
    utts = sorted({*trials.enrol, *trials.test})
    write_embeddings(folder / "calibration.npz", utts, np.ones((len(utts), 5), np.float32))
    module.write_calibration_trials(exp_dir, trials)


def test_files_come_back(tmp_path: Path, train: DataDir) -> None:
    write(tmp_path, train)
    found = module.read_training(tmp_path, train)
    assert found.cohort.utts == ("s04", "s05")
    assert found.mean.tolist() == [0, 1, 2, 3, 4]
    assert (found.cohort_utts, found.train_chunk_s) == (3, 0.5)
    known = found.calibration
    assert known is not None
    assert known.trials.num_target == 2 * 9
    assert {*known.utt2dur} == {*known.utt2spk} == {*known.embeddings.utts}


def test_files_that_do_not_fit_are_refused(tmp_path: Path, train: DataDir) -> None:
    with pytest.raises(DataError, match=r"cohort\.npz: expected embeddings, found nothing; run stage 5"):
        module.read_training(tmp_path, train)
    write(tmp_path / "a", train, mean=False)
    with pytest.raises(
        DataError, match=r"cohort\.npz: expected the mean embedding, found none; delete .* and run stage 5"
    ):
        module.read_training(tmp_path / "a", train)
    write(tmp_path / "b", train)
    train.utt2spk.pop("s00-v0-0")
    with pytest.raises(DataError, match=r"calibration\.npz: s00-v0-0 is not in .*train; delete .* and run stage 5"):
        module.read_training(tmp_path / "b", train)


def directory(num_speakers: int = 6, num_utts: int = 40) -> DataDir:
    """Speakers of four sessions and utterances of 2 to 20 s."""
    generator = np.random.default_rng(0)
    names = [(f"s{s}-{u:02d}", f"s{s}", f"{u % 4}") for s in range(num_speakers) for u in range(num_utts)]
    utt2dur = {utt: float(d) for (utt, _, _), d in zip(names, generator.uniform(2, 20, len(names)), strict=True)}
    utt2spk, sessions = {utt: spk for utt, spk, _ in names}, {utt: session for utt, _, session in names}
    return DataDir(Path("train"), {}, utt2spk, utt2dur, None, sessions=sessions)


def test_trials_are_of_two_kinds_spread_over_durations_and_across_sessions() -> None:
    train = directory()
    utt2spk, utt2dur, sessions = train.utt2spk, train.utt2dur, train.sessions
    trials = module.make_calibration_trials(train, {*utt2spk.values()}, 0, utts_per_speaker=8)
    same = [utt2spk[a] == utt2spk[b] for a, b in zip(trials.enrol, trials.test, strict=True)]
    assert same == trials.labels.astype(bool).tolist()
    assert trials.num_nontarget > trials.num_target > 100
    for a, b, label in zip(trials.enrol, trials.test, trials.labels, strict=True):
        assert not label or sessions[a] != sessions[b]
    used = {*trials.enrol, *trials.test}
    assert set(Counter(utt2spk[utt] for utt in used).values()) <= {7, 8}
    for speaker in "s0", "s5":
        lengths = sorted(utt2dur[utt] for utt, spk in utt2spk.items() if spk == speaker)
        own = sorted(utt2dur[utt] for utt in used if utt2spk[utt] == speaker)
        assert (own[0], own[-1]) == (lengths[0], lengths[-1])
        assert max(np.diff([lengths.index(d) for d in own])) <= 12


def test_trials_are_the_same_for_the_same_arguments_in_any_order() -> None:
    train = directory()
    speakers = {*train.utt2spk.values()}
    first = module.make_calibration_trials(train, speakers, 0, max_trials=50)
    shuffled = replace(train, utt2spk=dict(reversed(train.utt2spk.items())))
    again = module.make_calibration_trials(shuffled, speakers, 0, max_trials=50)
    assert (first.enrol, first.test) == (again.enrol, again.test)
    assert np.array_equal(first.labels, again.labels)
    assert first.num_target <= 50
    assert module.make_calibration_trials(train, speakers, 1, max_trials=50).enrol != first.enrol


def test_speakers_that_give_no_trials_are_refused() -> None:
    with pytest.raises(DataError, match="at least 2 speakers"):
        module.make_calibration_trials(directory(), {"s0"}, 0)
    with pytest.raises(DataError, match="at least 2 utterances"):
        module.make_calibration_trials(directory(3, 1), {"s0", "s1"}, 0)
