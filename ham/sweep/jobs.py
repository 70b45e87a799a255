"""Running the rows of a table: what is done is not done again, and several GPUs take a row each."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

import torch

from ham.errors import ConfigError
from ham.files import write_text
from ham.sweep.commands import Row

STAMP = ".row"
"""File of an experiment that a row has finished: its command, and a checksum of what it was made from."""

WRONG_REQUEST = 2
FIRST_SIGNAL = 128
"""A status above is 128 and the number of the signal that has ended the row."""

PAUSE_S = 0.1

logger = logging.getLogger(__name__)


def environment(**further: str) -> dict[str, str]:
    """What ``run.sh`` is called with.

    Args:
        further: variables to add.

    Returns:
        The variables of this process but PYTHONSAFEPATH, with which a corpus's scripts could not import each other.
    """
    return {**{name: text for name, text in os.environ.items() if name != "PYTHONSAFEPATH"}, **further}


def choose_gpus(wanted: Sequence[int]) -> tuple[str, ...]:
    """Choose GPUs among those that this process may use: those of ``CUDA_VISIBLE_DEVICES`` where it is set, else all.

    Args:
        wanted: one number, how many; or several, which ones, counted from 0.

    Returns:
        Their names for ``CUDA_VISIBLE_DEVICES``: numbers, or what it calls them.

    Raises:
        ConfigError: if there are not so many.
    """
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(torch.cuda.device_count())) if named is None else (one.strip() for one in named.split(","))
    there = [*takewhile(lambda name: name not in ("", "-1"), names)]  # as CUDA reads it
    numbers = range(wanted[0]) if len(wanted) == 1 else wanted
    if not numbers or max(numbers) >= len(there):
        found = f"CUDA_VISIBLE_DEVICES={named}" if named is not None else "this machine"
        expected = "expected at least 1 and at most" if len(wanted) == 1 else "expected numbers below"
        raise ConfigError(f"--gpus {' '.join(map(str, wanted))}: {expected} the {len(there)} GPUs of {found}")
    return tuple(there[number] for number in numbers)


def say(text: str) -> None:
    """Write a message with the time of day."""
    logger.info("%s %s", time.strftime("%H:%M:%S"), text)


def is_done(row: Row) -> bool:
    """Whether a row was finished by the same command from the same files, and not touched since."""
    stamp = row.folder / STAMP
    if not stamp.exists() or not (row.folder / "results.json").exists() or stamp.read_text() != _stamp(row):
        return False
    made = [path for path in (row.folder / "average.pt", row.folder / "results.json") if path.exists()]
    return all(path.stat().st_mtime_ns <= stamp.stat().st_mtime_ns for path in made)


def _stamp(row: Row) -> str:
    return f"{shlex.join(row.command[1:])}\n{row.checksum()}"


def run_rows(rows: Iterable[Row], gpus: Sequence[str] = ()) -> int:
    """Run rows one after the other, or on each GPU one at a time.

    A row that fails does not stop the others; one that was a wrong request, or was ended by a signal, does. Whatever
    ends this function ends its rows.

    Args:
        rows: what to run.
        gpus: names of GPUs. Each row then writes to ``<experiment>.log`` beside its experiment.

    Returns:
        0 if all are done, the status of a row that has stopped the others, or 1 if some have failed.
    """
    waiting, running = deque(rows), list[_Job]()
    free: list[str | None] = [*gpus] or [None]
    worst = 0
    try:
        while running or (waiting and not _stops(worst)):
            while waiting and free and not _stops(worst):
                row = waiting.popleft()
                if is_done(row):
                    say(f"row {row.name}: done")
                else:
                    running.append(_Job(row, free.pop(0)))
            for job in [job for job in running if job.process.poll() is not None]:
                running.remove(job)
                free.append(job.gpu)
                worst = max(worst, job.finish(), key=lambda status: (_stops(status), status > 0))
            time.sleep(PAUSE_S if running else 0)
    finally:
        for job in running:
            job.end()
    return worst if _stops(worst) else min(worst, 1)


def _stops(status: int) -> bool:
    return status == WRONG_REQUEST or status > FIRST_SIGNAL


class _Job:
    """A row that is running.

    With a GPU it leads a group of processes, so that all of it can be ended; else it belongs to the group of this
    process, which a terminal or a batch system ends as a whole.
    """

    def __init__(self, row: Row, gpu: str | None) -> None:
        say(f"row {row.name}")
        self.row, self.gpu, self._stamp = row, gpu, _stamp(row)
        if gpu is None:
            self.process = subprocess.Popen(row.command, env=environment())
            return
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                row.command,
                env=environment(CUDA_VISIBLE_DEVICES=gpu),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def _log(self) -> Path:
        return self.row.folder.with_name(f"{self.row.name}.log")

    def finish(self) -> int:
        """Leave the stamp of a row that is done, or say why it is not; its status."""
        status = self.process.returncode
        status = status if status >= 0 else FIRST_SIGNAL - status
        if status == 0:
            write_text(self.row.folder / STAMP, self._stamp)
        elif status > FIRST_SIGNAL:
            say(f"row {self.row.name}: ended by signal {status - FIRST_SIGNAL}")
        elif self.gpu is not None:
            last = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-1:]
            say(f"row {self.row.name} failed: {' '.join(last)} (log: {self._log})")
        return status

    def end(self) -> None:
        """Stop the row, and wait until it has stopped."""
        if self.gpu is None:
            self.process.terminate()
        else:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()
