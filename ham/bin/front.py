"""``python -m ham COMMAND``, and ``ham COMMAND`` once installed: the trained model in use.

Exit statuses, for scripts: 0 done, the same speaker, or named; 1 another speaker, or nobody known; 2 the request cannot
be carried out; 3 the speech is too poor, or the model has no threshold, to say. A bug ends with 70, never with 1.
"""

from __future__ import annotations

import difflib
import importlib
import threading
from collections.abc import Sequence

from ham.cli import REFUSED, leave, run
from ham.errors import ConfigError
from ham.words import clip

COMMANDS = {
    "verify": ("ham.bin.verify", "are two recordings of one speaker?"),
    "embed": ("ham.bin.embed", "embeddings of many files, into one file"),
    "enrol": ("ham.bin.enrol", "keep a speaker's voice in a database"),
    "identify": ("ham.bin.identify", "who of the enrolled speakers speaks?"),
    "remove": ("ham.bin.remove", "remove enrolled speakers"),
    "list": ("ham.bin.enrolled", "who is enrolled"),
    "info": ("ham.bin.info", "what a model is: numbers, thresholds, licence, where it comes from"),
    "pack": ("ham.bin.pack", "an experiment as one folder that can be given away"),
    "import": ("ham.bin.import_model", "a public model of another project as such a folder"),
    "publish": ("ham.bin.publish", "such a folder at the Hugging Face hub"),
    "export": ("ham.bin.export", "the model as one ONNX or torch.export file"),
    "demo": ("ham.bin.demo", "a page to try a model in the browser"),
}
"""Module and one line of each command; a module is imported when its command is called."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: its name and its arguments; ``sys.argv[1:]`` when missing.

    Returns:
        The exit status.
    """
    return run(_command, argv, REFUSED)


def start() -> int:
    """Run the command that the program's arguments name.

    Threads that serve the demo may still compute then, and would abort the interpreter's own end.

    Returns:
        The exit status.
    """
    return leave(main(), at_once=any(thread.daemon for thread in threading.enumerate()))


def _command(argv: Sequence[str]) -> int | None:
    """Call the command that the first word names."""
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return None
    name = argv[0]
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        cure = f"did you mean {close[0]}?" if close else f"the commands are {', '.join(COMMANDS)}"
        raise ConfigError(f"ham {clip(name)}: no such command; {cure}")
    status: int | None = importlib.import_module(COMMANDS[name][0]).main(argv[1:])
    return status


def usage() -> str:
    """What ``ham`` alone prints: every command with its line."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {line}" for name, (_, line) in COMMANDS.items()]
    return "\n".join(
        [
            "usage: ham COMMAND ...   (ham COMMAND --help says more)",
            "",
            *lines,
            "",
            "MODEL, everywhere: an experiment's folder, a model directory, or owner/name at the hub.",
            "Exit status: 0 done or same; 1 different or nobody; 2 cannot be carried out; 3 cannot say.",
        ]
    )
