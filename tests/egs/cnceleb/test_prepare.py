"""The command over a small CN-Celeb, and stage 2 after it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ham.bin import prepare_data
from ham.cli import run
from ham.data.kaldi_dir import read_data_dir
from tests.packed import CNCELEB, write_catalogue

Main = Callable[[Sequence[str]], None]

LENGTHS_S = {"singing-01-001": 0.2, "singing-01-002": 0.2, "singing-01-003": 0.7, "vlog-01-001": 0.3}


def add_data(folder: Path, *speakers: str) -> None:
    for number, speaker in enumerate(speakers):
        for name, length_s in LENGTHS_S.items():
            write_voice(folder / "data" / speaker / f"{name}.flac", length_s, number)


def write_voice(path: Path, length_s: float, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = np.random.default_rng(seed).integers(-900, 900, round(16000 * length_s))
    soundfile.write(path, samples.astype(np.int16), 16000)


def write(path: Path, *lines: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


class Corpus:
    """A small CN-Celeb with its catalogue; calls the commands."""

    def __init__(self, top: Path, main: Main) -> None:
        self.main = main
        self.data, self.corpora, self.catalogue = top / "data", top / "corpora", top / "catalogue.json"
        self.cn1, self.cn2 = self.corpora / "CN-Celeb_flac", self.corpora / "CN-Celeb2_flac"
        add_data(self.cn1, "id00000", "id00001", "id00800", "id00801")
        add_data(self.cn2, "id10000", "id10001")
        write(self.cn1 / "dev/dev.lst", "id00000", "id00001")
        write(self.cn2 / "spk.lst", "id10000", "id10001")
        lists, speakers = self.cn1 / "eval/lists", ("id00800", "id00801")
        for speaker in speakers:
            write_voice(self.cn1 / f"eval/enroll/{speaker}-enroll.flac", 0.4, 1)
            write_voice(self.cn1 / f"eval/test/{speaker}-play-01-001.flac", 0.4, 2)
        write(lists / "enroll.lst", *(f"{s}-enroll enroll/{s}-enroll.wav" for s in speakers))
        write(lists / "enroll.map", *(f"{s}-enroll {s}/singing-01-001.wav {s}/singing-01-002.wav" for s in speakers))
        rows = [f"{a}-enroll test/{b}-play-01-001.wav {int(a == b)}" for a in speakers for b in speakers]
        write(lists / "trials.lst", *rows)
        counts = {"cn1": (4, 16), "cn2": (2, 8)}
        sets = {name: replace(CNCELEB.sets[name], num_speakers=s, num_utts=u) for name, (s, u) in counts.items()}
        write_catalogue(replace(CNCELEB, sets=sets), self.catalogue)

    def __call__(self, *argv: object, known: bool = True) -> int:
        options = ["--corpora_dir", self.corpora, "--data_dir", self.data, "--join_short_s", 0.5]
        options += [*(["--catalogue", self.catalogue] if known else []), *argv]
        return run(self.main, list(map(str, options)))

    def stage_2(self) -> int:
        root = str(self.data / "roots/cnceleb")
        argv = ["--train_roots", root, "--test_roots", root, "--check", "header", "--data_dir", str(self.data)]
        return run(prepare_data.main, argv)


@pytest.fixture
def corpus(tmp_path: Path, prepare: Main) -> Corpus:
    return Corpus(tmp_path, prepare)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_short_ones_are_joined_and_models_enrolled(corpus: Corpus, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        assert corpus() == 0
    assert "CN-Celeb_joined_0.5s: 8 utterances below 0.5 s joined to 4 files, 4 of them now" in caplog.text
    assert corpus.stage_2() == 0
    train = read_data_dir(corpus.data / "train")
    assert list(train.spk2utt) == [f"cnceleb-{speaker}" for speaker in ("id00000", "id00001", "id10000", "id10001")]
    assert train.spk2utt["cnceleb-id10001"] == [
        f"cnceleb-id10001-{name}" for name in ("singing-01-003", "singing-joined-01-001", "vlog-01-001")
    ]
    assert train.utt2dur["cnceleb-id10001-singing-joined-01-001"] == 0.4
    trials = read_data_dir(corpus.data / "test/cnceleb/eval").trials
    assert trials is not None
    assert trials.models["cnceleb-id00801-enroll"] == tuple(f"cnceleb-id00801-singing-01-00{n}" for n in (1, 2))
    assert (trials.num_target, trials.num_nontarget, trials.enrol[0]) == (2, 2, "cnceleb-id00800-enroll")


def test_repeating_gives_the_same_bytes_and_joins_nothing(corpus: Corpus, caplog: pytest.LogCaptureFixture) -> None:
    assert corpus() == 0
    before = contents(corpus.corpora), contents(corpus.data)
    victim = next(path for path in sorted((corpus.corpora / "CN-Celeb_joined_0.5s").rglob("*.flac")))
    victim.unlink()  # as if the run had been killed
    (victim.with_name(f".{victim.name}.part")).write_bytes(b"half")
    with caplog.at_level("INFO"):
        assert corpus() == 0
    assert "1 of them now" in caplog.text
    assert (contents(corpus.corpora), contents(corpus.data)) == before


def test_no_joining_one_training_set_and_the_owners_enrolment(corpus: Corpus) -> None:
    assert corpus("--join_short_s", 0, "--train-set", "cn1_dev", "--enrol_list", "lst") == 0
    assert not (corpus.corpora / "CN-Celeb_joined_0s").exists()
    assert corpus.stage_2() == 0
    train = read_data_dir(corpus.data / "train")
    assert (len(train.wav), list(train.spk2utt)) == (8, ["cnceleb-id00000", "cnceleb-id00001"])
    trials = read_data_dir(corpus.data / "test/cnceleb/eval").trials
    assert trials is not None
    assert trials.models == {f"cnceleb-id0080{n}-enroll": (f"cnceleb-id0080{n}-enroll-enroll",) for n in (0, 1)}


def test_the_true_counts_are_held_against_the_trials(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert corpus("--max_missing_files", 200_000, known=False) == 1
    err = capsys.readouterr().err
    assert "expected 997 and 126532, within --max_missing_files" in err
    assert "trials.lst: expected 3484292 trials, 17755 of them targets, found 4 and 2" in err


@pytest.mark.parametrize(
    ("file", "lines", "words"),
    [
        ("CN-Celeb_flac/dev/dev.lst", ["id00000", "id00800"], "trained on and tested: 1 speaker: id00800"),
        ("CN-Celeb2_flac/spk.lst", ["id10000", "id10009"], "found 'id10009'"),
        ("CN-Celeb2_flac/data/id10000/new-01-001.flac", [], "data: 2 speakers, 9 utterances; expected 2 and 8"),
    ],
)
def test_what_does_not_add_up_is_refused(
    file: str, lines: list[str], words: str, corpus: Corpus, capsys: pytest.CaptureFixture[str]
) -> None:
    write(corpus.corpora / file, *lines)
    assert corpus() == 1
    assert words in capsys.readouterr().err
    assert not (corpus.data / "roots").exists()


def test_utterances_that_cannot_be_read_have_a_budget(
    corpus: Corpus, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    one, *two = (
        corpus.cn2 / "data" / name
        for name in ("id10000/singing-01-001.flac", "id10001/singing-01-001.flac", "id10001/singing-01-002.flac")
    )
    for path in (one, *two):
        path.write_bytes(path.read_bytes()[:-1500])  # the header is whole
    assert corpus("--max_missing_files", 2) == 1
    err = capsys.readouterr().err.splitlines()[-1]
    assert "3 utterances cannot be read and --max_missing_files allows 2: 3 problems: " in err
    assert err.endswith("leave them out with --max_missing_files 3")
    assert not (corpus.data / "roots").exists()
    assert corpus("--max_missing_files", 3) == 0
    assert [str(path) in caplog.text for path in (one, *two)] == [True] * 3
    before = contents(corpus.corpora), contents(corpus.data)
    assert corpus("--max_missing_files", 3) == 0
    assert (contents(corpus.corpora), contents(corpus.data)) == before
    assert corpus.stage_2() == 0
    train = read_data_dir(corpus.data / "train")
    assert train.spk2utt["cnceleb-id10000"] == [
        f"cnceleb-id10000-{name}" for name in ("singing-01-002", "singing-01-003", "vlog-01-001")
    ]
    assert train.spk2utt["cnceleb-id10001"] == [f"cnceleb-id10001-{name}" for name in ("singing-01-003", "vlog-01-001")]


def test_a_speaker_without_a_folder_is_left_out_within_the_budget(corpus: Corpus) -> None:
    write(corpus.cn2 / "spk.lst", "id10000", "id10001", "id10009")
    assert corpus() == 1
    assert corpus("--max_missing_files", 1) == 0
    assert corpus.stage_2() == 0
    assert list(read_data_dir(corpus.data / "train").spk2utt)[2:] == ["cnceleb-id10000", "cnceleb-id10001"]


def test_a_speaker_of_both_corpora_is_refused(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    (corpus.cn2 / "data/id10000").rename(corpus.cn2 / "data/id00000")
    write(corpus.cn2 / "spk.lst", "id00000", "id10001")
    assert corpus() == 1
    assert "in CN-Celeb1 too: 1 speaker, the first is id00000" in capsys.readouterr().err


def test_missing_corpora_and_wrong_requests_are_one_line(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert corpus("--wav_root", corpus.cn1) == 1
    assert "expected an unpacked CN-Celeb2_flac" in capsys.readouterr().err
    assert corpus("--wav_root", corpus.cn1, "--train_set", "cn1_dev") == 0
    assert corpus("--wav_root", "/nowhere") == 2
    assert corpus("--join_short_s", "-1") == 2
    assert "expected seconds, at least 0" in capsys.readouterr().err
