"""Parts of files in a partition: their places, and those that are of no use."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ham.audio.decoding import AudioInfo
from ham.data.kaldi_dir import write_data_dir
from ham.data.speech import Span
from ham.errors import DataError
from ham.prepare.partition import Partition, Subset
from ham.prepare.segments import find_silent, place_parts

FILE, WHOLE, BAD = Path("/a.wav"), Path("/b.wav"), Path("/c.wav")
INFOS = {FILE: AudioInfo(32000, 16000, 1), WHOLE: AudioInfo(16000, 16000, 1)}
SPANS = {
    "s-1": Span(0.25, 1.0),
    "s-2": Span(16000, None, in_samples=True),
    "s-3": Span(1.5, 2.3),
    "s-4": Span(1.5, 2.6),
}


def test_parts_are_placed_and_the_useless_ones_named(caplog: pytest.LogCaptureFixture) -> None:
    wav = {**dict.fromkeys(SPANS, FILE), "s-5": WHOLE, "s-6": BAD}
    train = Subset(wav, dict.fromkeys(wav, "s"), spans=SPANS)
    tested = Subset({"t-1": WHOLE}, {"t-1": "t"})
    segments, errors = place_parts(Partition(train, {"r/l": tested}), INFOS, {BAD: DataError("is empty")})
    assert segments == {"s-1": (0.25, 1.0), "s-2": (1.0, 2.0), "s-3": (1.5, 2.0), "s-5": (0.0, 1.0)}
    assert errors.keys() == {"s-4", "s-6"}
    assert errors["s-6"] == "is empty"
    assert "ends within the 2.000 s" in errors["s-4"]
    assert "1 part of a file ends up to 0.5 s behind the file and is cut there" in caplog.text


def test_silence_is_found_but_not_looked_for_again_in_what_is_prepared(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    wave = np.concatenate([np.random.default_rng(0).normal(0, 0.1, 16000), np.zeros(16000)])
    soundfile.write(file, wave, 16000)
    os.utime(file, (1, 1))
    spans = {"s-1": Span(0.0, 1.0), "s-2": Span(1.2, 1.8)}
    subset = Subset(dict.fromkeys(spans, file), dict.fromkeys(spans, "s"), spans=spans)
    partition = Partition(subset, {})
    segments, errors = place_parts(partition, {file: AudioInfo(32000, 16000, 1)}, {})
    assert errors == {}
    found = find_silent(partition, segments, tmp_path / "data", 2)
    assert found.keys() == {"s-2"}
    assert "1.200 to 1.800 s, is silent" in found["s-2"]
    write_data_dir(
        tmp_path / "data/train", subset.wav, subset.utt2spk, dict.fromkeys(spans, 1.0), None, "train", segments
    )
    assert find_silent(partition, segments, tmp_path / "data", 2) == {}
    os.utime(file)
    os.utime(tmp_path / "data/train/utt2spk", (1, 1))
    assert find_silent(partition, segments, tmp_path / "data", 2).keys() == {"s-2"}
    assert find_silent(partition, {}, tmp_path / "data", 2) == {}
