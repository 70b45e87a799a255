"""The command over small real folders: what it leaves behind, what it says, and how it ends."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ham.audio.inspection import CHECKS
from ham.bin.prepare_data import main
from ham.cli import run
from ham.data.kaldi_dir import STAGE, read_data_dir
from ham.data.ownership import mark_name
from ham.prepare import segments
from tests.waiting import status_after_waiting

RATE = 16000
MARK = mark_name(STAGE)


def write_voice(path: Path, seed: int, rate: int = RATE, num_channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (rate // 5 + seed, num_channels)
    soundfile.write(path, 0.1 * np.random.default_rng(seed).standard_normal(shape), rate)


def make_root(path: Path, speakers: str = "abcdef") -> Path:
    for number, speaker in enumerate(speakers):
        for session in range(2):
            for utt in range(2):
                write_voice(path / f"wav/{speaker}/r{session}/{utt}.flac", 4 * number + 2 * session + utt)
    return path


def add_list(root: Path, name: str, speakers: str) -> None:
    (root / "trials").mkdir(exist_ok=True)
    lines = [f"1 {spk}/r0/0.flac {spk}/r1/0.flac" for spk in speakers]
    lines += [f"0 {speakers[0]}/r0/0.flac {spk}/r1/0.flac" for spk in speakers[1:]]
    (root / "trials" / name).write_text("\n".join(lines) + "\n")


class Command:
    """The command with its data folder, and what it said last."""

    def __init__(self, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.data_dir = data_dir
        self._capsys = capsys
        self.err = ""

    def __call__(self, *argv: object) -> int:
        self._capsys.readouterr()
        status = run(main, [*map(str, argv), "--data_dir", str(self.data_dir)])
        out, self.err = self._capsys.readouterr()
        assert out == ""
        assert "Traceback" not in self.err
        return status

    def content(self) -> dict[str, bytes]:
        files = (path for path in self.data_dir.rglob("*") if path.is_file() and path.name != CHECKS["decode"][1])
        return {str(path.relative_to(self.data_dir)): path.read_bytes() for path in files}


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path / "data", capsys)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = make_root(tmp_path / "corpus")
    add_list(made, "easy.txt", "ab")
    return made


def test_directories_are_complete_and_valid(command: Command, root: Path) -> None:
    assert command("--train-roots", root, "--test-roots", root) == 0
    train = read_data_dir(command.data_dir / "train")
    assert list(train.spk2utt) == ["corpus-c", "corpus-d", "corpus-e", "corpus-f"]
    assert train.trials is None
    test = read_data_dir(command.data_dir / "test/corpus/easy")
    assert list(test.wav) == ["corpus-a-r0-0", "corpus-a-r1-0", "corpus-b-r0-0", "corpus-b-r1-0"]
    assert test.trials is not None
    assert test.trials.labels.tolist() == [1, 1, 0]
    assert test.wav["corpus-b-r1-0"] == root / "wav/b/r1/0.flac"
    assert test.utt2dur["corpus-b-r1-0"] == (RATE // 5 + 6) / RATE
    assert f"{command.data_dir}/train: 16 utterances of 4 speakers" in command.err
    assert "2 target and 1 non-target trials" in command.err


def test_repeating_says_so_and_decodes_nothing(command: Command, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[Path] = []
    inspect, name = CHECKS["decode"]
    monkeypatch.setitem(CHECKS, "decode", (lambda path: (decoded.append(path), inspect(path))[1], name))
    argv = ("--train_roots", root, "--test_roots", root)
    assert command(*argv) == 0
    before = command.content()
    assert len(decoded) == len(set(decoded)) == 20
    assert "already prepared" not in command.err
    assert command(*argv) == 0
    assert len(decoded) == 20
    assert command.err.endswith("data: was already prepared, nothing has changed\n")
    write_voice(root / "wav/c/r0/0.flac", 99)
    assert command(*argv) == 0
    assert decoded[20:] == [root / "wav/c/r0/0.flac"]
    assert "already prepared" not in command.err
    changed = {name for name, content in command.content().items() if content != before[name]}
    assert changed == {"train/utt2dur", f"train/{MARK}"}


def test_a_damaged_directory_is_written_again(command: Command, root: Path) -> None:
    assert command("--train_roots", root) == 0
    before = command.content()
    (command.data_dir / "train/utt2spk").write_text("x y\n")
    assert command("--train_roots", root) == 0
    assert command.content() == before


def test_an_earlier_request_leaves_nothing(command: Command, root: Path, tmp_path: Path) -> None:
    other = make_root(tmp_path / "other", "ab")
    assert command("--train_roots", root, "--test_roots", root, other) == 0
    (command.data_dir / "store").mkdir()
    assert command("--test_roots", other) == 0
    assert {path.name for path in command.data_dir.iterdir()} == {"test", "store", CHECKS["decode"][1]}
    assert [path.name for path in (command.data_dir / "test").iterdir()] == ["other"]
    assert "test/corpus/easy: removed" in command.err


def test_the_seed_decides_generated_lists(command: Command, tmp_path: Path) -> None:
    root = make_root(tmp_path / "corpus", "abcdefghij")
    contents = []
    for seed in (1, 2, 1):
        assert command("--train_roots", root, "--test_roots", root, "--seed", seed) == 0
        contents.append(command.content())
    assert contents[0] == contents[2] != contents[1]
    assert "made 'all' of" in command.err


def test_bad_training_files_stop_the_run_beyond_the_budget(command: Command, root: Path) -> None:
    for speaker in "cd":
        (root / f"wav/{speaker}/r0/0.flac").write_text("no audio")
    assert command("--train_roots", root) == 1
    assert command.err.count("is not audio") == 2
    assert ("\nerror: 2 training files cannot be used and --max_bad_train_files allows 0: 2 problems: ") in command.err
    assert command("--train_roots", root, "--max-bad-train-files", 1) == 1
    assert command.content() == {}
    assert command("--train_roots", root, "--max-bad-train-files", 2) == 0
    assert "warning: 2 of 16 training files are left out: 2 problems: " in command.err
    assert len(read_data_dir(command.data_dir / "train").wav) == 14


def test_a_budget_cannot_leave_fewer_than_two_speakers(command: Command, tmp_path: Path) -> None:
    root = make_root(tmp_path / "corpus", "ab")
    for path in (root / "wav/b").rglob("*.flac"):
        path.write_bytes(b"")
    assert command("--train_roots", root, "--max_bad_train_files", 9) == 1
    assert "at least 2 speakers" in command.err


def test_a_bad_test_file_always_stops_the_run(command: Command, root: Path) -> None:
    for name in ("r0/0.flac", "r1/0.flac"):
        (root / "wav/a" / name).write_bytes(b"")
    assert command("--train_roots", root, "--test_roots", root, "--max_bad_train_files", 9) == 1
    assert "test files are never left out" in command.err
    assert "2 problems: " in command.err
    assert command.content() == {}


def test_what_was_decoded_before_a_failure_is_remembered(command: Command, root: Path) -> None:
    (root / "wav/c/r0/0.flac").write_text("no audio")
    assert command("--train_roots", root) == 1
    assert len(json.loads((command.data_dir / CHECKS["decode"][1]).read_text())["files"]) == 15


def test_conversions_are_said_once_with_counts(command: Command, root: Path) -> None:
    write_voice(root / "wav/c/r0/0.flac", 1, rate=44100)
    write_voice(root / "wav/c/r0/1.flac", 2, rate=8000, num_channels=2)
    write_voice(root / "wav/c/r1/1.flac", 3, rate=8000)
    assert command("--train_roots", root) == 0
    assert "resampled to 16000 Hz when read: 3 files, 2 at 8000 Hz, 1 at 44100 Hz\n" in command.err
    assert "1 file of more than one channel" in command.err
    assert command("--train_roots", root) == 0
    assert "when read: 3 files" in command.err


@pytest.mark.parametrize(
    ("argv", "status", "words"),
    [
        ([], 2, "expected --train_roots, --test_roots or --csv"),
        (["--train_roots", "nowhere"], 2, "nowhere: no such folder"),
        (["--train_roots", ""], 2, "empty word"),
        (["--train_root", "x"], 2, "did you mean --train_roots?"),
        (["--train_roots", "x", "--num_workers", "0"], 2, "at least 1"),
        (["--train_roots", "x", "--max_bad_train_files", "-1"], 2, "at least 0"),
        (["--train_roots", "."], 1, "found no audio file"),
    ],
)
def test_wrong_requests_end_in_one_line(
    argv: Sequence[str], status: int, words: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command(*argv) == status
    assert words in command.err
    assert command.err.count("\n") == 1


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def own_directory(data_dir: Path) -> None:
    """A Kaldi directory by hand."""
    (data_dir / "train").mkdir(parents=True)
    texts = {"wav.scp": "a-1 /a.wav", "utt2spk": "a-1 a", "spk2utt": "a a-1", "utt2dur": "a-1 1.0"}
    for name, text in texts.items():
        (data_dir / "train" / name).write_text(text + "\n")


def with_a_file_of_theirs(data_dir: Path) -> None:
    (data_dir / "train/text").write_text("a-1 years of work\n")


def changed_by_hand(data_dir: Path) -> None:
    """Still valid: somebody's work, not damage."""
    path = data_dir / "train/utt2dur"
    path.write_text(path.read_text().replace(" 0.2", " 9.2", 1))


