"""The command over a small VoxCeleb, as stage 1 leaves it and in another layout, and stage 2 after it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from voxceleb import LISTS

from ham.bin import prepare_data
from ham.cli import run
from ham.data.kaldi_dir import read_data_dir
from tests.packed import VOXCELEB, write_catalogue

TOP = Path(__file__).parents[3]
Main = Callable[[Sequence[str]], None]

DEV, TEST, VOX2 = ("id10001", "id10002"), ("id10270", "id10309"), ("id00012", "id00015")


def add(place: Path, speakers: tuple[str, ...], extension: str = "wav") -> list[str]:
    """Two videos of one utterance each; returns their names in trial lists."""
    paths = [f"{speaker}/{video}/00001" for speaker in speakers for video in ("-x", "y")]
    for number, path in enumerate(paths):
        file = place / f"{path}.{extension}"
        file.parent.mkdir(parents=True)
        soundfile.write(
            file, np.random.default_rng([number, int(path[2:7])]).integers(-900, 900, 3000).astype(np.int16), 16000
        )
    return [f"{path}.wav" for path in paths]


class Corpus:
    """A small VoxCeleb with its catalogue; calls the commands."""

    def __init__(self, top: Path, main: Main) -> None:
        self.top, self.data, self.main = top, top / "data", main
        dev, test = add(top / "corpora/vox1/wav", DEV), add(top / "corpora/vox1/wav", TEST)
        add(top / "corpora/vox2_dev/wav", VOX2, "flac")
        lists = {}
        (top / "archives").mkdir()
        for name, file in LISTS.items():
            pool = test if name.startswith("vox1_o") else dev + test
            lines = [f"{int(a[:7] == b[:7])} {a} {b}" for a in pool for b in pool if a < b]
            (top / "archives" / file).write_text("".join(f"{line}\n" for line in lines))
            num_target = sum(line.startswith("1") for line in lines)
            counts = {"num_target": num_target, "num_nontarget": len(lines) - num_target}
            lists[file] = replace(VOXCELEB.lists[file], **counts)
        sizes = {"vox1_dev": 4, "vox1_test": 4, "vox2_dev": 4}
        sets = {name: replace(VOXCELEB.sets[name], num_speakers=2, num_utts=utts) for name, utts in sizes.items()}
        write_catalogue(replace(VOXCELEB, sets=sets, lists=lists), top / "catalogue.json")

    def __call__(self, *argv: object, place: str = "corpora_dir", where: str = "corpora") -> int:
        options = ["--archives", self.top / "archives", "--catalogue", self.top / "catalogue.json"]
        options += [f"--{place}", self.top / where, "--data_dir", self.data, *argv]
        return run(self.main, list(map(str, options)))

    def stage_2(self, *roots: str) -> int:
        train = [str(self.data / "roots" / root) for root in roots]
        argv = ["--train_roots", *train, "--test_roots", str(self.data / "roots/vox1"), "--check", "header"]
        return run(prepare_data.main, [*argv, "--data_dir", str(self.data)])


@pytest.fixture
def corpus(tmp_path: Path, prepare: Main) -> Corpus:
    return Corpus(tmp_path, prepare)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_what_is_needed_is_said_and_nothing_is_written(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(corpus.main, ["--needs", "--train_set", "vox1_dev"]) == 0
    assert capsys.readouterr().out == "vox1_dev vox1_test\nveri_test2.txt\n"
    assert run(corpus.main, ["--needs", "--train_set", "vox1_dev", "--trial_lists", "vox1_e"]) == 2
    assert "are trained on" in capsys.readouterr().err
    assert not corpus.data.exists()


@pytest.mark.parametrize("safe_path", ["", "1"])
def test_it_is_a_script_that_works_anywhere(safe_path: str, tmp_path: Path) -> None:
    """As download.sh calls it, where the user stands beside a folder of the package's name."""
    (tmp_path / "ham").mkdir()
    (tmp_path / "ham/__init__.py").write_text("raise RuntimeError")
    script = 'corpus_dir=$1; eval "$(grep ^prepare_roots "$1/local/download.sh")"; prepare_roots --needs'
    environment = {**os.environ, "PYTHONPATH": str(TOP), "PYTHONSAFEPATH": safe_path}
    environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", "-c", script, "bash", str(TOP / "egs/voxceleb")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0] == "vox1_dev vox1_test vox2_dev"


