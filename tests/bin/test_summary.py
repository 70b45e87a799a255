"""The table of several seeds from score files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ham.bin import summary
from ham.data.kaldi_dir import write_data_dir
from ham.data.trials import Trials
from ham.errors import ConfigError, DataError
from ham.score.score_file import Scores, write_scores

SPEAKERS = 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A list of all pairs of two utterances each of six speakers, and two seeds of two systems."""
    utts = [f"s{s}-u{u}" for s in range(SPEAKERS) for u in range(2)]
    pairs = [(a, b) for i, a in enumerate(utts) for b in utts[i + 1 :]]
    labels = np.array([a[:2] == b[:2] for a, b in pairs], dtype=np.int8)
    enrol, test = (tuple(side) for side in zip(*pairs, strict=True))
    for utt in utts:
        (tmp_path / f"{utt}.wav").touch()
    write_data_dir(
        tmp_path / "data/test/x/all",
        wav={utt: tmp_path / f"{utt}.wav" for utt in utts},
        utt2spk={utt: utt[:2] for utt in utts},
        utt2dur=dict.fromkeys(utts, 1.0),
        trials=Trials(enrol, test, labels),
    )
    for system, gap in (("a", 3.0), ("b", 1.0)):
        for seed in (1, 2):
            noise = np.random.default_rng([seed, int(gap)]).normal(size=len(labels))
            values = (gap * labels + noise).astype(np.float32)
            write_scores(tmp_path / f"{system}{seed}/scores/x/all.cosine", Scores(enrol, test, values))
            if system == "a":
                write_scores(tmp_path / f"{system}{seed}/scores/x/all.hyperbolic", Scores(enrol, test, values))
    return tmp_path


def arguments(folder: Path, *more: str) -> list[str]:
    systems = [f"{name}={folder}/{name}1,{folder}/{name}2" for name in ("a", "b")]
    return ["--data_dir", f"{folder}/data", "--systems", *systems, *more]


def test_it_prints_a_row_a_system(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    summary.main(arguments(folder, "--backends", "cosine", "hyperbolic"))
    head, _, first, second = capsys.readouterr().out.splitlines()
    assert head == "| system | x/all cosine | minus a | x/all hyperbolic |"
    assert first.count("[") == 2
    assert second.endswith("] | - |")
    summary.main(arguments(folder, "--reference", "b", "--backends", "hyperbolic"))
    assert capsys.readouterr().out.splitlines()[0] == "| system | x/all hyperbolic |"


def test_wrong_requests_are_refused(folder: Path) -> None:
    for words, message in (
        (["a"], "expected NAME=EXPERIMENT,EXPERIMENT, found 'a'"),
        (["a=x,"], "expected NAME=EXPERIMENT"),
        (["a=x", "a=y"], "found 'a' twice"),
        (["a=x,./x"], "a: expected different experiments, found one of them twice"),
    ):
        with pytest.raises(ConfigError, match=message):
            summary.parse_systems(words)
    with pytest.raises(ConfigError, match="--reference: expected one of a, b, found 'c'"):
        summary.main(arguments(folder, "--reference", "c"))
    systems = ["--systems", f"b={folder}/b1,{folder}/b2"]
    with pytest.raises(DataError, match="x/all: expected hyperbolic scores of some system, found none"):
        summary.main([*arguments(folder)[:2], *systems, "--backends", "hyperbolic"])
    with pytest.raises(DataError, match="expected a scores file, found nothing"):
        summary.main([*arguments(folder)[:2], "--systems", f"z={folder}/nothing"])
