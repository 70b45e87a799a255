"""Speakers, lists and the known tree are read from the data directories; refusals: tests/bin."""

from __future__ import annotations

from pathlib import Path

import pytest

from ham.analysis.labels import metadata, read_counts, read_leaves, read_speech, read_utterances
from ham.data.kaldi_dir import write_data_dir
from ham.errors import ConfigError
from tests.tiny_system import SPEAKERS, write_corpus


def test_leaves_come_from_the_tables(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    leaves = read_leaves(tmp_path, "tiny")
    assert len(leaves) == 30
    assert leaves["tiny-p3-s2-1"] == ("f", "gb", "tiny-p3", "s2")
    assert list(leaves) == sorted(leaves)


def test_speech_of_a_root_or_of_all(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    speech = read_speech(tmp_path, "all")
    assert speech == read_speech(tmp_path, "tiny")
    assert speech.utt2spk == read_utterances(tmp_path, "tiny")
    assert speech.labels == {f"tiny-{name}": labels for name, labels in SPEAKERS.items()}
    columns, rows = metadata(tmp_path, speech)
    assert columns == ["utterance", "speaker", "lists", "sex", "accent"]
    assert rows[0] == ["tiny-p1-s1-0", "tiny-p1", "tiny/all tiny/hard", "f", "us"]
    (tmp_path / "tiny/speakers.tsv").unlink()
    assert read_speech(tmp_path, "all").labels == {}
    with pytest.raises(ConfigError, match="unknown root 'mini': expected one of tiny"):
        read_speech(tmp_path, "mini")


def test_training_utterances_are_counted_where_there_are_some(tmp_path: Path) -> None:
    assert read_counts(tmp_path) == {}
    utts = {"a-1": "a", "a-2": "a", "b-1": "b"}
    write_data_dir(tmp_path / "train", {utt: Path(f"/{utt}.wav") for utt in utts}, utts, dict.fromkeys(utts, 3.0))
    assert read_counts(tmp_path) == {"a": 2, "b": 1}
