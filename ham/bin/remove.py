"""Remove enrolled speakers with all their recordings, all of those named or, if one is not enrolled, none."""

from __future__ import annotations

from collections.abc import Sequence

from ham.bin._use_options import add_db, add_json, answer
from ham.cli import Parser
from ham.enrolment.database import SpeakerDatabase, checked_name


def main(argv: Sequence[str]) -> None:
    """Remove.

    Args:
        argv: the arguments without the command's name.
    """
    parser = Parser(prog="ham remove", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME", help="who")
    add_db(parser)
    add_json(parser)
    options = parser.parse_args(argv)
    names = list(dict.fromkeys(map(checked_name, options.names)))
    with SpeakerDatabase(options.db, write=True) as known:
        known.remove(names)
    answer(options, {"removed": names}, "\n".join(f"{name}: removed" for name in names))
