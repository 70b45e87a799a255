"""Commands of ``ham.bin``, run to their end or killed at a random moment of their work, and what they leave."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

TOP = Path(__file__).parents[1]
KILLS = 10
TRIES = 20
"""Moments that are tried for one kill; a moment is too late when the command was done before, as on a busy machine."""


def command(name: str, *arguments: object) -> list[str]:
    """The command line of a command of ``ham.bin``."""
    return [sys.executable, "-m", f"ham.bin.{name}", *map(str, arguments)]


def environment(**further: str) -> dict[str, str]:
    """What a command runs with; the network is where nobody answers."""
    offline = {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_ENDPOINT": "http://127.0.0.1:9"}
    kept = {name: text for name, text in os.environ.items() if name != "HAM_VOXCELEB_KEY"}
    return {**kept, **offline, "PYTHONPATH": str(TOP), "HAM_VENV": sys.prefix, "OMP_NUM_THREADS": "1", **further}


def run(arguments: Sequence[str | Path], check: bool = True, **further: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end.

    Args:
        arguments: the command line.
        check: whether it must succeed.
        further: for the environment.

    Returns:
        What it has said, and its status.
    """
    done = subprocess.run(
        arguments, env=environment(**further), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def size_of(folder: Path) -> int:
    """Bytes of everything in a folder, which may change meanwhile."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(f"{place}/{name}").st_size  # noqa: PTH116  (it must be quick)
    return total


def contents(folder: Path) -> dict[str, str]:
    """A checksum of every file in a folder; times and process numbers in notes of the recipe's own do not count."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != ".lock":
            data = path.read_bytes()
            if path.suffix == ".json":
                data = re.sub(rb'"mtime_ns": \d+', b"", data)
            found[path.relative_to(folder).as_posix()] = hashlib.md5(data).hexdigest()
        elif path.is_dir():
            found[path.relative_to(folder).as_posix()] = "folder"
    return found


def audio(folder: Path) -> dict[str, str]:
    """A checksum of every audio file in a folder."""
    return {name: md5 for name, md5 in contents(folder).items() if name.endswith((".wav", ".flac", ".m4a"))}


class Process(Protocol):
    """A command that has been started, leader of a group of processes."""

    pid: int

    def poll(self) -> int | None:
        """Its status, if it has ended."""

    def wait(self) -> int:
        """Its status, once it has ended."""


Start = Callable[[Sequence[str]], Process]


def started(**further: str) -> Start:
    """Start commands as a user does.

    Args:
        further: for their environment.

    Returns:
        What starts a command line.
    """
    return lambda arguments: subprocess.Popen(
        arguments,
        env=environment(**further),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


_ONE_AT_A_TIME = threading.Lock()
"""Whoever starts a process asks after all others too, and of two threads that ask after one, one is told 255."""


class Forked:
    """A command in a fork of a process that has loaded it before: for commands that take seconds to load."""

    def __init__(self, arguments: Sequence[str]) -> None:
        name = arguments[2]
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([name, "torch._dynamo"])  # which a configuration's losses load late
        self._process = context.Process(target=_main, args=(name, list(arguments[3:])))
        with _ONE_AT_A_TIME:
            self._process.start()
        self.pid = self._process.pid or 0

    def poll(self) -> int | None:
        """Its status, if it has ended."""
        with _ONE_AT_A_TIME:
            return self._process.exitcode

    def wait(self) -> int:
        """Its status, once it has ended."""
        while (status := self.poll()) is None:
            time.sleep(0.001)
        return status


def _main(name: str, arguments: list[str]) -> None:
    os.setsid()
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    sys.exit(importlib.import_module("ham.cli").run(importlib.import_module(name).main, arguments))


def killed_at(start: Start, arguments: Sequence[str], grown: Path, num_bytes: float) -> bool:
    """Start a command and kill it with all its processes when a folder has grown to a size; False if it was done."""
    process = start(arguments)
    while process.poll() is None and size_of(grown) < num_bytes:
        time.sleep(0.001)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def kill_ten_times(
    folder: Path, make: Callable[[Path], list[str]], grown: str, start: Start, seed: int
) -> list[dict[str, str]]:
    """Kill a command ten times at random moments of its work, each time in a folder of its own, and run it again.

    Args:
        folder: for all of it.
        make: makes a folder in which the command can work, and gives its command line.
        grown: what the command fills, below its folder.
        start: starts a command line.
        seed: of the moments.

    Returns:
        What the undisturbed run has left, and then what each killed one has left after the next run.
    """
    undisturbed = folder / "undisturbed"
    arguments = make(undisturbed)
    before = size_of(undisturbed / grown)
    assert start(arguments).wait() == 0
    total, rng = size_of(undisturbed / grown) - before, random.Random(seed)
    moments = [[rng.uniform(0.01, 0.95) for _ in range(TRIES)] for _ in range(KILLS)]

    def _kill(index: int) -> dict[str, str]:
        for attempt, moment in enumerate(moments[index]):
            place = folder / f"{index}_{attempt}"
            arguments = make(place)
            if killed_at(start, arguments, place / grown, before + moment * total):
                assert start(arguments).wait() == 0
                return contents(place / grown)
        raise AssertionError(f"the kill came too late at each of {moments[index]}")

    with ThreadPoolExecutor(2) as pool:
        return [contents(undisturbed / grown), *pool.map(_kill, range(KILLS))]
