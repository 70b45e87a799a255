"""List the enrolled speakers: how many recordings, how long, since when."""

from __future__ import annotations

from collections.abc import Sequence

from ham.bin._use_options import add_db, add_json, answer
from ham.cli import Parser
from ham.enrolment.database import SpeakerDatabase
from ham.words import count


def main(argv: Sequence[str]) -> None:
    """List.

    Args:
        argv: the arguments without the command's name.
    """
    parser = Parser(prog="ham list", description=__doc__)
    add_db(parser)
    add_json(parser)
    options = parser.parse_args(argv)
    with SpeakerDatabase(options.db) as known:
        speakers = known.speakers()
    lines = [f"{one.name}: {count(one.num_recordings, 'recording')}, {one.duration_s:.1f} s" for one in speakers]
    document = {**known.model._asdict(), "speakers": [one._asdict() for one in speakers]}
    answer(options, document, "\n".join([*lines, f"{count(len(speakers), 'speaker')} enrolled"]))
