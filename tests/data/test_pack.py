"""Packing: decoded once, in order, repeated only when something changed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from ham.data import pack as pack_module
from ham.data import segments as segments_module
from ham.data import store as store_module
from ham.data.pack import pack_audio, pack_features
from ham.data.store import ArrayStore
from ham.errors import DataError
from ham.files import lock_place
from ham.frontends import build


@pytest.fixture
def wav(tmp_path: Path) -> dict[str, Path]:
    rng = np.random.default_rng(0)
    found = {}
    for i in range(40):
        path = tmp_path / f"{i}.wav"
        soundfile.write(path, rng.integers(-9999, 9999, 4000 + 10 * i).astype(np.int16), 16000)
        found[f"s{i % 3}-u{i:02d}"] = path
    return found


def pack(tmp_path: Path, wav: dict[str, Path], num_workers: int = 3) -> bool:
    return pack_audio(tmp_path / "store", wav, sample_rate=16000, num_workers=num_workers)


def test_samples_are_those_of_the_files_in_the_order_of_the_ids(tmp_path: Path, wav: dict[str, Path]) -> None:
    assert pack(tmp_path, wav)
    store = ArrayStore(tmp_path / "store")
    assert list(store.utts) == sorted(wav)
    for i, utt in enumerate(store.utts):
        np.testing.assert_array_equal(store.read(i), soundfile.read(wav[utt], dtype="int16")[0])


def test_repeated_only_when_a_file_changed(tmp_path: Path, wav: dict[str, Path]) -> None:
    assert pack(tmp_path, wav)
    assert not pack(tmp_path, wav)
    os.utime(next(iter(wav.values())), ns=(1, 1))
    assert pack(tmp_path, wav)
    digest = ArrayStore(tmp_path / "store").digest
    assert not pack(tmp_path, wav)
    path = next(iter(wav.values()))
    status, content = path.stat(), path.read_bytes()
    time.sleep(0.02)  # file systems stamp times in steps of some ms
    path.write_bytes(content[:-2] + b"xy")  # another recording of the same size, with the old one's times
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert pack(tmp_path, wav)
    assert ArrayStore(tmp_path / "store").digest != digest
    time.sleep(0.02)  # file systems stamp times in steps of some ms
    path.write_bytes(content)
    assert pack(tmp_path, wav)
    assert ArrayStore(tmp_path / "store").digest == digest
    wav.popitem()
    assert pack(tmp_path, wav)
    assert len(ArrayStore(tmp_path / "store")) == 39


@pytest.mark.parametrize("how", ["missing", "cut"])
def test_a_damaged_store_is_packed_again(tmp_path: Path, wav: dict[str, Path], how: str) -> None:
    pack(tmp_path, wav)
    shard = tmp_path / "store/shard-00000.npy"
    content = shard.read_bytes()
    shard.unlink()
    if how == "cut":
        shard.write_bytes(content[:1000])
    assert pack(tmp_path, wav)
    assert shard.read_bytes() == content


def test_an_unreadable_file_leaves_the_old_store(tmp_path: Path, wav: dict[str, Path]) -> None:
    pack(tmp_path, wav)
    path = wav["s2-u20"]
    path.write_text("not audio", encoding="utf-8")
    with pytest.raises(DataError, match=r"20\.wav"):
        pack(tmp_path, wav)
    assert len(ArrayStore(tmp_path / "store")) == 40


@pytest.mark.parametrize("kind", ["pipe", "directory", "link"])
def test_what_is_no_file_is_named(tmp_path: Path, wav: dict[str, Path], kind: str) -> None:
    path = wav["s2-u20"]
    path.unlink()
    {"pipe": os.mkfifo, "directory": os.mkdir, "link": lambda p: p.symlink_to("gone.wav")}[kind](path)
    with pytest.raises(DataError, match=rf"20\.wav: .*{kind if kind != 'link' else 'link points to gone.wav'}"):
        pack(tmp_path, wav)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SHARD_BYTES", 60_000)  # 8 recordings


@pytest.mark.usefixtures("small_shards")
def test_the_number_of_threads_and_unknown_durations_change_no_byte(tmp_path: Path, wav: dict[str, Path]) -> None:
    pack(tmp_path, wav, 1)
    first = contents(tmp_path / "store")
    assert len(first) == 4 + 6
    for num_workers in (2, 7):
        pack_audio(tmp_path / "other", wav, sample_rate=16000, num_workers=num_workers)
        assert contents(tmp_path / "other") == first
        (tmp_path / "other/meta.json").unlink()
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".wav") == ["other", "store"]


@pytest.mark.usefixtures("small_shards")
def test_finished_shards_are_not_packed_again(
    tmp_path: Path, wav: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_audio(tmp_path / "whole", wav, sample_rate=16000, num_workers=1)
    utts = sorted(wav)
    bad = wav[utts[20]]
    content, stamp = bad.read_bytes(), bad.stat().st_mtime_ns
    bad.write_bytes(content[:12] + b"junk" + content[16:])  # the same size: only decoding shows it
    os.utime(bad, ns=(stamp, stamp))
    with pytest.raises(DataError, match=bad.name):
        pack(tmp_path, wav, 1)
    bad.write_bytes(content)
    os.utime(bad, ns=(stamp, stamp))
    read = count_reads(monkeypatch)
    assert pack(tmp_path, wav, 1)
    finished = sum(len(ArrayStore(tmp_path / "whole").shard_range(number)) for number in (0, 1))
    assert 10 < finished <= 20
    assert set(read) == {wav[utt] for utt in utts[finished:]}
    pack_audio(tmp_path / "whole", wav, sample_rate=16000, num_workers=1)  # the time of change is another
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")


def count_reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    read: list[Path] = []
    original = segments_module.read_audio
    monkeypatch.setattr(segments_module, "read_audio", lambda path, rate: (read.append(path), original(path, rate))[1])
    return read


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("links", [True, False])
def test_only_the_shard_that_is_missing_or_changed_is_packed_again(
    tmp_path: Path, wav: dict[str, Path], monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    pack(tmp_path, wav)
    before = contents(tmp_path / "store")
    first, _, third, *_ = [len(ArrayStore(tmp_path / "store").shard_range(number)) for number in range(3)]
    (tmp_path / "store/shard-00002.npy").unlink()
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(PermissionError()))
    read = count_reads(monkeypatch)
    assert pack(tmp_path, wav)
    assert len(read) == (third if links else 40)
    assert contents(tmp_path / "store") == before
    read.clear()
    changed = wav[sorted(wav)[0]]
    soundfile.write(changed, np.full(4000, 77, np.int16), 16000)
    assert pack(tmp_path, wav)
    assert len(read) == (first if links else 40)
    assert ArrayStore(tmp_path / "store").read(0)[0] == 77
    assert contents(tmp_path / "store")["shard-00001.npy"] == before["shard-00001.npy"]


KILLED = """
import sys
from pathlib import Path
from ham.data import pack, store
store.SHARD_BYTES = 60_000
folder = Path(sys.argv[1])
wav = {path.stem: path for path in folder.glob("*.wav")}
print("ready", flush=True)
pack.pack_audio(folder / "store", wav, sample_rate=16000, num_workers=2)
print("done", flush=True)
"""


@pytest.mark.recipe
def test_killed_at_any_moment_the_next_run_finishes_with_the_same_bytes(
    tmp_path: Path, wav: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "SHARD_BYTES", 60_000)
    by_stem = {path.stem: path for path in wav.values()}
    started = time.perf_counter()
    pack_audio(tmp_path / "whole", by_stem, sample_rate=16000, num_workers=2)
    took = time.perf_counter() - started
    draw = random.Random(1)
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(draw.uniform(0, took))
        process.kill()
        process.wait()
        process.stdout.close()
    pack_audio(tmp_path / "store", by_stem, sample_rate=16000, num_workers=1)
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("step", ["write_text", "write_index", "write_meta", "move_in", "rename"])
def test_stopped_between_two_steps_the_next_run_finishes(
    tmp_path: Path, wav: dict[str, Path], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    pack_audio(tmp_path / "whole", wav, sample_rate=16000, num_workers=1)
    pack(tmp_path, dict(list(wav.items())[:9]))

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        owner = pack_module if step in ("write_text", "move_in") else Path if step == "rename" else store_module
        patch.setattr(owner, step, stop)
        with pytest.raises(KeyboardInterrupt):
            pack(tmp_path, wav)
    assert len(ArrayStore(tmp_path / "store")) == 9
    assert pack(tmp_path, wav)
    assert contents(tmp_path / "store") == contents(tmp_path / "whole")


def test_a_disk_that_is_too_small_is_refused_with_the_arithmetic(
    tmp_path: Path, wav: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(0, 0, 100_000_000_000))
    durations = dict.fromkeys(wav, 3600.0 * 2360.2 / 40)
    with pytest.raises(DataError) as caught:
        pack_audio(tmp_path / "store", wav, sample_rate=16000, num_workers=1, durations=durations)
    said = "2,360.2 h x 3600 s x 16000 samples x 2 bytes = 271.9 GB, of which 0.0 GB are there; expected 271.9 GB"
    assert said in str(caught.value)
    assert "found 100.0 GB; free 171.9 GB more" in str(caught.value)


def test_two_processes_do_not_pack_one_store(tmp_path: Path, wav: dict[str, Path]) -> None:
    with lock_place(tmp_path / "store", "packing"), pytest.raises(DataError, match="found at work: packing, process"):
        pack(tmp_path, wav)
    assert pack(tmp_path, wav)


def test_what_is_no_store_is_refused_before_anything_is_packed(tmp_path: Path, wav: dict[str, Path]) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store/thesis.tex").write_text("years of work")
    with pytest.raises(DataError, match=r"also holds 'thesis\.tex'; move it away"):
        pack(tmp_path, wav)
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["thesis.tex"]
    assert not (tmp_path / ".store.part").exists()


def test_features_are_those_of_the_front_end(tmp_path: Path, wav: dict[str, Path]) -> None:
    pack(tmp_path, wav)
    audio = ArrayStore(tmp_path / "store")
    frontend = build("mel")
    assert pack_features(tmp_path / "features", audio, frontend, {"frontend": {"name": "mel"}})
    assert not pack_features(tmp_path / "features", audio, frontend, {"frontend": {"name": "mel"}})
    stored = ArrayStore(tmp_path / "features")
    direct = frontend(torch.from_numpy(audio.read(7)).float()[None] / 32768)[0]
    torch.testing.assert_close(torch.from_numpy(stored.read(7)), direct)
    assert pack_features(tmp_path / "features", audio, frontend, {"frontend": {"name": "other"}})
