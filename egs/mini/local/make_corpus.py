"""Make the corpus `mini`: synthetic voices by espeak-ng whose hierarchy of sex, accent and speaker is known exactly.

The folder that it leaves is laid out as the recipe's corpus `folder` expects:
``wav/<speaker>/<session>/<utterance>.flac``, ``splits/train_list.txt``, ``trials/all.txt``, ``trials/hard.txt``,
with the tables ``speakers.tsv`` and ``sessions.tsv`` beside them.
"""

from __future__ import annotations

import argparse
import glob
import os
import shutil
import signal
import sys
import time
from contextlib import suppress
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Literal, NoReturn

from plan import PRESETS, Request, plan
from recording import record_all
from tables import write_lists, write_tables

from ham.cli import boolean
from ham.errors import ConfigError, DataError, HamError
from ham.files import LOCK, lock_folder

REQUEST_FILE = "request.json"

README = """\
# mini: synthetic voices for trying the recipe

{num_speakers} speakers ({num_train_speakers} training, {num_test_speakers} test), {num_sessions} sessions each,
{num_utterances} utterances of 3 to 4 s a session: {num_files} FLAC files, 16 kHz, 16 bits, mono.

The voices are espeak-ng's (espeakng-loader {espeak}): one voice file a speaker, drawn at random. Nobody's voice is
recorded here, and an error rate on this corpus says nothing about people: it tells whether the machinery works, and how
losses compare where the hierarchy sex > accent > speaker > session is known.

- `wav/<speaker>/<session>/<utterance>.flac`: random common words, so that content tells nothing about the speaker
- `speakers.tsv`: sex, accent ({accents}), split, and the voice's parameters
- `sessions.tsv`: pitch and rate shift, spectral tilt, level, signal-to-noise ratio and noise colour of every session
{further}- `splits/train_list.txt`: `<speaker> <path below wav/>`
- `trials/all.txt`: `1|0 <path> <path>`; targets are across sessions
- `trials/hard.txt`: the same, and non-targets share sex and accent

Made by this command, and the same bytes come from it again whatever the number of workers:

    python egs/mini/local/make_corpus.py --out <folder> {options}
"""


FURTHER = {
    "preset": """\
- of `large` also: the age in `speakers.tsv`, which moves pitch and rate; room and microphone in `sessions.tsv`
""",
    "unequal": """\
- `--unequal true`: the training list names the first utterances of each speaker, from 2 to all; `wav/` holds all
""",
}
"""Lines of the README that only some corpora have."""


class OneLineParser(argparse.ArgumentParser):
    """Reports a wrong command line in one line, as every other error is."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2.

        Args:
            message: what is wrong.
        """
        self.exit(2, f"error: {self.prog}: {message}; see {self.prog} --help\n")


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line.

    Args:
        arguments: instead of ``sys.argv``.

    Returns:
        ``out``, ``num_workers`` and the fields of :class:`plan.Request`.
    """
    parser = OneLineParser(
        description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, default=argparse.SUPPRESS, help="the corpus's folder")
    for field in fields(Request)[:5]:
        names = dict.fromkeys([f"--{field.name}", f"--{field.name.replace('_', '-')}"])
        help_text = field.name.replace("num_", "number of ").replace("_", " ")
        preset = "".join(
            f", of {name} {counts[field.name]}" for name, counts in PRESETS.items() if field.name in counts
        )
        help_text += f" (default: {field.default}{preset})"
        parser.add_argument(*names, type=int, default=argparse.SUPPRESS, metavar="N", help=help_text)
    parser.add_argument(
        "--preset", default="default", choices=PRESETS, help="accents, ages and sessions; and the counts"
    )
    parser.add_argument(
        "--unequal",
        type=boolean,
        default=False,
        help="true: training lists of unequal lengths, from 2 utterances to all",
    )
    parser.add_argument(
        "--num_workers", "--num-workers", type=int, default=os.cpu_count() or 1, metavar="N", help="processes"
    )
    return parser.parse_args(arguments)


def stands(out: Path, request: Request) -> Literal["nothing", "complete", "other"]:
    """Say what stands at ``out``.

    Args:
        out: where the corpus is wanted.
        request: what is wanted.

    Returns:
        ``nothing``; ``complete`` if it is the corpus that is wanted; ``other`` if this command made it from another
        request or files have gone since.

    Raises:
        ConfigError: what stands there was not made by this command, and so is not to be replaced.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return "nothing"
    if not (out / REQUEST_FILE).is_file():
        raise ConfigError(
            f"--out {out}: expected nothing or a corpus made by this command, found no {REQUEST_FILE} there; "
            "remove it or choose another folder"
        )
    same = (out / REQUEST_FILE).read_text(encoding="utf-8") == request.to_json()
    whole = sum(1 for _ in (out / "wav").glob("*/*/*.flac")) == request.num_files
    return "complete" if same and whole else "other"


