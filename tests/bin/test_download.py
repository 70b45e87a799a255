"""The command: its requests, its words, its exit status; kill -9, Ctrl-C, and where the key shows up."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ham.bin.download import main
from ham.cli import run
from ham.corpora.catalogue import ArchiveSet, Catalogue, RemoteFile, TrialListFile
from tests.corpora.site import Site, serve, stall, status
from tests.packed import LAYOUT, write_catalogue

KEY = "p3rs0nal/k3y"
VOICE = random.Random(1).randbytes(400_000)
NOISE = random.Random(2).randbytes(50_000)
LIST = b"1 a/b/c.wav a/d/e.wav\n"
PATIENCE_S = 120
"""With a server that says nothing, and with a process that ought to do something."""


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


class Command:
    """The command on a miniature, with what it said last."""

    def __init__(self, site: Site, root: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self.site, self.archives, self.key_file = site, root / "archives", root / "key"
        self._capfd = capfd
        self.err = ""
        voice = (RemoteFile("v.zip", md5(VOICE), len(VOICE)),)
        noise = (RemoteFile("n.tar.gz", md5(NOISE), about_size=50_000),)
        sets = {
            "v": ArchiveSet("v", voice, LAYOUT, "v.zip", mirror_path="vox"),
            "n": ArchiveSet("n", noise, LAYOUT, "n.tar.gz", openslr_path="9"),
        }
        made = Catalogue(
            sets,
            {"t.txt": TrialListFile("t.txt", "T", 1, 0, md5(LIST))},
            site.url("/owners"),
            key_variable="HAM_VOXCELEB_KEY",
            mirror_repo="ProgramComputer/voxceleb",
            openslr_urls=(site.url("/slr"),),
            lists_url=site.url("/meta"),
        )
        write_catalogue(made, root / "catalogue.json")
        self.usual = ["--catalogue", str(root / "catalogue.json"), "--archives", str(self.archives)]
        self.usual += ["--backoff_s", "0.01", "--stall_s", str(PATIENCE_S)]

    def __call__(self, *argv: object) -> int:
        self._capfd.readouterr()
        made = run(main, [*self.usual, *map(str, argv)])
        out, self.err = self._capfd.readouterr()
        assert out == ""
        assert "Traceback" not in self.err
        assert KEY not in self.err
        return made

    def start(self, *argv: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "ham.bin.download", *self.usual, *argv]
        return subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "HAM_VOXCELEB_KEY": KEY},
        )


@pytest.fixture
def command(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    monkeypatch.delenv("HAM_VOXCELEB_KEY", raising=False)
    with Site() as site:
        site.files |= {"/owners": VOICE, "/slr/9/n.tar.gz": NOISE, "/meta/t.txt": LIST}
        site.files["/datasets/ProgramComputer/voxceleb/resolve/main/vox/v.zip"] = VOICE
        monkeypatch.setenv("HF_ENDPOINT", site.url(""))
        yield Command(site, tmp_path, capfd)


def until(happened: object, process: subprocess.Popen[str]) -> None:
    """Wait until a function is true, or the process has ended by itself."""
    end = time.monotonic() + PATIENCE_S
    while not happened() and process.poll() is None and time.monotonic() < end:  # type: ignore[operator]
        time.sleep(0.02)
    assert happened()  # type: ignore[operator]


def test_the_mirror(command: Command) -> None:
    assert command("--sets", "v", "n", "--lists", "t.txt", "--source", "mirror") == 0
    assert (command.archives / "v.zip").read_bytes() == VOICE
    assert "disk space: v: 400.0 kB to fetch + 400.0 kB unpacked" in command.err
    assert f"disk space: in {command.archives}: needed" in command.err
    assert "3 files, 450.0 kB, checksums as published" in command.err
    assert command("--sets", "v", "n", "--lists", "t.txt", "--source", "none") == 0
    assert "disk space: v: 0 B to fetch + 400.0 kB unpacked" in command.err


def test_the_stores_are_counted(command: Command) -> None:
    store = command.archives.parent / "store"
    assert command("--sets", "v", "--source", "mirror", "--store_dir", store, "--stored", "v", "n") == 0
    assert "disk space: audio stores of stage 3, 16-bit samples: 450.0 kB" in command.err
    assert command("--sets", "v", "--source", "mirror", "--stored", "w") == 2
    assert "--stored: " in command.err


def test_without_a_network_one_line(command: Command) -> None:
    command.site.server.server_close()
    assert command("--sets", "n", "v", "--source", "mirror", "--backoff_s", "60", "--num_connections", "1") == 1
    errors = [line for line in command.err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert "no connection (Connection refused); look at this machine's network" in errors[0]


@pytest.mark.parametrize("way", ["variable", "file"])
def test_the_owners(command: Command, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    request: list[object] = ["--sets", "v", "--source", "official"]
    assert command(*request) == 2
    assert "expected your personal key in the variable HAM_VOXCELEB_KEY" in command.err
    if way == "variable":
        monkeypatch.setenv("HAM_VOXCELEB_KEY", KEY)
    else:
        command.key_file.write_text(f"{KEY}\n")
        command.key_file.chmod(0o644)
        request += ["--key_file", command.key_file]
    assert command(*request) == 0
    assert command.site.requests[0][0] == "/owners?key=p3rs0nal%2Fk3y&file=v.zip"
    assert ("chmod 600" in command.err) == (way == "file")


def test_a_wrong_key(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAM_VOXCELEB_KEY", KEY)
    command.site.always["/owners"] = status(401)
    assert command("--sets", "v", "--source", "official") == 1
    assert command.err.splitlines()[-1].startswith(
        "error: v.zip: 127.0.0.1: answered 401 Unauthorized; the key is wrong"
    )
    assert len(command.site.requests) == 1


def test_the_key_in_the_place_of_the_file_is_not_repeated(command: Command) -> None:
    assert command("--sets", "v", "--source", "official", "--key_file", KEY) == 2
    assert "--key_file: expected a file that holds the key, found: No such file" in command.err
    command.key_file.write_text(f"https://h/d?key={KEY}&file=")
    assert command("--sets", "v", "--source", "official", "--key_file", command.key_file) == 2
    assert "--key_file: expected the key alone" in command.err
    assert command("--sets", "v", "--source", "official", "--official_url", f"https://h/d?key={KEY}") == 2


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--source", "mirror"], "expected something to fetch; the sets are musan, rirs, v, n"),
        (["--source", "mirror", "--sets", "w"], "--sets: expected one of musan, rirs, v, n, found 'w'"),
        (
            ["--source", "mirror", "--lists", "v.txt"],
            "--lists: expected one of t.txt, found 'v.txt'; did you mean 't.txt'",
        ),
        (["--source", "owners", "--sets", "v"], "--source: invalid choice"),
        (["--sets", "v"], "required: --source"),
        (["--source", "none", "--sets", "v"], "expected the folder of your archives"),
        (["--source", "mirror", "--sets", "v", "--stall_s", "0"], "expected seconds above 0"),
        (["--source", "mirror", "--sets", "v", "--num_connections", "0"], "at least 1"),
        (["--source", "mirror", "--sets", "v", "--mirror_repo", "a/b/c"], "--mirror_repo"),
        (["--source", "mirror", "--sets", "n", "--openslr_urls", "h"], "--openslr_urls: expected an address"),
        (["--source", "mirror", "--lists", "t.txt", "--lists_url", "ftp://h"], "--lists_url: expected an address"),
        (["--source", "mirror", "--sets", "v", "--key", "abc"], "unknown option --key: did you mean --key_file?"),
    ],
)
def test_wrong_requests(command: Command, argv: Sequence[str], words: str) -> None:
    assert command(*argv) == 2
    assert words in command.err.splitlines()[-1]
    assert command.err.count("error:") == 1
    assert command.site.requests == []


def test_wrong_bytes_and_the_next_run(command: Command) -> None:
    command.site.then("/slr/9/n.tar.gz", serve(content=NOISE[::-1]))
    assert command("--sets", "n", "--source", "mirror") == 1
    assert f"moved to {command.archives}/bad/n.tar.gz; the next run fetches it again" in command.err
    assert command("--sets", "n", "--source", "mirror") == 0


def test_an_archive_of_the_user_with_another_checksum(command: Command) -> None:
    command.archives.mkdir()
    (command.archives / "v.zip").write_bytes(VOICE[::-1])
    assert command("--sets", "v", "--source", "none", "--accept_repacked", "true") == 0
    assert "warning: " in command.err
    assert "v.zip: its md5 is not the owners'; taken as packed anew" in command.err
    assert command("--sets", "v", "--source", "none") == 1
    assert "move it back and add --accept_repacked true" in command.err
    assert (command.archives / "bad/v.zip").read_bytes() == VOICE[::-1]


def test_insecure_says_what_it_risks(command: Command) -> None:
    assert command("--sets", "n", "--source", "mirror", "--insecure") == 0
    assert "warning: --insecure: certificates are not verified; anyone between" in command.err


@pytest.mark.recipe
def test_killed_at_random_moments(command: Command) -> None:
    """Each run is killed after some more bytes; no byte is loaded twice but for what the system had not written."""
    for number in range(3):
        so_far = 100_000 * (number + 1)
        command.site.then("/owners", serve(end=100_000, after=stall))
        process = command.start("--sets", "v", "--source", "official")
        part = command.archives / "v.zip.part"
        with process:
            until(lambda part=part, size=so_far: part.exists() and part.stat().st_size == size, process)
            seen = [path.read_bytes() for path in Path("/proc").glob(f"{process.pid}/cmdline")]
            assert all(KEY.encode() not in text for text in seen)
            process.kill()
            out, err = process.communicate()
        assert KEY not in out + err
        assert not (command.archives / "v.zip").exists()
    with command.start("--sets", "v", "--source", "official") as process:
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert (command.archives / "v.zip").read_bytes() == VOICE
    ranges = [None, "bytes=100000-", "bytes=200000-", "bytes=300000-"]
    assert command.site.ranges("/owners") == ranges
    left = [path for path in command.archives.rglob("*") if path.is_file()]
    assert sorted(path.name for path in left) == ["checksums.json", "v.zip"]
    assert all(KEY.encode() not in path.read_bytes() for path in left)


def test_interrupted_in_a_stall(command: Command) -> None:
    command.site.then("/owners", serve(end=100_000, after=stall))
    with command.start("--sets", "v", "--source", "official") as process:
        part = command.archives / "v.zip.part"
        until(lambda: part.exists() and part.stat().st_size == 100_000, process)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S / 2)
    assert process.returncode == 130
    assert err.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in err
    assert KEY not in err
