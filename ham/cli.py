"""What every command of ``ham.bin`` shares: usage errors of one line, logging, the exit status.

A command declares its options with underscores and ends in two lines::

    def main(argv: Sequence[str]) -> None:
        options = Parser(description=__doc__).parse_args(argv)

    if __name__ == "__main__":
        sys.exit(run(main))
"""

from __future__ import annotations

import argparse
import difflib
import errno
import json
import logging
import math
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any, NoReturn

from tqdm import tqdm

from ham.errors import ConfigError, HamError

INTERRUPTED = 130
"""Exit status after Ctrl-C: 128 + SIGINT, as shells report it."""

REFUSED, BUG = 2, 70
"""Exit statuses of the commands whose status 1 is an answer: whatever cannot be carried out, and a bug."""

_LOGGERS = ("ham", "__main__")  # `python -m ham.bin.x` names its own logger __main__, not ham.bin.x

_CURES = {
    errno.EACCES: "give yourself permission, or choose another place",
    errno.ENOSPC: "free some space on that disk, or choose another place",
    errno.EDQUOT: "your quota is used up: free some space, or choose another place",
    errno.EROFS: "choose a place that can be written to",
    errno.EMFILE: "raise the limit of open files with `ulimit -n`, or use fewer workers",
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose usage errors are a :class:`~ham.errors.ConfigError` of one line.

    Options are declared with underscores and understood with ``-`` or ``_``; abbreviations are refused, since
    an abbreviated option silently changes its meaning when another one is added. Help shows the defaults by
    itself.
    """

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", _Formatter)
        super().__init__(allow_abbrev=False, **kwargs)

    def parse_args(self, args: Iterable[str] | None = None, namespace: Any = None) -> Any:
        """Parse the command line; an option that does not exist is answered with the closest one that does.

        Args:
            args: the arguments without the command's name; ``sys.argv[1:]`` when missing.
            namespace: where to store the values; a new ``argparse.Namespace`` when missing.

        Returns:
            The namespace.

        Raises:
            ConfigError: if the arguments are not what the options accept.
        """
        argv = normalise(sys.argv[1:] if args is None else list(args))
        options, unknown = self.parse_known_args(argv, namespace)
        if unknown:
            self.error(self._unknown(unknown))
        return options

    def error(self, message: str) -> NoReturn:
        """Raise the usage error instead of printing the whole usage.

        Args:
            message: what argparse has found wrong.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(f"{message} (--help lists every option)")

    def _unknown(self, unknown: Sequence[str]) -> str:
        names = [name for name in self._option_string_actions if name.startswith("--")]
        found = next((word for word in unknown if word.startswith("-")), None)
        if found is None:
            return f"expected options only, found {' '.join(unknown)!r}"
        found = found.split("=", 1)[0]
        close = difflib.get_close_matches(found, names, n=1)
        cure = f"did you mean {close[0]}?" if close else "the options are " + " ".join(names)
        return f"unknown option {found}: {cure}"


class _Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Adds ``(default: ...)`` to every option that has one worth reading."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.default is None or isinstance(action.default, bool):
            return action.help
        if isinstance(action.default, list | tuple):
            return f"{action.help} (default: {' '.join(map(str, action.default)) or 'none'})"
        return super()._get_help_string(action)


def at_least(minimum: int) -> Callable[[str], int]:
    """Make a type for an option that is a whole number with a lower bound.

    Args:
        minimum: the smallest value.

    Returns:
        What ``add_argument(type=...)`` takes.
    """

    def _parse(text: str) -> int:
        if not text.strip().lstrip("+-").isdecimal() or int(text) < minimum:
            raise argparse.ArgumentTypeError(f"expected a whole number of at least {minimum}, found {text!r}")
        return int(text)

    return _parse


def above_zero(what: str) -> Callable[[str], float]:
    """Make a type for an option that is a finite number above 0.

    Args:
        what: it is, for the error message, as "seconds".

    Returns:
        What ``add_argument(type=...)`` takes.
    """

    def _parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"expected {what} above 0, found {text!r}")
        return value

    return _parse


def boolean(text: str) -> bool:
    """Read an option's ``true`` or ``false``, as Kaldi's scripts write them.

    Args:
        text: the option's value.

    Returns:
        What it says.

    Raises:
        argparse.ArgumentTypeError: if it is anything else.
    """
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"expected true or false, found '{text}'")
    return text == "true"


