"""The exit status and the one line of every way in which a command can end."""

from __future__ import annotations

import argparse
import errno
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tqdm import tqdm

from ham.cli import INTERRUPTED, Parser, above_zero, at_least, normalise, run
from ham.errors import CheckpointError, ConfigError, DataError


def parser() -> Parser:
    made = Parser(prog="example")
    made.add_argument("--train_roots", nargs="+", default=["one", "two"], help="folders")
    made.add_argument("--num_workers", type=at_least(1), default=2, help="threads")
    made.add_argument("--kind", choices=["cosine", "hyperbolic"], help="scores")
    made.add_argument("--quick", action="store_true", help="hurry")
    return made


def ending(error: BaseException) -> Callable[[Sequence[str]], None]:
    def main(argv: Sequence[str]) -> None:
        raise error

    return main


def test_dashes_and_underscores_are_the_same_in_names_only() -> None:
    argv = ["--train-roots=a-b", "--num-workers", "-1", "x-y", "--", "--keep-me"]
    assert normalise(argv) == ["--train_roots=a-b", "--num_workers", "-1", "x-y", "--", "--keep-me"]
    assert normalise(normalise(argv)) == normalise(argv)


def test_options_are_understood_in_both_spellings() -> None:
    for argv in (["--num-workers", "3", "--train-roots", "a-b"], ["--num_workers=3", "--train_roots", "a-b"]):
        options = parser().parse_args(argv)
        assert (options.num_workers, options.train_roots) == (3, ["a-b"])


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--num_worker", "3"], ["unknown option --num_worker", "did you mean --num_workers?"]),
        (["--zzz"], ["unknown option --zzz", "--train_roots", "--num_workers", "--kind"]),
        (["-n", "3"], ["unknown option -n"]),
        (["word"], ["expected options only", "'word'"]),
        (["--kind", "euclidean"], ["cosine", "hyperbolic", "euclidean"]),
        (["--num_workers", "0"], ["--num_workers", "at least 1", "'0'"]),
        (["--num_workers", "1.5"], ["--num_workers", "whole number", "'1.5'"]),
        (["--num_workers"], ["--num_workers", "expected one argument"]),
    ],
)
def test_usage_errors_are_one_line_with_the_choices_and_status_2(
    argv: list[str], words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    def main(argv: Sequence[str]) -> None:
        parser().parse_args(argv)

    assert run(main, argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert all(word in err for word in words)


def test_abbreviations_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean --num_workers"):
        parser().parse_args(["--num_work", "3"])


def test_help_shows_the_defaults_worth_reading(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(lambda argv: parser().parse_args(argv), ["--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert "folders (default: one two)" in out
    assert "threads (default: 2)" in out
    assert "None" not in out
    assert "False" not in out


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon", ""])
def test_above_zero_refuses(text: str) -> None:
    assert above_zero("seconds")("1e-3") == 0.001
    with pytest.raises(argparse.ArgumentTypeError, match=f"^expected seconds above 0, found '{text}'$"):
        above_zero("seconds")(text)


@pytest.mark.parametrize("text", ["0", "-3", "two", "", "1e3", "²"])
def test_at_least_refuses(text: str) -> None:
    with pytest.raises(ConfigError):
        parser().parse_args([f"--num_workers={text}"])


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (DataError("data/utt2spk:17: wrong"), 1, "error: data/utt2spk:17: wrong"),
        (DataError("two\nlines"), 1, "error: two lines"),
        (CheckpointError("old"), 1, "error: old"),
        (ConfigError("no such loss"), 2, "error: no such loss"),
        (KeyboardInterrupt(), INTERRUPTED, "error: interrupted"),
        (OSError(errno.ENOENT, "No such file", "a.txt"), 1, "error: a.txt: No such file"),
        (
            OSError(errno.ENOSPC, "No space left on device"),
            1,
            "error: No space left on device; free some space on that disk, or choose another place",
        ),
    ],
)
def test_errors_become_one_line_and_a_status(
    error: BaseException, status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(ending(error), []) == status
    assert capsys.readouterr() == ("", line + "\n")


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(ending(ZeroDivisionError()), [])


def test_success_is_0_and_arguments_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Sequence[str]] = []
    assert run(seen.append, ["--a"]) == 0
    monkeypatch.setattr(sys, "argv", ["command", "--b"])
    assert run(seen.append) == 0
    assert seen == [["--a"], ["--b"]]


def test_messages_go_to_standard_error_and_leave_no_handler(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: Sequence[str]) -> None:
        logging.getLogger("ham.data").info("ours %d", 1)
        logging.getLogger("ham.data").warning("look")
        logging.getLogger("__main__").info("the command's")
        logging.getLogger("other").info("not shown")

    before = list(logging.getLogger().handlers), logging.getLogger("ham").level
    for _ in range(2):
        assert run(main, []) == 0
        assert capsys.readouterr() == ("", "ours 1\nwarning: look\nthe command's\n")
    assert (list(logging.getLogger().handlers), logging.getLogger("ham").level) == before


def test_an_error_after_a_bar_that_was_still_waiting_has_its_own_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main(argv: Sequence[str]) -> None:
        with tqdm(total=2, delay=60):
            logging.getLogger("ham").info("a message shows the bar")
            raise DataError("wrong")

    assert run(main, []) == 1
    assert capsys.readouterr().err.endswith("\nerror: wrong\n")


def test_a_reader_that_leaves_is_no_traceback(tmp_path: Path) -> None:
    script = tmp_path / "many.py"
    script.write_text(
        "import sys\nfrom ham.cli import run\nsys.exit(run(lambda argv: print(*range(100000), sep='\\n'), []))\n"
    )
    command = f"PYTHONPATH={Path(__file__).parents[1]} {sys.executable} {script} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_an_output_that_is_full_is_one_line(tmp_path: Path) -> None:
    script = tmp_path / "table.py"
    script.write_text("import sys\nfrom ham.cli import run\nsys.exit(run(lambda argv: print('a table'), []))\n")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, script], stdout=full, stderr=subprocess.PIPE, text=True, check=False,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONUNBUFFERED": ""},
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard output: No space left on device")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("redirection", [">/dev/full", "> >(exit)", ">&-", "2>&-", "<&-"])
def test_the_status_of_an_error_does_not_depend_on_who_reads(tmp_path: Path, redirection: str, unbuffered: str) -> None:
    script = tmp_path / "refuse.py"
    script.write_text(
        "import sys, time\nfrom ham.cli import REFUSED, run\nfrom ham.errors import DataError\n"
        "def main(argv):\n    time.sleep(0.1)\n    sys.stdin.read()\n    raise DataError('no such file')\n"
        "sys.exit(run(main, ['--json'], REFUSED))\n"
    )
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} {script} {redirection}"], capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (2, "" if redirection == "2>&-" else "error: no such file\n")


def test_an_interruption_is_one_document_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(ending(KeyboardInterrupt()), ["--json"]) == INTERRUPTED
    assert capsys.readouterr() == ('{"error": "interrupted"}\n', "error: interrupted\n")


def test_what_a_terminal_would_obey_is_spelt_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(ending(DataError("wav/\x1b[31mred\x07/é: wrong\r")), []) == 1
    assert capsys.readouterr().err == "error: wav/\\x1b[31mred\\x07/é: wrong\\r\n"


def test_statuses_are_learnt_where_the_caller_ignores_ended_processes() -> None:
    """As some that start programs do; the system then keeps no status for whoever asks."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert run(lambda _: subprocess.run(["sh", "-c", "exit 3"], check=False).returncode, []) == 3
    finally:
        signal.signal(signal.SIGCHLD, before)
