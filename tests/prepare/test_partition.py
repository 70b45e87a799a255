"""Who is trained on and who is tested on, for every mixture of lists that a root can bring."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from ham.errors import ConfigError, DataError
from ham.prepare.partition import Partition, Subset, make_partition, without_bad_utts


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


def folders(part: Subset | None) -> str:
    """The speakers' folders, which are single letters."""
    assert part is not None
    return "".join(sorted({spk.rpartition("-")[2] for spk in part.utt2spk.values()}))


def test_a_training_list_is_the_training_part(tmp_path: Path) -> None:
    root = make_root(tmp_path / "r")
    add_train_list(root, "bca")
    partition = make_partition([root], [], 1)
    assert partition.tests == {}
    assert folders(partition.train) == "abc"
    assert partition.train is not None
    assert partition.train.wav["r-a-r0-1"] == root / "wav/a/r0/1.wav"
    assert len(partition.train.wav) == len(partition.train.utt2spk) == 6


def test_without_one_it_is_who_is_in_no_trial_list(tmp_path: Path) -> None:
    root = make_root(tmp_path / "r")
    add_list(root, "one.txt", "ab")
    add_list(root, "my two.txt", "bcd")
    for test_roots in ([root], []):
        partition = make_partition([root], test_roots, 1)
        assert folders(partition.train) == "efghij"
        assert list(partition.tests) == (["r/my_two", "r/one"] if test_roots else [])
    assert folders(make_partition([root], [root], 1).tests["r/one"]) == "ab"


def test_a_test_part_has_the_utterances_of_its_list_only(tmp_path: Path) -> None:
    root = make_root(tmp_path / "r")
    add_list(root, "t.txt", "ab")
    part = make_partition([], [root], 1).tests["r/t"]
    assert part.trials is not None
    assert set(part.wav) == {*part.trials.enrol, *part.trials.test}
    assert set(part.wav) == {"r-a-r0-0", "r-a-r1-0", "r-b-r0-0", "r-b-r1-0", "r-a-r0-1"}
    assert make_partition([], [root], 1).train is None


def test_a_root_for_both_without_lists_is_split_by_the_seed(tmp_path: Path) -> None:
    root = make_root(tmp_path / "r", "abcdefghijklmnopqrst")
    seen = set()
    for seed in (1, 1, 2, 3):
        partition = make_partition([root], [root], seed)
        tested = folders(partition.tests["r/all"])
        assert len(tested) == 4  # a fifth of 20
        assert sorted(tested + folders(partition.train)) == sorted("abcdefghijklmnopqrst")
        seen.add(tested)
    assert 1 < len(seen) < 4


def test_at_least_two_speakers_are_tested_and_those_with_two_utterances_first(tmp_path: Path) -> None:
    root = make_root(tmp_path / "r", "abcdef")
    for speaker in "abcd":
        for file in ("r0/1.wav", "r1/0.wav", "r1/1.wav"):
            (root / "wav" / speaker / file).unlink()
    for seed in range(5):
        assert folders(make_partition([root], [root], seed).tests["r/all"]) == "ef"


