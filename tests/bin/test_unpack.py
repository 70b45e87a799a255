"""The command: what it says, how it ends, and that kill -9 at any moment costs nothing but time."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from ham.bin.unpack import main
from ham.cli import run
from ham.corpora.catalogue import Catalogue
from tests.killing import TRIES
from tests.packed import noise_files, tar_of, tree, write_archive, write_catalogue, zip_of

VOX = "wav/id1{:04d}/-video_{}/00001.wav"
CN = "CN-Celeb2_flac/data/id{:05d}/singing-01-{:03d}.flac"
TOP = Path(__file__).parents[2]


def make(folder: Path, num_files: int = 30, size: int = 2000) -> list[str]:
    """Two sets in parts, and the options that name them."""
    vox, cn = noise_files(VOX, num_files, size), noise_files(CN, num_files, size)
    counts = (num_files // 5, num_files)
    dev = write_archive(folder / "archives", "vox1_dev", zip_of(vox), 4, *counts)
    cn2 = write_archive(folder / "archives", "cn2", tar_of(cn), 3, *counts)
    write_catalogue(Catalogue({"vox1_dev": dev, "cn2": cn2}, {}), folder / "catalogue.json")
    places = ["--archives", str(folder / "archives"), "--catalogue", str(folder / "catalogue.json")]
    return ["--sets", "vox1_dev", "cn2", *places]


def test_sets_are_unpacked_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*make(tmp_path), "--corpora-dir", str(tmp_path / "corpora")]
    assert run(main, argv) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert f"vox1_dev: 30 files of 6 speakers in {tmp_path}/corpora/vox1/wav\n" in err
    assert f"cn2: 30 files of 6 speakers in {tmp_path}/corpora/CN-Celeb2_flac\n" in err
    assert run(main, [*argv, "--keep_archives", "false"]) == 0
    err = capsys.readouterr().err
    assert "vox1_dev: was already unpacked, 30 files" in err
    assert err.count("removed, it is unpacked") == 7
    assert tree(tmp_path / "archives") == {}
    assert run(main, argv) == 0


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (["--sets", "vox3"], 2, "expected one of musan, rirs, vox1_dev, cn2, found 'vox3'"),
        (["--archives", "nowhere"], 2, "nowhere: expected vox1_dev_wav.zip or its parts for vox1_dev"),
        (["--keep_archives", "no"], 2, "expected true or false"),
        (["--max_missing_files", "-1"], 2, "at least 0"),
        (["--catalogue", "nowhere.json"], 2, "nowhere.json"),
    ],
)
def test_wrong_requests_end_in_one_line(
    change: list[str], status: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [*make(tmp_path), "--corpora_dir", str(tmp_path / "corpora"), *change]
    assert run(main, argv) == status
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "corpora").exists()


def test_too_few_files_end_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*make(tmp_path), "--corpora_dir", str(tmp_path / "corpora")]
    catalogue = tmp_path / "catalogue.json"
    catalogue.write_text(catalogue.read_text().replace('"num_utts": 30', '"num_utts": 33'))
    assert run(main, argv) == 1
    assert capsys.readouterr().err == (
        "error: vox1_dev: expected 33 files of 6 speakers, found 30 files of 6 speakers; load the archive again, "
        "or accept 3 missing files with --max_missing_files 3\n"
    )
    assert run(main, [*argv, "--max_missing_files", "3"]) == 0


def test_an_archive_of_another_size_is_taken_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*make(tmp_path), "--corpora_dir", str(tmp_path / "corpora")]
    archives = tmp_path / "archives"
    archive = archives / "vox1_dev_wav.zip"
    archive.write_bytes(zip_of(noise_files(VOX, 30), zipfile.ZIP_STORED))
    size = sum(path.stat().st_size for path in archives.glob("vox1_dev_wav.zip_part*")) + 1
    catalogue = tmp_path / "catalogue.json"
    catalogue.write_text(catalogue.read_text().replace('"joined_md5": ""', f'"joined_md5": "", "joined_size": {size}'))
    assert run(main, argv) == 1
    assert f"expected {size} bytes, found {archive.stat().st_size}; load it again" in capsys.readouterr().err
    assert run(main, [*argv, "--accept_repacked", "true"]) == 0


def start(argv: list[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "ham.bin.unpack", *argv]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)


@pytest.mark.recipe
@pytest.mark.parametrize("keep_archives", ["true", "false"])
def test_kill_9_at_any_moment(keep_archives: str, tmp_path: Path) -> None:
    argv = make(tmp_path, 400, 12_000)
    assert run(main, [*argv, "--corpora_dir", str(tmp_path / "fresh")]) == 0
    corpora, draws = tmp_path / "corpora", random.Random(keep_archives)
    argv += ["--corpora_dir", str(corpora), "--keep_archives", keep_archives, "--num_workers", "2"]
    num_kills, before = 0, 0
    for _ in range(TRIES):
        process = start(argv)
        while len(list(corpora.rglob("*"))) <= before and process.poll() is None:
            time.sleep(0.002)
        time.sleep(draws.uniform(0, 0.05))
        process.kill()
        if process.wait() == 0:  # too late, on a busy machine: from the beginning
            shutil.rmtree(corpora)
            make(tmp_path, 400, 12_000)
        else:
            num_kills += 1
        if num_kills == 3:
            break
        before = len(list(corpora.rglob("*")))
    assert num_kills == 3
    process = start(argv)
    _, err = process.communicate()
    assert process.returncode == 0, err.decode()
    assert tree(corpora) == tree(tmp_path / "fresh")
    assert len(tree(tmp_path / "archives")) == (7 if keep_archives == "true" else 0)
