"""Converted files against what read_audio returns; repeats, other numbers of workers, bad files, wrong requests."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from ham.audio.decoding import read_audio
from ham.corpora.convert import Converted, convert, is_converted
from ham.data.store import to_int16
from ham.errors import ConfigError, DataError
from tests.packed import m4a, speech, tree

NAMES = [f"id0001{speaker}/-video_{video}/0000{number}.m4a" for speaker in "23" for video in "ab" for number in "12345"]


@pytest.fixture(scope="module")
def encoded() -> list[bytes]:
    return [m4a(speech(8000 + 100 * seed, seed)) for seed in range(len(NAMES))]


@pytest.fixture
def source(encoded: list[bytes], tmp_path: Path) -> Path:
    for name, content in zip(NAMES, encoded, strict=True):
        path = tmp_path / "vox2_dev/m4a" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "vox2_dev/m4a"


def beside(target: Path) -> tuple[dict[str, object], list[str]]:
    record = json.loads(target.with_name(f"{target.name}.converted.json").read_text())
    return record, target.with_name(f"{target.name}.durations").read_text().splitlines()


@pytest.mark.parametrize("audio_format", ["wav", "flac"])
def test_samples_are_those_that_are_read(audio_format: str, source: Path) -> None:
    target = source.with_name(audio_format)
    made = convert(source, target, audio_format)
    assert len(tree(target)) == len(NAMES) == made.num_files
    total = 0
    for name in NAMES:
        path = (target / name).with_suffix(f".{audio_format}")
        samples, rate = soundfile.read(path, dtype="int16")
        info = soundfile.info(path)
        assert (rate, info.subtype, info.channels) == (16000, "PCM_16", 1)
        np.testing.assert_array_equal(samples, to_int16(read_audio(source / name)))
        total += len(samples)
    assert made == Converted(audio_format, len(NAMES), round(total / 16000 / 3600, 6), {}, complete=True)
    record, durations = beside(target)
    assert record == {"format": audio_format, "num_files": 20, "hours": made.hours, "bad": {}, "complete": True}
    assert durations[0] == f"id00012/-video_a/00001.{audio_format} {8192 / 16000:.6f}"
    assert durations == sorted(durations)


def test_any_number_of_workers_and_any_start_give_the_same_bytes(source: Path) -> None:
    first, second = source.with_name("first"), source.with_name("second")
    convert(source, first, "wav", num_workers=1)
    convert(source, second, "wav", num_workers=3)
    assert tree(first) == tree(second)
    for suffix in ("converted.json", "durations"):
        assert first.with_name(f"first.{suffix}").read_bytes() == first.with_name(f"second.{suffix}").read_bytes()
    done = tree(second)
    for number, path in enumerate(sorted(second.rglob("*.wav"))):
        if number % 3 == 0:
            path.rename(path.with_name(f".{path.name}.part"))  # as a killed process leaves it
    second.with_name("second.durations").unlink()
    convert(source, second, "wav")
    assert tree(second) == done


def test_repeating_starts_no_process(
    source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    target = source.with_name("wav")
    first = convert(source, target, "wav")
    before = {path: path.stat().st_mtime_ns for path in target.parent.rglob("*") if path.is_file()}
    monkeypatch.setattr("ham.corpora.convert.ProcessPoolExecutor", None)
    with caplog.at_level("INFO"):
        assert convert(source, target, "wav") == first
    assert "was already converted" in caplog.text
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path for path in before if before[path] != after[path]} <= {target / ".lock"}


def test_bad_files_are_counted_and_listed(source: Path) -> None:
    target = source.with_name("wav")
    (source / NAMES[3]).write_bytes(b"no audio")
    content = (source / NAMES[7]).read_bytes()
    (source / NAMES[7]).write_bytes(content[:2000])
    with pytest.raises(DataError, match="cannot convert 2 files, and --max_missing_files allows 1") as caught:
        convert(source, target, "wav", max_bad=1)
    assert NAMES[3] in str(caught.value)
    assert beside_is_incomplete(target)
    made = convert(source, target, "wav", max_bad=2)
    assert list(made.bad) == [NAMES[3], NAMES[7]]
    assert (made.num_files, len(tree(target))) == (18, 18)
    (source / NAMES[7]).write_bytes(content)
    assert list(convert(source, target, "wav", max_bad=1).bad) == [NAMES[3]]


def beside_is_incomplete(target: Path) -> bool:
    return json.loads(target.with_name("wav.converted.json").read_text())["complete"] is False


def test_a_converted_file_that_was_damaged_is_made_again(source: Path) -> None:
    target = source.with_name("wav")
    convert(source, target, "wav")
    done = tree(target)
    (target / NAMES[0]).with_suffix(".wav").write_bytes(b"junk")
    target.with_name("wav.durations").unlink()
    convert(source, target, "wav")
    assert tree(target) == done


@pytest.mark.parametrize("leave_folder", [True, False])
def test_a_folder_that_was_removed_is_converted_again_in_any_format(leave_folder: bool, source: Path) -> None:
    target = source.with_name("wav")
    convert(source, target, "flac")
    assert is_converted(target)
    with pytest.raises(DataError, match="expected wav files, found flac; choose flac, or remove this folder"):
        convert(source, target, "wav")
    shutil.rmtree(target)
    assert not is_converted(target)
    if leave_folder:
        target.mkdir()
        (target / ".lock").write_text("")
    made = convert(source, target, "wav")
    assert (made.format, made.num_files, len(tree(target))) == ("wav", 20, 20)
    assert all(line.split()[0].endswith(".wav") for line in beside(target)[1])


@pytest.mark.parametrize("leave_folder", [True, False])
def test_the_source_may_go_when_all_is_converted(
    leave_folder: bool, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    target = source.with_name("wav")
    first = convert(source, target, "wav")
    before = beside(target), tree(target)
    shutil.rmtree(source)
    if leave_folder:
        source.mkdir()
    with caplog.at_level("INFO"):
        assert convert(source, target, "wav") == first
    assert "was already converted" in caplog.text
    assert (beside(target), tree(target)) == before
    with pytest.raises(DataError, match="expected flac files, found wav"):
        convert(source, target, "flac")
    (target / NAMES[0]).with_suffix(".wav").unlink()
    with pytest.raises(DataError, match=r"expected 20 files, found 19, .* remove \S+/vox2_dev\.unpacked\.json to load"):
        convert(source, target, "wav")
    assert before[0] == beside(target)


def test_an_unfinished_conversion_needs_its_source(source: Path) -> None:
    target = source.with_name("wav")
    (source / NAMES[3]).write_bytes(b"no audio")
    made = convert(source, target, "wav", max_bad=1)
    shutil.move(source, source.with_name("moved"))
    assert convert(source, target, "wav", max_bad=1) == made
    with pytest.raises(DataError, match="--max_missing_files allows 0"):
        convert(source, target, "wav")
    shutil.move(source.with_name("moved"), source)
    with pytest.raises(DataError, match="--max_missing_files allows 0"):
        convert(source, target, "wav")
    shutil.rmtree(source)
    assert not is_converted(target)
    with pytest.raises(ConfigError, match="no such folder"):
        convert(source, target, "wav", max_bad=1)


def test_wrong_requests(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected wav or flac"):
        convert(source, tmp_path / "x", "mp3")
    with pytest.raises(ConfigError, match="no such folder"):
        convert(tmp_path / "nowhere", tmp_path / "x", "wav")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="found none"):
        convert(tmp_path / "empty", tmp_path / "x", "wav")
    convert(source, tmp_path / "x", "wav")
    with pytest.raises(DataError, match="expected flac files, found wav"):
        convert(source, tmp_path / "x", "flac")
    (source / NAMES[0]).with_suffix(".M4A").write_bytes(b"")
    with pytest.raises(DataError, match="in other letters too"):
        convert(source, tmp_path / "y", "wav")
    (tmp_path / "x.converted.json").write_text("{}")
    (source / NAMES[0]).with_suffix(".M4A").unlink()
    with pytest.raises(DataError, match="is not a record"):
        convert(source, tmp_path / "x", "wav")
