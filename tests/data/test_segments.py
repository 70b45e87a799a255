"""Parts of files: where they lie, and that cutting gives the samples themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from ham.audio.decoding import AudioInfo, read_audio
from ham.data import segments as segments_module
from ham.data.kaldi_dir import Segment
from ham.data.pack import pack_audio
from ham.data.segments import duration, is_beyond, place, reader, silent
from ham.data.speech import Span
from ham.data.store import ArrayStore
from ham.errors import DataError

TEN = AudioInfo(num_samples=441_000, sample_rate=44_100, num_channels=1)


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (None, (0, 10)),
        (Span(1, None), (1, 10)),
        (Span(1, 2.5), (1, 2.5)),
        (Span(44_100, 88_200, in_samples=True), (1, 2)),
        (Span(0, 441_000, in_samples=True), (0, 10)),
        (Span(9, 10.4), (9, 10)),
    ],
)
def test_places(span: Span | None, expected: tuple[float, float], tmp_path: Path) -> None:
    assert place(span, TEN, str(tmp_path)) == expected
    assert is_beyond(span, TEN) == (span == Span(9, 10.4))


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (Span(1, 10.6), "x: expected a part that ends within the 10.000 s of the file, found its end at 10.600 s"),
        (Span(0, 500_000, in_samples=True), "found its end at 11.338 s"),
        (Span(1, 1.05), "x: expected at least 0.1 s, found 0.050 s"),
        (Span(9.95, None), "found 0.050 s"),
        (Span(11, None), "found 0.000 s"),
    ],
)
def test_wrong_places(span: Span, words: str) -> None:
    with pytest.raises(DataError) as caught:
        place(span, TEN, "x")
    assert words in str(caught.value)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000])
def test_samples_survive_the_way_through_seconds(rate: int) -> None:
    rng = np.random.default_rng(rate)
    info = AudioInfo(100 * rate + 17, rate, 1)
    for start, length in zip(rng.integers(0, 90 * rate, 300), rng.integers(rate, 10 * rate, 300), strict=True):
        found = place(Span(int(start), int(start + length), in_samples=True), info, "x")
        assert round(float(f"{found.start_s:.6f}") * rate) == start
        assert round(duration(found, rate) * rate) == length


def test_a_part_is_the_samples_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    wave = rng.integers(-20_000, 20_000, 50_000).astype(np.int16)
    wave[:4000] = 0
    soundfile.write(tmp_path / "a.wav", wave, 16_000)
    decoded: list[Path] = []
    original = segments_module.decode_audio
    monkeypatch.setattr(segments_module, "decode_audio", lambda path: (decoded.append(path), original(path))[1])
    wav = dict.fromkeys(("one", "two", "whole"), tmp_path / "a.wav")
    parts = {"one": Segment(0.25, 1.0), "two": Segment(1.0, 2.000063)}
    read = reader(wav, parts, 16_000)
    np.testing.assert_array_equal(read("one") * 32768, wave[4000:16000])
    np.testing.assert_array_equal(read("two") * 32768, wave[16000:32001])
    np.testing.assert_array_equal(read("whole"), read_audio(tmp_path / "a.wav"))
    assert len(decoded) == 1
    assert len(reader(wav, parts, 8_000)("one")) == 6000
    assert list(silent(tmp_path / "a.wav", {**parts, "zero": Segment(0.0, 0.25)})) == ["zero"]
    for segment, words in ((Segment(0.0, 0.2), "is silent; take it out"), (Segment(1.0, 9.0), "ends at 144000")):
        with pytest.raises(DataError, match=words):
            reader(wav, {"one": segment}, 16_000)("one")


def test_a_store_is_packed_again_when_parts_change(tmp_path: Path) -> None:
    wave = np.random.default_rng(3).integers(-20_000, 20_000, 50_000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", wave, 16_000)
    wav = {"u": tmp_path / "a.wav"}
    cuts = {(0.0, 3.125): wave, (0.5, 1.5): wave[8000:24000], (0.5, 1.6): wave[8000:25600]}
    for (start_s, end_s), expected in cuts.items():
        segments = {"u": Segment(start_s, end_s)}
        assert pack_audio(tmp_path / "store", wav, sample_rate=16_000, num_workers=2, segments=segments)
        assert not pack_audio(tmp_path / "store", wav, sample_rate=16_000, num_workers=2, segments=segments)
        np.testing.assert_array_equal(ArrayStore(tmp_path / "store").read(0), expected)
