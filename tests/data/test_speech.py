"""The search for audio: what stops it, and what is left aside."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ham.data import speech
from ham.data.speech import extension_of, find_audio, fits_a_line, name_problem
from ham.errors import DataError


def make(folder: Path) -> Path:
    for name in ("a/1.wav", "a/2.FLAC", "b/x/1.ogg", "b/notes.txt", ".hidden/1.wav", "b/.1.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_files_are_found_through_links_and_hidden_ones_are_not(tmp_path: Path) -> None:
    folder = make(tmp_path / "r")
    assert find_audio(folder) == ["a/1.wav", "a/2.FLAC", "b/x/1.ogg"]
    (folder / "c").symlink_to(make(tmp_path / "far") / "b")
    (folder / "a/3.wav").symlink_to(tmp_path / "far/a/1.wav")
    (folder / "twice").symlink_to(folder / "a")  # no circle: `a` is beside it
    assert find_audio(folder) == [
        *("a/1.wav", "a/2.FLAC", "a/3.wav", "b/x/1.ogg", "c/x/1.ogg"),
        *("twice/1.wav", "twice/2.FLAC", "twice/3.wav"),
    ]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda r: (r / "c").symlink_to("/mnt/not-mounted/c"), "/r/c: the link to '/mnt/not-mounted/c' leads nowhere"),
        (lambda r: (r / "a/9.wav").symlink_to("/none.wav"), "/r/a/9.wav: the link to '/none.wav' leads nowhere"),
        (lambda r: (r / "a/x").symlink_to("x"), "/r/a/x: the link to 'x' leads in a circle"),
        (lambda r: (r / "b/up").symlink_to(r), "/r/b/up: the link leads in a circle, to a folder above it"),
        (lambda r: (r / "b/x/up").symlink_to(".."), "/r/b/x/up: the link leads in a circle"),
        (lambda r: [(r / "a/o").symlink_to("../b/o"), (r / "b/o").symlink_to("../a/o")], "in a circle; remove it"),
        (lambda r: os.mkfifo(r / "a/3.wav"), "/r/a/3.wav: expected a file, found a pipe"),
        (lambda r: (r / "a/3.mp3").touch(), "/r/a/3.mp3: expected .wav, .flac, .ogg, .m4a, found .mp3; convert it"),
        (lambda r: (r / "a/b\nc.wav").touch(), "without line ends; rename it"),
        (lambda r: (r / os.fsdecode(b"a/\xe9.wav")).touch(), "expected a name in UTF-8"),
        (lambda r: [(r / f"a/{n}.wma").touch() for n in range(7)], "7 problems: "),
    ],
)  # fmt: skip
def test_what_stops_the_search(spoil: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    folder = make(tmp_path / "r")
    spoil(folder)
    with pytest.raises(DataError) as caught:
        find_audio(folder)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_read_stops_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, scandir = make(tmp_path / "r"), os.scandir

    def _refusing(place: str) -> object:
        if place.endswith("/b"):
            raise PermissionError(13, "Permission denied")
        return scandir(place)

    monkeypatch.setattr(speech.os, "scandir", _refusing)
    with pytest.raises(DataError, match=r"/r/b: cannot be read \(Permission denied\); give yourself permission"):
        find_audio(folder)


def test_names() -> None:
    assert [extension_of(path) for path in ("a/B.WAV", "a.b/c", "c.tar.gz")] == [".wav", "", ".gz"]
    assert name_problem("a/b.wav") is None
    assert name_problem("a/b") == (
        "a/b: expected .wav, .flac, .ogg, .m4a, found no extension; convert it with "
        "`ffmpeg -i IN -ac 1 -ar 16000 OUT.flac`"
    )
    assert [fits_a_line(name) for name in ("é\t", "a\rb", "\udce9")] == [True, False, False]