def copied_list(data_dir: Path) -> None:
    shutil.copytree(data_dir / "test/corpus/easy", data_dir / "test/corpus/mine")


def copied_root(data_dir: Path) -> None:
    shutil.copytree(data_dir / "test/corpus", data_dir / "test/backup")


def unmarked(data_dir: Path) -> None:
    """As somebody else would write it."""
    (data_dir / "train" / MARK).unlink()


def linked_elsewhere(data_dir: Path) -> None:
    shutil.rmtree(data_dir / "train")
    own_directory(data_dir.parent / "elsewhere")
    (data_dir / "train").symlink_to(data_dir.parent / "elsewhere/train")


def a_file(data_dir: Path) -> None:
    shutil.rmtree(data_dir / "train")
    (data_dir / "train").write_text("mine")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (own_directory, "/train: expected a folder that stage 2 wrote, but it lacks the mark"),
        (with_a_file_of_theirs, "/train: expected a folder that stage 2 wrote, but it also holds 'text'; move it away"),
        (changed_by_hand, "'utt2dur' was changed since; move it away, or remove it to have it written again"),
        (
            copied_list,
            "/test/corpus/mine: expected a folder that stage 2 wrote, but it is a copy of 'test/cor",
        ),
        (copied_root, "/test/backup/easy: expected a folder that stage 2 wrote, but it is a copy"),
        (unmarked, "lacks the mark .made_by_stage_2; move it away, or remove it"),
        (linked_elsewhere, "lacks the mark"),
        (a_file, "/train: expected a folder that stage 2 wrote, but it is a file; move it away"),
    ],
)
@pytest.mark.parametrize("wanted", ["train", "test"])
def test_what_stage_2_did_not_write_is_neither_replaced_nor_removed(
    spoil: Callable[[Path], None],
    words: str,
    wanted: str,
    command: Command,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if spoil is not own_directory:
        assert command("--train_roots", root, "--test_roots", root) == 0
    spoil(command.data_dir)
    before = snapshot(command.data_dir.parent)
    write_voice(root / "wav/c/r0/0.flac", 77)  # so that train has to be written anew
    before["corpus/wav/c/r0/0.flac"] = (root / "wav/c/r0/0.flac").read_bytes()
    monkeypatch.setitem(CHECKS, "decode", (lambda path: pytest.fail(f"decoded {path} in vain"), CHECKS["decode"][1]))
    assert command(f"--{wanted}_roots", root) == 1
    assert words in command.err
    assert snapshot(command.data_dir.parent) == before


@pytest.mark.parametrize("link", [True, False])
def test_a_file_that_is_trained_on_is_not_tested_and_a_copy_is_said(
    link: bool, command: Command, root: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    for number, name in enumerate(("g/r0/0", "g/r0/1", "h/r0/0")):
        write_voice(other / f"wav/{name}.flac", 50 + number)
    (other / "wav/g/r0/0.flac").unlink()
    if link:
        (other / "wav/g/r0/0.flac").symlink_to(root / "wav/a/r0/0.flac")
    else:
        shutil.copy(root / "wav/a/r0/0.flac", other / "wav/g/r0/0.flac")
    assert command("--train_roots", other, "--test_roots", root) == link
    same = f"{root}/wav/a/r0/0.flac is {other}/wav/g/r0/0.flac"
    if link:
        assert f"error: trained on and tested, under two speakers' names: {same}; leave one of each out" in command.err
    else:
        said = "1 recordings are there under two speakers' names, 1 of them trained on and tested"
        assert f"warning: {said}: {same}\n" in command.err
    assert (command.data_dir / "train").exists() != link


def test_a_recording_of_two_speakers_is_warned_of(command: Command, root: Path) -> None:
    shutil.copy(root / "wav/c/r0/0.flac", root / "wav/d/r0/1.flac")
    assert command("--train_roots", root) == 0
    said = "1 recordings are there under two speakers' names, 0 of them trained on and tested"
    assert f"warning: {said}: {root}/wav/c/r0/0.flac is {root}/wav/d/r0/1.flac\n" in command.err


def test_an_empty_folder_is_nobodys(command: Command, root: Path) -> None:
    (command.data_dir / "train").mkdir(parents=True)
    assert command("--train_roots", root) == 0
    assert read_data_dir(command.data_dir / "train").wav


def test_a_data_dir_that_is_a_file_is_one_line(command: Command, root: Path) -> None:
    command.data_dir.write_text("")
    assert command("--train_roots", root) == 1
    assert command.err == f"error: {command.data_dir}: File exists\n"


def test_headers_are_believed_where_that_is_asked_for(command: Command, root: Path) -> None:
    silent, cut = root / "wav/c/r0/0.flac", root / "wav/d/r0/0.flac"
    soundfile.write(silent, np.zeros(RATE), RATE)
    argv = ("--train_roots", root, "--test_roots", root, "--check")
    assert command(*argv, "header") == 0
    assert read_data_dir(command.data_dir / "train").utt2dur["corpus-c-r0-0"] == 1
    assert command(*argv, "decode") == 1  # what a header has shown is no decoding
    assert "1 training file cannot be used" in command.err
    cut.write_bytes(cut.read_bytes()[:-300])
    assert command(*argv, "header") == 1
    assert "samples and a frame that ends with the file, found none" in command.err


@pytest.mark.parametrize("check", ["header", "decode"])
def test_a_recording_that_was_replaced_with_the_old_size_and_time_is_inspected_again(
    command: Command, root: Path, check: str
) -> None:
    path = root / "wav/c/r0/0.wav"
    path.with_suffix(".flac").unlink()
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, RATE), RATE)
    argv = ("--train_roots", root, "--test_roots", root, "--check", check)
    assert command(*argv) == 0
    content, status = bytearray(path.read_bytes()), path.stat()
    time.sleep(0.02)  # file systems stamp times in steps of some ms
    content[40:44] = (RATE).to_bytes(4, "little")
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert command(*argv) == 1
    assert f"expected {RATE} bytes of samples, as its header says, found {2 * RATE}" in command.err


