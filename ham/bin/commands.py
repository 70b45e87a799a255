"""Run the commands of one ``./run.sh``, one after the other, with the libraries loaded once instead of eight times.

The shell writes requests on standard input and reads answers from standard output; every word ends with a zero byte.

    request   number of words, then the words: ``run`` or ``ask``, the command's name, its arguments
    answer    exit status, then what the command printed if it was asked, and nothing if it was run
    signal    INT, TERM or USR1, which the shell was sent while it waits: the command gets it too

A command runs in a fork of this process, so that it starts with the libraries and leaves nothing behind. What ``run``
prints goes to the descriptor 3. When the shell or this process goes away, so does the command.
"""

from __future__ import annotations

import importlib
import logging
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from io import RawIOBase
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess

from ham.cli import Parser, run
from ham.train.signals import end_with_parent

STDIN, STDOUT, USERS_STDOUT = 0, 1, 3
HANDED_ON = {"INT": signal.SIGINT, "TERM": signal.SIGTERM, "USR1": signal.SIGUSR1}
CHUNK_BYTES = 4096


def main(argv: Sequence[str]) -> None:
    """Answer requests until there are no more."""
    Parser(prog="ham.bin.commands", description=__doc__).parse_args(argv)
    heard: set[int] = set()
    for number in HANDED_ON.values():  # they are meant for the command
        signal.signal(number, lambda number, _: heard.add(number))
    # Unbuffered: a signal that comes right behind a request must not be read with it.
    with open(STDIN, "rb", buffering=0, closefd=False) as stream:
        for kind, name, *arguments in requests(stream):
            status, said = in_a_fork(name, arguments, heard, asked=kind == "ask")
            sys.stdout.buffer.write(f"{status}\0{said}\0".encode(errors="surrogateescape"))
            sys.stdout.buffer.flush()


def requests(stream: RawIOBase) -> Iterator[list[str]]:
    """Read requests.

    Args:
        stream: what the shell writes.

    Yields:
        The words of each.
    """
    while number := _word(stream):
        if number not in HANDED_ON:  # a signal that came when the command had just ended
            yield [_word(stream) for _ in range(int(number))]


def _word(stream: RawIOBase) -> str:
    """The next word; empty at the end."""
    return b"".join(iter(lambda: (stream.read(1) or b"").strip(b"\0"), b"")).decode(errors="surrogateescape")


def in_a_fork(name: str, arguments: Sequence[str], heard: set[int], *, asked: bool) -> tuple[int, str]:
    """Run a command of ``ham.bin`` in a process of its own, and wait for it.

    Args:
        name: of the command; its libraries are loaded here, so that the next command need not load them again.
        arguments: of the command.
        heard: signals that this process was sent.
        asked: keep what it prints.

    Returns:
        Its exit status, or 128 and the number of the signal that ended it; and what it printed, if asked.
    """
    importlib.import_module(f"ham.bin.{name}")
    read, write = os.pipe()
    process = multiprocessing.get_context("fork").Process(
        target=_command, args=(name, arguments, write if asked else USERS_STDOUT)
    )
    with warnings.catch_warnings():  # libraries have threads of their own, idle now, and prepare them for a fork
        warnings.simplefilter("ignore", DeprecationWarning)
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDED_ON.values())  # till the command has handlers of its own
        heard.clear()
        process.start()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON.values())
    os.close(write)
    while STDIN in wait([process.sentinel, STDIN]):
        words = os.read(STDIN, CHUNK_BYTES)
        for word in words.decode().split("\0")[:-1]:
            _hand_on(HANDED_ON[word], process, heard)
        if not words:  # the shell has gone
            process.terminate()
            break
    process.join()
    with open(read, encoding="utf-8", errors="surrogateescape") as answer:  # noqa: PTH123 - a descriptor
        said = answer.read().rstrip("\n")
    code = process.exitcode or 0
    return (code if code >= 0 else 128 - code), said


def _hand_on(number: int, process: BaseProcess, heard: set[int]) -> None:
    """Give the command a signal that the shell was sent, unless the whole group of processes was."""
    if number in heard:
        heard.discard(number)
    else:
        os.kill(process.pid or 0, number)


def _command(name: str, arguments: Sequence[str], stdout: int) -> None:
    """The command itself, in the forked process."""
    end_with_parent(signal.SIGTERM)
    for number in HANDED_ON.values():
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), STDIN)
    os.dup2(stdout, STDOUT)
    logging.getLogger().handlers.clear()  # the command has its own

    def heard_inside(argv: Sequence[str]) -> int | None:
        """Run it, and let signals in where they are answered."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDED_ON.values())  # not before: run() ends what is interrupted
        status: int | None = importlib.import_module(f"ham.bin.{name}").main(argv)
        return status

    sys.exit(run(heard_inside, arguments))


if __name__ == "__main__":
    sys.exit(run(main))