def test_training_on_vox2_tests_on_all_of_vox1(corpus: Corpus) -> None:
    assert corpus() == 0
    assert corpus.stage_2("vox2") == 0
    train = read_data_dir(corpus.data / "train")
    assert list(train.spk2utt) == ["vox2-id00012", "vox2-id00015"]
    assert train.wav["vox2-id00012--x-00001"] == corpus.top / "corpora/vox2_dev/wav/id00012/-x/00001.flac"
    names = {path.name for path in (corpus.data / "test/vox1").iterdir()}
    assert names == {"vox1_o_clean", "vox1_e_clean", "vox1_h_clean"}
    test = read_data_dir(corpus.data / "test/vox1/vox1_e_clean")
    assert (len(test.wav), len(test.spk2utt)) == (8, 4)
    before = contents(corpus.data)
    assert corpus() == 0
    assert contents(corpus.data) == before


def test_training_on_vox1_leaves_its_test_speakers_out(corpus: Corpus) -> None:
    assert corpus("--train-set", "vox1_dev", "vox2_dev", "--trial_lists", "vox1_o") == 0
    assert corpus.stage_2("vox1", "vox2") == 0
    train = read_data_dir(corpus.data / "train")
    assert list(train.spk2utt) == ["vox1-id10001", "vox1-id10002", "vox2-id00012", "vox2-id00015"]
    assert list(read_data_dir(corpus.data / "test/vox1/vox1_o").spk2utt) == ["vox1-id10270", "vox1-id10309"]


def test_only_what_is_tested_is_needed(corpus: Corpus) -> None:
    assert corpus("--trial_lists", "vox1_o_clean") == 0
    table = (corpus.data / "roots/vox1/files.tsv").read_text().splitlines()
    assert [line[:7] for line in table] == ["id10270"] * 2 + ["id10309"] * 2


def test_another_layout_gives_the_same_ids(corpus: Corpus, caplog: pytest.LogCaptureFixture) -> None:
    assert corpus() == 0
    before = (corpus.data / "roots/vox1/files.tsv").read_text()
    (corpus.top / "corpora").rename(corpus.top / "elsewhere")
    assert corpus() == 1
    with caplog.at_level("INFO"):
        assert corpus(place="wav_root", where="elsewhere") == 0
    assert "speech in" in caplog.text
    assert (corpus.data / "roots/vox1/files.tsv").read_text() == before.replace("/corpora/", "/elsewhere/")


@pytest.mark.parametrize("with_lists", [True, False])
@pytest.mark.parametrize("options", [(), ("--trial_lists", "vox1_o"), ("--train_set", "vox1_dev")])
def test_the_speech_is_counted_alone(
    corpus: Corpus, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], with_lists: bool
) -> None:
    if not with_lists:
        (corpus.top / "archives").rename(corpus.top / "unused")
    assert corpus("--count", *options, place="wav_root") == 0
    assert not corpus.data.exists()
    (corpus.top / "corpora/vox1/wav/id10309/y/00001.wav").unlink()
    assert corpus("--count", *options, place="wav_root") == 1
    assert "1 utterance fewer" in capsys.readouterr().err
    shutil.rmtree(corpus.top / "corpora/vox1")
    assert corpus("--count", *options, place="wav_root") == 1


def test_missing_files_have_a_budget(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    (corpus.top / "corpora/vox2_dev/wav/id00012/y/00001.flac").unlink()
    assert corpus() == 1
    assert "vox2_dev: 2 speakers, 3 utterances; expected 2 and 4: 1 utterance fewer" in capsys.readouterr().err
    assert not (corpus.data / "roots").exists()
    assert corpus("--max_missing_files", 1) == 0


def test_wrong_requests_are_one_line(corpus: Corpus, capsys: pytest.CaptureFixture[str]) -> None:
    assert corpus("--wav_root", corpus.top) == 2
    assert "one of --corpora_dir and --wav_root" in capsys.readouterr().err
    assert run(corpus.main, ["--corpora_dir", "x"]) == 2
    assert "expected --archives and --data_dir" in capsys.readouterr().err
    assert corpus(place="wav_root", where="nowhere") == 2
    content = json.loads((corpus.top / "catalogue.json").read_text())
    (corpus.top / "catalogue.json").write_text(json.dumps({**content, "lists": {}}))
    assert corpus() == 2
    assert "--catalogue: expected the trial list veri_test2.txt" in capsys.readouterr().err