def segmented(place: Path, spoil: str = "") -> Path:
    """A Kaldi directory of 3 speakers with 2 segments each; ``spoil`` changes the line of c's second one."""
    rng = np.random.default_rng(1)
    lines = []
    for speaker in "abc":
        wave = np.concatenate([0.1 * rng.standard_normal(RATE), np.zeros(RATE // 2), 0.1 * rng.standard_normal(RATE)])
        (place / "audio").mkdir(parents=True, exist_ok=True)
        soundfile.write(place / f"audio/{speaker}.wav", wave, RATE)
        lines += [f"{speaker}-1 {speaker} 0.25 0.9", f"{speaker}-2 {speaker} 1.6 2.5"]
    if spoil:
        lines[-1] = f"c-2 c {spoil}"
    (place / "segments").write_text("\n".join(lines) + "\n")
    (place / "wav.scp").write_text("".join(f"{speaker} audio/{speaker}.wav\n" for speaker in "abc"))
    (place / "utt2spk").write_text("".join(f"{line.split()[0]} {line[0]}\n" for line in lines))
    return place


def test_a_part_of_a_file_has_its_own_length(command: Command, tmp_path: Path) -> None:
    assert command("--train_roots", segmented(tmp_path / "k", "1.6 2.9")) == 0
    assert "warning: 1 part of a file ends up to 0.5 s behind the file and is cut there" in command.err
    assert "no test lists; stages 3 and 4 train, stages 5 to 7 need --test_roots" in command.err
    train = read_data_dir(command.data_dir / "train")
    assert train.utt2dur == {"a-1": 0.65, "a-2": 0.9, "b-1": 0.65, "b-2": 0.9, "c-1": 0.65, "c-2": 0.9}
    assert train.segments["c-2"] == (1.6, 2.5)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("1.6 3.1", "c-2: expected a part that ends within the 2.500 s of the file, found its end at 3.100 s"),
        ("1.6 1.65", "c-2: expected at least 0.1 s, found 0.050 s"),
        ("1.05 1.45", "c-2, 1.050 to 1.450 s, is silent"),
    ],
)
def test_bad_parts_are_refused_or_left_out(spoil: str, words: str, command: Command, tmp_path: Path) -> None:
    root = segmented(tmp_path / "k", spoil)
    assert command("--train_roots", root) == 1
    assert "error: 1 training file cannot be used and --max_bad_train_files allows 0" in command.err
    assert words in command.err
    assert command("--train_roots", root, "--max_bad_train_files", 1) == 0
    assert "c-2" not in read_data_dir(command.data_dir / "train").wav
    (root / "trials").write_text("1 c-1 c-2\n0 c-1 a-1\n")
    assert command("--test_roots", root) == 1
    assert "test files are never left out" in command.err


def test_silence_is_looked_for_once(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    original = segments.silent
    monkeypatch.setattr(segments, "silent", lambda file, parts: (looked.extend(parts), original(file, parts))[1])
    root = segmented(tmp_path / "k")
    for _ in range(2):
        assert command("--train_roots", root) == 0
        assert sorted(looked) == ["a-1", "a-2", "b-1", "b-2", "c-1", "c-2"]
    segmented(tmp_path / "k", "1.7 2.5")
    time.sleep(0.01)
    for name in "ab":
        os.utime(tmp_path / f"k/audio/{name}.wav", (1, 1))
    looked.clear()
    assert command("--train_roots", root) == 0
    assert sorted(looked) == ["c-1", "c-2"]
    looked.clear()
    assert command("--train_roots", segmented(tmp_path / "k", "1.1 1.4"), "--check", "header") == 0
    assert looked == []


def test_a_table_trains_and_tests(command: Command, tmp_path: Path) -> None:
    root = make_root(tmp_path / "x")
    rows = [f"{file},{file.parents[1].name},{file.parent.name}" for file in sorted(root.rglob("*.flac"))]
    (tmp_path / "all voices.csv").write_text("\n".join(["path,speaker,session", *rows]) + "\n")
    assert command("--csv", tmp_path / "all voices.csv") == 0
    assert len(read_data_dir(command.data_dir / "train").spk2utt) == 4
    assert len(read_data_dir(command.data_dir / "test/all_voices/all").spk2utt) == 2
    assert command("--csv", tmp_path / "none.csv") == 2
    assert "none.csv: no such folder or table" in command.err


def test_it_waits_for_another_that_prepares(root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert status_after_waiting(main, ["--train_roots", root, "--data_dir", tmp_path], tmp_path, caplog) == 0
    assert read_data_dir(tmp_path / "train").wav
