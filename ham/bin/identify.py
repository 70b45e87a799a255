"""Who of the enrolled speakers speaks? Exit status 0: named, 1: nobody of them, 2: wrong request, 3: cannot say.

With several recordings, the highest of their statuses, 2 for one that cannot be read before all others.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ham.bin._use_options import SOUNDS, add_db, add_model, answer, load_model
from ham.cli import Parser, at_least
from ham.enrolment.database import ModelKey, SpeakerDatabase
from ham.enrolment.recognition import Heard, Identification, Threshold, choose_list_threshold, identify, listen
from ham.enrolment.search import LEAST_OTHERS, Search
from ham.errors import ConfigError, DataError

if TYPE_CHECKING:
    from ham.model.encoder import SpeakerEncoder

logger = logging.getLogger(__name__)

STATUS = {"named": 0, "nobody": 1, "cannot_say": 3}
UNREADABLE = 2

AT_A_TIME = 64
"""Recordings that are read before they are embedded together."""


def main(argv: Sequence[str]) -> int:
    """Identify.

    Args:
        argv: the arguments without the command's name.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(argv)
    if options.files.count("-") > 1:
        raise ConfigError("ham identify: expected - once, since standard input can be read only once")
    encoder = load_model(options)
    with SpeakerDatabase(options.db, ModelKey(encoder.fingerprint, encoder.embedding_dim)) as known:
        gallery = known.gallery()
    if options.cohort == "model" and encoder.cohort is None:
        raise ConfigError("--cohort model: the model brings none; stage 5 embeds it, with --backends cosine+as_norm")
    search = Search(gallery, encoder.cohort if options.cohort == "model" else None, as_norm=options.cohort != "none")
    threshold = choose_list_threshold(options.threshold, encoder.decisions, len(gallery.names))
    found = list(_answers(options, encoder, search, threshold))
    answer(options, {"files": [_document(file, one) for file, one in found]}, _in_words(found, threshold))
    statuses = {UNREADABLE if isinstance(one, DataError) else STATUS[one.decision] for _, one in found}
    return UNREADABLE if UNREADABLE in statuses else max(statuses)


def _answers(
    options: Any, encoder: SpeakerEncoder, search: Search, threshold: Threshold
) -> Iterator[tuple[str, Identification | DataError]]:
    """Each file with its answer; one that cannot be read keeps nobody from the answers for the others."""
    files = iter(options.files)
    while some := list(islice(files, AT_A_TIME)):
        heard = [(file, _heard(encoder, file)) for file in some]
        readable = [one for _, one in heard if isinstance(one, Heard)]
        answers = iter(identify(encoder, search, readable, threshold, options.top))
        yield from ((file, one if isinstance(one, DataError) else next(answers)) for file, one in heard)


def _heard(encoder: SpeakerEncoder, file: str) -> Heard | DataError:
    try:
        return listen(encoder, Path(file))
    except DataError as error:
        logger.error("%s", error)
        return error


def _document(file: str, found: Identification | DataError) -> dict[str, Any]:
    return {"file": file, **({"error": str(found)} if isinstance(found, DataError) else found.to_dict())}


def _in_words(found: Sequence[tuple[str, Identification | DataError]], threshold: Threshold) -> str:
    """A line for each file, then what decided."""
    lines = [line for file, one in found if isinstance(one, Identification) for line in _lines(file, one)]
    value = "none" if threshold.value is None else f"{threshold.value:.3f}"
    return "\n".join([*lines, f"threshold {value} ({threshold.origin})"])


def _lines(file: str, found: Identification) -> list[str]:
    best = ", ".join(f"{one.name} {one.score:.3f}" for one in found.candidates)
    whom = found.name or found.decision.replace("_", " ")
    return [
        f"{file}: {whom}" + (f" ({best})" if best else ""),
        *(f"{file}: {problem.text}" for problem in found.quality.problems),
    ]


def _parser() -> Parser:
    parser = Parser(prog="ham identify", description=__doc__)
    parser.add_argument("files", nargs="+", metavar="FILE", help=f"recordings ({SOUNDS})")
    add_db(parser)
    add_model(parser)
    parser.add_argument("--top", type=at_least(1), default=3, help="candidates to show, the best first")
    parser.add_argument(
        "--threshold",
        help="a cosine from -1 to 1, or an operating point of the model; else the one by which 1 %% of strangers are "
        "named, over the whole list, if there is one",
    )
    parser.add_argument(
        "--cohort",
        choices=("enrolled", "model", "none"),
        default="enrolled",
        help=f"by whom AS-Norm ranks candidates: the other enrolled speakers where there are {LEAST_OTHERS} or more, "
        "the model's training speakers, or nobody",
    )
    return parser
