"""Who is trained on and who is tested on, for every mixture of lists that a root can bring."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ham.data.plan import Part, Plan, make_plan
from ham.errors import ConfigError, DataError


def make_root(path: Path, speakers: str = "abcdefghij", num_sessions: int = 2) -> Path:
    for speaker in speakers:
        for session in range(num_sessions):
            folder = path / "wav" / speaker / f"r{session}"
            folder.mkdir(parents=True)
            for utt in range(2):
                (folder / f"{utt}.wav").touch()
    return path


def add_list(root: Path, name: str, speakers: str) -> None:
    """A trial list over the speakers, which are at least two."""
    (root / "trials").mkdir(exist_ok=True)
    lines = [f"1 {spk}/r0/0.wav {spk}/r1/0.wav" for spk in speakers]
    lines += [f"0 {speakers[0]}/r0/1.wav {spk}/r1/0.wav" for spk in speakers[1:]]
    (root / "trials" / name).write_text("\n".join(lines) + "\n")


def add_train_list(root: Path, speakers: str) -> None:
    (root / "splits").mkdir()
    lines = [f"{spk} {spk}/r0/{utt}.wav\n" for spk in speakers for utt in range(2)]
    (root / "splits/train_list.txt").write_text("".join(lines))


def folders(part: Part | None) -> str:
    """The speakers' folders, which are single letters."""
    assert part is not None
    return "".join(sorted({spk.rpartition("-")[2] for spk in part.utt2spk.values()}))


def test_a_training_list_is_the_training_part(tmp_path: Path) -> None:
    root = make_root(tmp_path / "r")
    add_train_list(root, "bca")
    plan = make_plan([root], [], 1)
    assert plan.tests == {}
    assert folders(plan.train) == "abc"
    assert plan.train is not None
    assert plan.train.wav["r-a-r0-1"] == root / "wav/a/r0/1.wav"
    assert len(plan.train.wav) == len(plan.train.utt2spk) == 6


def test_without_one_it_is_who_is_in_no_trial_list(tmp_path: Path) -> None:
    root = make_root(tmp_path / "r")
    add_list(root, "one.txt", "ab")
    add_list(root, "my two.txt", "bcd")
    for test_roots in ([root], []):
        plan = make_plan([root], test_roots, 1)
        assert folders(plan.train) == "efghij"
        assert list(plan.tests) == (["r/my_two", "r/one"] if test_roots else [])
    assert folders(make_plan([root], [root], 1).tests["r/one"]) == "ab"


def test_a_test_part_has_the_utterances_of_its_list_only(tmp_path: Path) -> None:
    root = make_root(tmp_path / "r")
    add_list(root, "t.txt", "ab")
    part = make_plan([], [root], 1).tests["r/t"]
    assert part.trials is not None
    assert set(part.wav) == {*part.trials.enrol, *part.trials.test}
    assert set(part.wav) == {"r-a-r0-0", "r-a-r1-0", "r-b-r0-0", "r-b-r1-0", "r-a-r0-1"}
    assert make_plan([], [root], 1).train is None


def test_a_root_for_both_without_lists_is_split_by_the_seed(tmp_path: Path) -> None:
    root = make_root(tmp_path / "r", "abcdefghijklmnopqrst")
    seen = set()
    for seed in (1, 1, 2, 3):
        plan = make_plan([root], [root], seed)
        tested = folders(plan.tests["r/all"])
        assert len(tested) == 4  # a fifth of 20
        assert sorted(tested + folders(plan.train)) == sorted("abcdefghijklmnopqrst")
        seen.add(tested)
    assert 1 < len(seen) < 4


def test_at_least_two_speakers_are_tested_and_those_with_two_utterances_first(tmp_path: Path) -> None:
    root = make_root(tmp_path / "r", "abcdef")
    for speaker in "abcd":
        for file in ("r0/1.wav", "r1/0.wav", "r1/1.wav"):
            (root / "wav" / speaker / file).unlink()
    for seed in range(5):
        assert folders(make_plan([root], [root], seed).tests["r/all"]) == "ef"


def test_a_test_root_without_lists_is_tested_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_root(tmp_path / "r", "abcd")
    with caplog.at_level(logging.INFO, "ham"):
        plan = make_plan([], [root], 5)
    assert folders(plan.tests["r/all"]) == "abcd"
    assert "made 'all' of 32 trials over 4 speakers, seed 5 (no list 'hard'" in caplog.text
    (root / "speakers.tsv").write_text("speaker\tsex\na\tf\nb\tf\nstranger\tm\n")
    hard = make_plan([], [root], 5).tests["r/hard"]
    assert hard.trials is not None
    assert {
        (enrol[:3], test[:3])
        for enrol, test, label in zip(hard.trials.enrol, hard.trials.test, hard.trials.labels, strict=True)
        if not label
    } == {("r-a", "r-b")}