def test_a_test_root_without_lists_is_tested_whole(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_root(tmp_path / "r", "abcd")
    with caplog.at_level(logging.INFO, "ham"):
        partition = make_partition([], [root], 5)
    assert folders(partition.tests["r/all"]) == "abcd"
    assert "made 'all' of 32 trials over 4 speakers, seed 5 (no list 'hard'" in caplog.text
    (root / "speakers.tsv").write_text("speaker\tsex\na\tf\nb\tf\nstranger\tm\n")
    hard = make_partition([], [root], 5).tests["r/hard"]
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
    partition = make_partition([root] if is_train else [], [root], 1)
    assert folders(partition.tests["r/all"]) == "hij"


def test_equal_folder_names_in_two_roots_are_two_people(tmp_path: Path) -> None:
    one, other = make_root(tmp_path / "one", "ab"), make_root(tmp_path / "other", "ab")
    partition = make_partition([one, other], [], 1)
    assert partition.train is not None
    assert set(partition.train.utt2spk.values()) == {"one-a", "one-b", "other-a", "other-b"}
    assert set(make_partition([one], [other], 1).tests["other/all"].utt2spk.values()) == {"other-a", "other-b"}


def test_a_root_named_twice_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_root(tmp_path / "r", "ab")
    monkeypatch.chdir(tmp_path)
    partition = make_partition([root, Path("r"), tmp_path / "x/../r"], [], 1)
    assert partition.train is not None
    assert len(partition.train.wav) == 8


def test_speakers_on_both_sides_are_refused_and_named(tmp_path: Path) -> None:
    root = make_root(tmp_path / "r")
    add_train_list(root, "abcdefgh")
    add_list(root, "t.txt", "bcdefgj")
    with pytest.raises(DataError, match=r"r/t: 6 of its speakers .*: r-b, r-c, r-d, r-e, r-f and 1 more; take"):
        make_partition([root], [root], 1)
    assert isinstance(make_partition([root], [], 1), Partition)


def test_roots_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    one, other = make_root(tmp_path / "r", "ab"), make_root(tmp_path / "deep/r", "ab")
    with pytest.raises(ConfigError, match=r"have the same name, .* rename one"):
        make_partition([one], [other], 1)
    (tmp_path / "link").symlink_to(one)
    with pytest.raises(ConfigError, match="are the same folder"):
        make_partition([one], [tmp_path / "link"], 1)
    with pytest.raises(ConfigError, match="no such folder"):
        make_partition([one], [tmp_path / "none"], 1)


def test_ids_that_two_roots_share_are_refused(tmp_path: Path) -> None:
    one, other = tmp_path / "x", tmp_path / "x-y"
    make_root(one, "a"), make_root(other, "z")
    (one / "wav/a").rename(one / "wav/y-z")
    with pytest.raises(ConfigError, match="both give the id 'x-y-z'"):
        make_partition([one, other], [], 1)


def test_lists_of_one_name_are_refused(tmp_path: Path) -> None:
    root = make_root(tmp_path / "r")
    add_list(root, "a b.txt", "ab")
    add_list(root, "a_b.txt", "ab")
    with pytest.raises(DataError, match="would both be the list 'a_b'"):
        make_partition([], [root], 1)


def test_too_few_speakers_are_refused_with_a_cure(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"training needs at least 2 speakers, found 1 .* add speakers"):
        make_partition([make_root(tmp_path / "one", "a")], [], 1)
    with pytest.raises(DataError, match="training needs at least 2 speakers, found 0"):
        make_partition([make_root(tmp_path / "two", "ab")], [tmp_path / "two"], 1)
    with pytest.raises(DataError, match=r"one: has no trials/\*.txt, and trials need at least 2 speakers"):
        make_partition([], [tmp_path / "one"], 1)


def test_recordings_of_models_are_tested_and_not_trained_on(tmp_path: Path) -> None:
    root = make_root(tmp_path / "r", "abcdef")
    for folder, text in (("enrol", "ann a/r0/0.wav a/r1/1.wav\n"), ("trials", "1 ann a/r0/1.wav\n0 ann b/r0/0.wav\n")):
        (root / folder).mkdir()
        (root / folder / "t.txt").write_text(text)
    partition = make_partition([root], [root], 1)
    assert folders(partition.train) == "cdef"
    assert set(partition.tests["r/t"].wav) == {"r-a-r0-0", "r-a-r1-1", "r-a-r0-1", "r-b-r0-0"}
    (root / "enrol/u.txt").write_text("ann a/r0/0.wav\n")
    (root / "trials/u.txt").write_text((root / "trials/t.txt").read_text())
    with pytest.raises(DataError, match=r"'r-ann' has other recordings in 'u' than in 't'"):
        make_partition([root], [root], 1)


def add_table(folder: Path, splits: str, name: str = "t") -> Path:
    """A table of speakers a, b, c, ... with two files each; ``splits`` has a letter for each, T, D or S (train)."""
    words = {"T": "test", "D": "dev", "S": "train"}
    rows = ["path,speaker,split"]
    for speaker, letter in zip("abcdefghij", splits, strict=False):
        for number in range(2):
            (folder / f"{speaker}{number}.wav").touch()
            rows.append(f"{speaker}{number}.wav,{speaker},{words[letter]}")
    (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    return folder / f"{name}.csv"


@pytest.mark.parametrize(
    ("splits", "trained", "tested"),
    [("SSTT", "ab", "cd"), ("SSDD", "ab", "cd"), ("SSDDTT", "ab", "ef"), ("SS", "ab", ""), ("TTT", "", "abc")],
)
def test_a_column_split_says_who_trains_and_who_is_tested(
    splits: str, trained: str, tested: str, tmp_path: Path
) -> None:
    table = add_table(tmp_path, splits)
    partition = make_partition([table], [table], 1)
    assert (folders(partition.train) if partition.train else "") == trained
    assert "".join(map(folders, partition.tests.values())) == tested
    assert list(partition.tests) == (["t/all"] if tested else [])


def test_splits_that_cannot_be_kept_are_refused(tmp_path: Path) -> None:
    table = add_table(tmp_path, "SSTT")
    table.write_text(table.read_text().replace("c1.wav,c,test", "c1.wav,c,train"))
    with pytest.raises(DataError, match=r"t/all: 1 of its speakers are in the training part too: t-c; .*column split"):
        make_partition([table], [table], 1)
    dev = add_table(tmp_path, "DD", "dev")
    with pytest.raises(DataError, match="expected something to train on or to test, found neither"):
        make_partition([dev], [], 1)
    with pytest.raises(DataError, match="training needs at least 2 speakers, found 1"):
        make_partition([add_table(tmp_path, "ST", "one")], [], 1)


def test_lists_of_a_table_lie_in_the_folder_of_its_name(tmp_path: Path) -> None:
    table = add_table(tmp_path, "SSTTT")
    (tmp_path / "t/trials").mkdir(parents=True)
    (tmp_path / "t/trials/x.txt").write_text("1 c0.wav c1.wav\n0 c0.wav d1.wav\n")
    partition = make_partition([table], [table], 1)
    assert list(partition.tests) == ["t/x"]
    assert folders(partition.tests["t/x"]) == "cd"
    assert folders(partition.train) == "ab"


def add_kaldi(folder: Path, speakers: str) -> Path:
    folder.mkdir()
    utts = [f"{speaker}-{session}-{number}" for speaker in speakers for session in "xy" for number in range(2)]
    (folder / "wav.scp").write_text("".join(f"{utt} /speech/{utt}.wav\n" for utt in utts))
    (folder / "utt2spk").write_text("".join(f"{utt} {utt[0]}\n" for utt in utts))
    return folder


def test_names_in_kaldi_directories_are_one_person_everywhere(tmp_path: Path) -> None:
    one, other = add_kaldi(tmp_path / "one", "abc"), add_kaldi(tmp_path / "other", "cd")
    partition = make_partition([one], [add_kaldi(tmp_path / "third", "ef")], 1)
    assert partition.train is not None
    assert list(partition.train.utt2spk.items())[:1] == [("a-x-0", "a")]
    assert partition.train.sessions["a-x-0"] == "x"
    with pytest.raises(ConfigError, match=r"both give the id 'c-x-0'; take it out of one"):
        make_partition([one, other], [], 1)
    for name in ("wav.scp", "utt2spk"):
        (other / name).write_text((other / name).read_text().replace("c-", "c-new-"))
    partition = make_partition([one, other], [], 1)
    assert partition.train is not None
    assert len(partition.train.wav) == 20
    assert sum(spk == "c" for spk in partition.train.utt2spk.values()) == 8
    with pytest.raises(DataError, match=r"other/all: 1 of its speakers are in the training part too: c;"):
        make_partition([one], [other], 1)


def test_utterances_that_are_their_own_speakers_train_nothing(tmp_path: Path) -> None:
    root = add_kaldi(tmp_path / "one", "abc")
    utts = [line.split()[0] for line in (root / "utt2spk").read_text().splitlines()]
    (root / "utt2spk").write_text("".join(f"{utt} {utt}\n" for utt in utts))
    with pytest.raises(DataError, match="every utterance is its own speaker; training needs to know who speaks"):
        make_partition([root], [], 1)


def test_a_kaldi_directory_has_its_trials_in_a_file(tmp_path: Path) -> None:
    root = add_kaldi(tmp_path / "one", "abc")
    (root / "trials").write_text("1 a-x-0 a-y-0\n0 a-x-0 b-y-0\n")
    assert folders(make_partition([], [root], 1).tests["one/trials"]) == "ab"


def test_sessions_are_kept_where_folders_do_not_tell_them(tmp_path: Path) -> None:
    root = make_root(tmp_path / "r", "ab")
    assert make_partition([root], [], 1).train.sessions == {}  # type: ignore[union-attr]
    partition = make_partition([root, add_table(tmp_path, "SS")], [], 1)
    assert partition.train is not None
    assert partition.train.sessions.keys() == partition.train.wav.keys()
    assert partition.train.sessions["r-a-r0-1"] == "r0"


@pytest.mark.parametrize("form", ["{0} {1} target\n{0} {2} nontarget\n", "1 {0} {1}\n0 {0} {2}\n"])
def test_trials_of_mapped_ids_keep_the_old_names(form: str, tmp_path: Path) -> None:
    root = add_kaldi(tmp_path / "one", "abc")
    for name in ("wav.scp", "utt2spk"):
        lines = [f"u-{line}" for line in (root / name).read_text().splitlines()]
        (root / name).write_text("\n".join(lines) + "\n")
    (root / "trials").write_text(form.format("u-a-x-0", "u-a-y-0", "u-b-y-0"))
    trials = make_partition([], [root], 1).tests["one/trials"].trials
    assert trials is not None
    assert (trials.enrol[0], trials.test) == ("a-u-a-x-0", ("a-u-a-y-0", "b-u-b-y-0"))


def subset(*utts: str) -> Subset:
    return Subset({utt: Path(f"/{utt[-1]}.wav") for utt in utts}, {utt: utt[0] for utt in utts})


def test_folders_and_files_are_those_of_all_subsets_once() -> None:
    whole = Partition(subset("a-1", "b-2"), {"r/l": subset("c-2", "c-3")})
    assert list(whole.folders) == ["test/r/l", "train"]
    assert set(whole.files) == {Path("/1.wav"), Path("/2.wav"), Path("/3.wav")}
    assert len(whole.files) == 3
    assert list(Partition(None, whole.tests).folders) == ["test/r/l"]


def test_bad_utterances_are_left_out_of_training_only_and_within_the_budget(caplog: pytest.LogCaptureFixture) -> None:
    whole = Partition(subset("a-1", "a-2", "b-1"), {"r/l": subset("c-1")})
    assert without_bad_utts(whole, {}, 0) is whole
    kept = without_bad_utts(whole, {"a-2": "is silent"}, 1)
    assert kept.train is not None
    assert list(kept.train.wav) == list(kept.train.utt2spk) == ["a-1", "b-1"]
    assert kept.tests == whole.tests
    assert "1 of 3 training files are left out: is silent" in caplog.text
    for errors, words in (
        ({"c-1": "is silent"}, "test files are never left out, replace or unlist them: is silent"),
        (
            {"a-1": "one", "a-2": "two"},
            "2 training files cannot be used and --max_bad_train_files allows 1: 2 problems",
        ),
        ({"b-1": "is silent"}, "training needs at least 2 speakers"),
    ):
        with pytest.raises(DataError, match=words):
            without_bad_utts(whole, errors, 1)