def normalise(argv: Sequence[str]) -> list[str]:
    """Write the names of long options with underscores: ``--foo-bar=a-b`` becomes ``--foo_bar=a-b``.

    Args:
        argv: the arguments; whatever follows a lone ``--`` is kept as it is.

    Returns:
        The arguments, values untouched.
    """
    end = argv.index("--") if "--" in argv else len(argv)
    return [_underscored(word) for word in argv[:end]] + list(argv[end:])


def _underscored(word: str) -> str:
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    return "--" + name.replace("-", "_") + equals + value


def run(
    main: Callable[[Sequence[str]], int | None], argv: Sequence[str] | None = None, refused: int | None = None
) -> int:
    """Run a command and turn what stops it into one line on standard error and an exit status.

    A bug keeps its traceback: only a :class:`~ham.errors.HamError`, the operating system's refusals and Ctrl-C become
    a line alone. A command that was given ``--json`` has the line on standard output too, as ``{"error": line}``.

    Args:
        main: the command; it takes the arguments without the command's name, and may return an exit status.
        argv: the arguments; ``sys.argv[1:]`` when missing.
        refused: exit status of whatever stops it, for commands whose status 1 is an answer; a bug ends with 70 then,
            where the interpreter would end with 1. None for those below.

    Returns:
        0 done, 2 the request was wrong, 1 anything else, 130 interrupted; or what the command returns.
    """
    argv = sys.argv[1:] if argv is None else argv
    as_json, status = "--json" in argv, None
    _open_streams()
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:  # the caller's; no process would learn how its own ended
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with _logging(), ExitStack() as stack:
        if refused is not None:
            stack.push(partial(_tell_bug, as_json))
            status = BUG
        try:
            status = main(argv)
            _flush()
        except HamError as error:
            return _fail(str(error), refused or error.exit_status, as_json)
        except BrokenPipeError:
            _reader_left()
            return refused or 1
        except OSError as error:
            return _fail(_describe(error), refused or 1, as_json)
        except KeyboardInterrupt:
            return _fail("interrupted", INTERRUPTED, as_json)
    return status or 0


def leave(status: int, *, at_once: bool) -> int:
    """Hand a program's exit status on to ``sys.exit``, or end the program here.

    Args:
        status: the status.
        at_once: end it, whatever threads still do. Those of gloo and autograd, where processes work together, and those
            that serve the demo have aborted a process in the interpreter's own end, after its last line of work.

    Returns:
        The status.
    """
    if at_once:
        with suppress(OSError):  # run() has told it
            sys.stdout.flush()
        os._exit(status)
    return status


def _open_streams() -> None:
    """Put the null device where the caller has closed a standard stream (``>&-``), which Python leaves as None."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - open to the end


def _tell_bug(as_json: bool, kind: type[BaseException] | None, error: BaseException | None, _: object) -> bool:
    """Print what nobody has foreseen, and say whether that is what ended the command."""
    if not isinstance(error, Exception):
        return False
    traceback.print_exception(error)
    _fail(f"a bug: {kind.__name__ if kind else ''}: {error}", BUG, as_json)
    return True


def _flush() -> None:
    """Write out what was printed, while a full disk can still be told; the interpreter would try once more."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        error.filename = "standard output"
        raise


def _fail(message: str, status: int, as_json: bool = False) -> int:
    line = " ".join(message.split("\n"))
    seen = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    sys.stderr.write(f"error: {seen}\n")
    if as_json:
        try:
            sys.stdout.write(json.dumps({"error": seen}) + "\n")
            sys.stdout.flush()
        except OSError:  # nobody reads it, or the disk is full: the status still has to say what happened
            _reader_left()
    return status


def _describe(error: OSError) -> str:
    """The file, the system's words for what went wrong, and a cure for the common ones."""
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    cure = _CURES.get(error.errno or 0)
    return f"{place}{error.strerror or error}" + (f"; {cure}" if cure else "")


def _reader_left() -> None:
    """`command | head` closed the pipe: say nothing, and keep the interpreter from flushing into it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Handler(logging.Handler):
    """Writes messages to the standard error of the moment, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message."""
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        tqdm.write(prefix + self.format(record), file=sys.stderr)
        for bar in list(tqdm._instances):  # type: ignore[attr-defined]  # not in the stubs
            bar.delay = 0  # write() has shown bars that were still waiting; only then do they end their line


@contextmanager
def _logging() -> Iterator[None]:
    """Plain messages on standard error: ours from INFO on, those of other libraries from WARNING on."""
    root, handler = logging.getLogger(), _Handler()
    ours = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in ours]
    root.addHandler(handler)
    for logger in ours:
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        for logger, level in zip(ours, levels, strict=True):
            logger.setLevel(level)
