"""Grouping of short recordings, and the files that are made of a group."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from join import Joint, Made, group_short, write_joints

from ham.errors import DataError


@pytest.mark.parametrize(
    ("durations_s", "groups"),
    [
        ([], []),
        ([1], [[0]]),
        ([2, 2], [[0, 1]]),
        ([3, 2], [[0, 1]]),
        ([4, 4, 4], [[0, 1, 2]]),
        ([4, 4, 4, 4], [[0, 1], [2, 3]]),
        ([1, 1, 1, 1, 1, 1, 4.5, 0.2], [[0, 1, 2, 3, 4], [5, 6, 7]]),
    ],
)
def test_groups(durations_s: list[float], groups: list[list[int]]) -> None:
    assert group_short(durations_s, 5) == groups


def test_groups_keep_the_order_and_are_long_enough() -> None:
    durations = np.random.default_rng(0).uniform(0.4, 5, 200)
    groups = group_short(durations.tolist(), 5)
    assert [position for group in groups for position in group] == list(range(200))
    assert all(sum(durations[group]) >= 5 for group in groups)
    assert all(sum(durations[group[:-1]]) < 5 for group in groups[:-1])


@pytest.fixture
def joint(tmp_path: Path) -> Joint:
    parts = []
    for number, length in enumerate((3000, 5000, 2000)):
        parts.append(tmp_path / f"{number}.flac")
        samples = np.random.default_rng(number).integers(-9000, 9000, length)
        soundfile.write(parts[-1], samples.astype(np.int16), 16000)
    return Joint(tmp_path / "out" / "spk" / "joined.flac", tuple(parts), 10000)


def test_a_joined_file_holds_its_parts_to_the_bit_and_is_made_once(joint: Joint) -> None:
    assert list(write_joints([joint], 2)) == [Made(3, True)]
    expected = np.concatenate([soundfile.read(part, dtype="int16")[0] for part in joint.parts])
    assert np.array_equal(soundfile.read(joint.target, dtype="int16")[0], expected)
    content = joint.target.read_bytes()
    assert list(write_joints([joint], 2)) == [Made(3, False)]
    joint.target.unlink()
    assert list(write_joints([joint], 1)) == [Made(3, True)]
    assert joint.target.read_bytes() == content
    assert [path.name for path in joint.target.parent.iterdir()] == ["joined.flac"]


def test_it_is_made_again_when_a_part_is_newer_or_it_is_cut(joint: Joint) -> None:
    list(write_joints([joint], 1))
    os.utime(joint.parts[1], ns=(1, joint.target.stat().st_mtime_ns + 1_000_000_000))
    assert list(write_joints([joint], 1)) == [Made(3, True)]
    os.utime(joint.parts[1], (1, 1))
    joint.target.write_bytes(joint.target.read_bytes()[:20])
    assert list(write_joints([joint], 1)) == [Made(3, True)]


def test_it_is_made_again_when_a_part_is_replaced_with_the_old_times(joint: Joint) -> None:
    list(write_joints([joint], 1))
    assert list(write_joints([joint], 1)) == [Made(3, False)]
    content, status = joint.target.read_bytes(), joint.parts[1].stat()
    samples, rate = soundfile.read(joint.parts[1], dtype="int16")
    time.sleep(0.02)  # file systems stamp times in steps of some ms
    soundfile.write(joint.parts[1], samples[::-1], rate)
    os.utime(joint.parts[1], ns=(status.st_atime_ns, status.st_mtime_ns))
    assert list(write_joints([joint], 1)) == [Made(3, True)]
    assert joint.target.read_bytes() != content


def test_parts_that_have_changed_are_refused(joint: Joint) -> None:
    soundfile.write(joint.parts[0], np.ones(77, np.int16), 16000)
    with pytest.raises(DataError, match="expected 10000, found 7077 samples"):
        list(write_joints([joint], 1))
    assert not joint.target.exists()


def test_parts_that_cannot_be_decoded_are_left_out_and_named(joint: Joint) -> None:
    good = [joint.parts[0].read_bytes(), *(soundfile.read(part, dtype="int16")[0] for part in joint.parts)]
    for part in joint.parts[:2]:
        part.write_bytes(part.read_bytes()[:-1500])
    (made,) = write_joints([joint], 1)
    assert (made.num_parts, made.is_new) == (1, True)
    assert [error.split(": ")[0] for error in made.errors] == [str(part) for part in joint.parts[:2]]
    assert np.array_equal(soundfile.read(joint.target, dtype="int16")[0], good[3])
    written_ns = joint.target.stat().st_mtime_ns
    assert list(write_joints([joint], 1)) == [Made(1, False, made.errors)]
    assert joint.target.stat().st_mtime_ns == written_ns
    joint.parts[0].write_bytes(good[0])  # restored: longer than what is there
    (made,) = write_joints([joint], 1)
    assert (made.num_parts, made.is_new, len(made.errors)) == (2, True, 1)
    assert np.array_equal(soundfile.read(joint.target, dtype="int16")[0], np.concatenate([good[1], good[3]]))


def test_no_file_is_made_of_nothing(joint: Joint) -> None:
    for part in joint.parts:
        part.write_bytes(part.read_bytes()[:-1500])
    (made,) = write_joints([joint], 1)
    assert (made.num_parts, made.is_new, len(made.errors)) == (0, False, 3)
    assert not joint.target.exists()
