"""One process that runs the commands of a ``./run.sh``: answers, statuses, and its end."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ham.bin.commands import requests

CONFIG = str(Path(__file__).parents[2] / "conf/mini.yaml")
MORE_COMMANDS = """
import os, signal, sys, time, types
def sleep(argv):
    print(os.getpid(), flush=True)
    time.sleep(60)
def say(argv):
    print(*map(repr, argv), sys.stdin.read())
def kill(argv):
    os.kill(os.getpid(), int(argv[0]))
def bug(argv):
    raise ValueError("a bug")
def count(argv):
    heard = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda number, _: heard.append(number))
    os.write(3, str(os.getpid()).encode())
    while signal.SIGUSR1 not in heard:
        time.sleep(0.01)
    print(*sorted(heard))
for main in (sleep, say, kill, bug, count):
    sys.modules[f"ham.bin.{main.__name__}"] = types.SimpleNamespace(main=main)
from ham.bin import commands
sys.exit(commands.run(commands.main, []))
"""


class Shell:
    """What ``run.sh`` does: descriptor 3 is the user's standard output, requests and answers go through pipes."""

    def __init__(self) -> None:
        self.said, users = os.pipe()
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec 3>&{users}; exec {sys.executable} -c "$1"', "bash", MORE_COMMANDS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[users],
        )
        os.close(users)

    def send(self, *words: str) -> None:
        self.write(str(len(words)), *words)

    def write(self, *words: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("".join(f"{word}\0" for word in words).encode())
        self.process.stdin.flush()

    def __call__(self, *words: str) -> tuple[int, str]:
        self.send(*words)
        return int(self.word()), self.word()

    def word(self) -> str:
        assert self.process.stdout is not None
        read = self.process.stdout.read
        return b"".join(iter(lambda: read(1).strip(b"\0"), b"")).decode()


@pytest.fixture(scope="module")
def shell() -> Iterator[Shell]:
    one = Shell()
    yield one
    _, errors = one.process.communicate()
    assert one.process.returncode == 0
    assert b"a bug" in errors
    os.close(one.said)


def test_what_a_command_prints_is_the_answer_or_goes_to_the_user(shell: Shell) -> None:
    assert shell("ask", "check_request", "--config", CONFIG) == (0, "mini_ham_softmax")
    assert shell("run", "check_request", "--config", CONFIG, "--seed", "2") == (0, "")
    assert os.read(shell.said, 1000) == b"mini_ham_softmax_seed2\n"


def test_any_word_arrives_and_the_requests_are_not_the_commands_input(shell: Shell) -> None:
    words = ["", "a b", "two\nlines", "'\"$x", "Zoë"]
    assert shell("ask", "say", *words) == (0, " ".join(map(repr, words)) + " ")


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (["check_request", "--config", "no.yaml"], 2),
        (["check_request", "--help"], 0),
        (["bug"], 1),
        (["kill", str(int(signal.SIGKILL))], 137),
        (["kill", str(int(signal.SIGTERM))], 143),
    ],
)
def test_the_status_is_the_commands_and_the_next_one_is_served(shell: Shell, words: list[str], status: int) -> None:
    assert shell("ask", *words)[0] == status
    assert shell("ask", "say") == (0, "")


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_command_ends_with_the_shell_and_with_the_process_that_runs_it(is_killed: bool) -> None:
    shell = Shell()
    shell.send("run", "sleep")
    sleeper = int(os.read(shell.said, 100))
    if is_killed:
        shell.process.kill()
    shell.process.communicate()
    for _ in range(200):
        try:
            os.kill(sleeper, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("the command outlived the shell")
    os.close(shell.said)


@pytest.mark.parametrize("group", [False, True])
def test_a_signal_to_the_shell_reaches_the_command_once(group: bool) -> None:
    shell = Shell()
    shell.send("ask", "count")
    command = int(os.read(shell.said, 100))
    for name, number in (("INT", signal.SIGINT), ("TERM", signal.SIGTERM)):
        for pid in (command, shell.process.pid) if group else ():
            os.kill(pid, number)
        shell.write(name)
    shell.write("USR1")
    assert (int(shell.word()), shell.word()) == (0, "2 10 15")
    shell.write("TERM")  # too late: it is no request
    assert shell("ask", "say") == (0, "")
    shell.process.communicate()
    os.close(shell.said)


@pytest.mark.parametrize(("name", "status"), [("TERM", 143), ("INT", 130), ("USR1", 138)])
def test_a_command_that_is_handed_a_signal_ends_by_it(shell: Shell, name: str, status: int) -> None:
    shell.send("ask", "sleep")
    children = Path(f"/proc/{shell.process.pid}/task/{shell.process.pid}/children")
    while not children.read_text():
        time.sleep(0.01)
    shell.write(name)
    assert int(shell.word()) == status
    shell.word()


def test_requests_are_read_word_by_word() -> None:
    assert list(requests(io.BytesIO(b"2\0run\0a\0" + b"3\0ask\0\0c d\0"))) == [["run", "a"], ["ask", "", "c d"]]