def build(root: Path, request: Request, num_workers: int) -> None:
    """Make the whole corpus in ``root``.

    Args:
        root: an empty folder.
        request: counts and seed.
        num_workers: processes.
    """
    speakers = plan(request)
    record_all(speakers, root / "wav", request, num_workers)
    write_lists(speakers, root, request)
    write_tables(speakers, root)
    readme = README.format(
        num_speakers=len(speakers),
        num_files=request.num_files,
        accents=", ".join(request.accents),
        further="".join(line for name, line in FURTHER.items() if name in request.given()),
        espeak=version("espeakng-loader"),
        options=" ".join(f"--{name} {str(value).lower()}" for name, value in request.given().items()),
        **asdict(request),
    )
    (root / "README.md").write_text(readme, encoding="utf-8")
    (root / REQUEST_FILE).write_text(request.to_json(), encoding="utf-8")


def remove_leftovers(out: Path) -> None:
    """Remove what killed runs left beside the corpus; what a living one makes there is locked, and stays.

    Args:
        out: the corpus's folder.
    """
    for kind in ("new", "old"):
        for leftover in out.parent.glob(f".{glob.escape(out.name)}.*.{kind}"):
            with suppress(DataError, NotADirectoryError), lock_folder(leftover, "removing what a killed run left"):
                shutil.rmtree(leftover, ignore_errors=True)


def make(out: Path, request: Request, num_workers: int) -> str:
    """Make the corpus unless it stands already; ``out`` is replaced only when the new one is complete.

    Args:
        out: the corpus's folder.
        request: counts and seed.
        num_workers: processes, at least 1.

    Returns:
        One line that says what was done.

    Raises:
        HamError: a wrong request, or espeak-ng cannot be used.
    """
    request.check()
    if num_workers < 1:
        raise ConfigError(f"--num_workers: expected at least 1, found {num_workers}")
    remove_leftovers(out)
    found = stands(out, request)
    if found == "complete":
        return f"{out}: this corpus is complete already"
    if found == "other":
        print(f"{out}: made by another request or incomplete; it is made anew", file=sys.stderr)
    start = time.monotonic()
    partial, old = (out.with_name(f".{out.name}.{os.getpid()}.{kind}") for kind in ("new", "old"))
    partial.mkdir(parents=True)
    try:
        with lock_folder(partial, "making the corpus"):
            build(partial, request, num_workers)
            if out.exists():
                out.rename(old)
            partial.rename(out)
        (out / LOCK).unlink(missing_ok=True)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    return f"{out}: {request.num_files} utterances in {time.monotonic() - start:.0f} s"


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: instead of ``sys.argv``.

    Returns:
        The exit status: 0 done, 2 the request was wrong, 1 anything else.
    """
    options = vars(parse_arguments(arguments))
    out, num_workers = options.pop("out"), options.pop("num_workers")
    try:
        print(make(out.resolve(), Request(**{**PRESETS[options["preset"]], **options}), num_workers))
    except HamError as error:
        return _fail(str(error), error.exit_status)
    except OSError as error:  # a full disk, a folder that may not be written
        return _fail(str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was changed", 128 + signal.SIGINT)
    return 0


def _fail(message: str, status: int) -> int:
    print(f"error: make_corpus.py: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    # so that what is half made is removed when the recipe is stopped
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    sys.exit(main())