@pytest.mark.parametrize("is_train", [False, True])
def test_generated_trials_leave_the_training_list_alone(is_train: bool, tmp_path: Path) -> None:
    root = make_root(tmp_path / "r")
    add_train_list(root, "abcdefg")
    plan = make_plan([root] if is_train else [], [root], 1)
    assert folders(plan.tests["r/all"]) == "hij"


def test_equal_folder_names_in_two_roots_are_two_people(tmp_path: Path) -> None:
    one, other = make_root(tmp_path / "one", "ab"), make_root(tmp_path / "other", "ab")
    plan = make_plan([one, other], [], 1)
    assert plan.train is not None
    assert set(plan.train.utt2spk.values()) == {"one-a", "one-b", "other-a", "other-b"}
    assert set(make_plan([one], [other], 1).tests["other/all"].utt2spk.values()) == {"other-a", "other-b"}


def test_a_root_named_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_root(tmp_path / "r", "ab")
    monkeypatch.chdir(tmp_path)
    plan = make_plan([root, Path("r"), tmp_path / "x/../r"], [], 1)
    assert plan.train is not None
    assert len(plan.train.wav) == 8


def test_speakers_on_both_sides_are_refused_and_named(tmp_path: Path) -> None:
    root = make_root(tmp_path / "r")
    add_train_list(root, "abcdefgh")
    add_list(root, "t.txt", "bcdefgj")
    with pytest.raises(DataError, match=r"r/t: 6 of its speakers .*: r-b, r-c, r-d, r-e, r-f and 1 more; take"):
        make_plan([root], [root], 1)
    assert isinstance(make_plan([root], [], 1), Plan)


def test_roots_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    one, other = make_root(tmp_path / "r", "ab"), make_root(tmp_path / "deep/r", "ab")
    with pytest.raises(ConfigError, match=r"have the same name, .* rename one"):
        make_plan([one], [other], 1)
    (tmp_path / "link").symlink_to(one)
    with pytest.raises(ConfigError, match="are the same folder"):
        make_plan([one], [tmp_path / "link"], 1)
    with pytest.raises(ConfigError, match="no such folder"):
        make_plan([one], [tmp_path / "none"], 1)


def test_ids_that_two_roots_share_are_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "x", tmp_path / "x-y"
    make_root(one, "a"), make_root(other, "z")
    (one / "wav/a").rename(one / "wav/y-z")
    with pytest.raises(ConfigError, match="both give the id 'x-y-z'"):
        make_plan([one, other], [], 1)


def test_lists_of_one_name_are_refused(tmp_path: Path) -> None:
    root = make_root(tmp_path / "r")
    add_list(root, "a b.txt", "ab")
    add_list(root, "a_b.txt", "ab")
    with pytest.raises(DataError, match="would both be the list 'a_b'"):
        make_plan([], [root], 1)


def test_too_few_speakers_are_refused_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"training needs at least 2 speakers, found 1 .* add speakers"):
        make_plan([make_root(tmp_path / "one", "a")], [], 1)
    with pytest.raises(DataError, match="training needs at least 2 speakers, found 0"):
        make_plan([make_root(tmp_path / "two", "ab")], [tmp_path / "two"], 1)
    with pytest.raises(DataError, match=r"one: has no trials/\*.txt, and trials need at least 2 speakers"):
        make_plan([], [tmp_path / "one"], 1)


def test_recordings_of_models_are_tested_and_not_trained_on(tmp_path: Path) -> None:
    root = make_root(tmp_path / "r", "abcdef")
    for folder, text in (("enrol", "ann a/r0/0.wav a/r1/1.wav\n"), ("trials", "1 ann a/r0/1.wav\n0 ann b/r0/0.wav\n")):
        (root / folder).mkdir()
        (root / folder / "t.txt").write_text(text)
    plan = make_plan([root], [root], 1)
    assert folders(plan.train) == "cdef"
    assert set(plan.tests["r/t"].wav) == {"r-a-r0-0", "r-a-r1-1", "r-a-r0-1", "r-b-r0-0"}
    (root / "enrol/u.txt").write_text("ann a/r0/0.wav\n")
    (root / "trials/u.txt").write_text((root / "trials/t.txt").read_text())
    with pytest.raises(DataError, match=r"'r-ann' has other recordings in 'u' than in 't'"):
        make_plan([root], [root], 1)
