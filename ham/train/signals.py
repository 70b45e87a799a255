"""Signals that end a training: the first one asks for a checkpoint after the step, a second one ends it at once."""

from __future__ import annotations

import _thread
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ham.errors import HamError

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; what ``kill``, batch systems and shutdowns send; and what a batch system can be told to send before the
time of a job is up."""

PR_SET_PDEATHSIG = 1

TOGETHER_S = 1.0
"""Signals within this time of the first are the same one, which has come by several ways: to the group of processes,
and handed on by the process that started this one."""


class StoppedError(HamError):
    """A training was asked to end, and has written what it needs to go on.

    Args:
        message: where it stands, and how it goes on.
        number: of the signal; the exit status is 128 more, as shells have it.
    """

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.exit_status = 128 + number


class Stop:
    """Whether a training was asked to end.

    Attributes:
        signal: the first signal that has asked; None before.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._since = 0.0

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Take the signals for this instead of ending at the first; only the main thread may ask for it."""
        before = {number: signal.signal(number, self._heed) for number in ENDING}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heed(self, number: int, _: object) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self._since = signal.Signals(number), now
        elif now - self._since > TOGETHER_S:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # nobody is to report the workers' end
            for worker in multiprocessing.active_children():
                worker.kill()
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)


@contextmanager
def kept_from_workers() -> Iterator[None]:
    """Processes that are started within never see the signals, which are sent to whole groups of processes.

    This process sees them afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent(number: signal.Signals) -> None:
    """Have the system send this process a signal when the one that started it is gone, however; Linux alone can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def obey_parent(_: int = 0) -> None:
    """In a worker that was started so: end when the process that started it says so or is gone, and only then."""

    def _wait() -> None:
        while True:
            if signal.sigwaitinfo({signal.SIGTERM}).si_pid == os.getppid():
                _thread.interrupt_main()  # at which the loader's workers end without a word

    end_with_parent(signal.SIGKILL)  # it may be stuck in a pipe that nobody reads any more
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_wait, daemon=True).start()
