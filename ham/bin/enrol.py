"""Enrol speakers: their recordings are embedded and kept in a database. Exit status 0: done, 2: wrong request, 3: none
of a speaker's recordings can be used.

Recordings of a name that is enrolled are added to those there are. Speech that is short (below 2 s), silent, clipped,
noisy or of several speakers is not enrolled.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ham.audio.decoding import READABLE, decode_audio
from ham.bin._use_options import SOUNDS, add_db, add_model, answer, load_model
from ham.cli import Parser
from ham.enrolment.database import ModelKey, Recording, SpeakerDatabase, checked_name
from ham.enrolment.recognition import Heard, embed, listen
from ham.errors import ConfigError, DataError, summarise
from ham.words import count

if TYPE_CHECKING:
    from ham.model.encoder import SpeakerEncoder

logger = logging.getLogger(__name__)

CANNOT_SAY = 3


def main(argv: Sequence[str]) -> int:
    """Enrol.

    Args:
        argv: the arguments without the command's name.

    Returns:
        The exit status.
    """
    options = _parser().parse_args(argv)
    wanted = _wanted(options)
    if options.folder is not None:  # one speaker's recordings are all read before any is enrolled
        _check(path for files in wanted.values() for path in files)
    encoder = load_model(options)
    key = ModelKey(encoder.fingerprint, encoder.embedding_dim)
    with SpeakerDatabase(options.db, key, write=True, create=True) as known:
        done = [_enrol(known, encoder, name, files) for name, files in wanted.items()]
    answer(options, {"speakers": done}, "\n".join(map(_in_words, done)))
    return 0 if all(one["added"] or one["already"] for one in done) else CANNOT_SAY


def _wanted(options: Any) -> dict[str, list[Path]]:
    """The recordings of each speaker."""
    if options.folder is None:
        if len(options.words) < 2:
            raise ConfigError("ham enrol: expected a name and at least one recording, or --from FOLDER")
        return {checked_name(options.words[0]): [Path(word) for word in options.words[1:]]}
    if options.words:
        raise ConfigError("ham enrol: expected a name and recordings, or --from FOLDER, found both")
    if not options.folder.is_dir():
        raise DataError(f"{options.folder}: expected a folder with one folder a speaker, found none")
    wanted: dict[str, list[Path]] = {}
    for path in sorted(options.folder.glob("*/**/*")):
        if path.suffix.lower() in READABLE and path.is_file():
            wanted.setdefault(checked_name(path.relative_to(options.folder).parts[0]), []).append(path)
    if not wanted:
        raise DataError(f"{options.folder}: expected recordings <speaker>/<file>, found none ({', '.join(READABLE)})")
    return wanted


def _check(paths: Iterable[Path]) -> None:
    """Name all files that cannot be read, before anybody is enrolled."""
    problems = []
    for path in paths:
        try:
            decode_audio(path)
        except DataError as error:
            problems.append(str(error))
    if problems:
        raise DataError(f"{summarise(problems)}; nobody was enrolled")


def _enrol(known: SpeakerDatabase, encoder: SpeakerEncoder, name: str, files: Sequence[Path]) -> dict[str, Any]:
    """Enrol the recordings of a speaker in one change, and say what became of each."""
    new: dict[bytes, Heard] = {}
    already: list[str] = []
    refused: list[dict[str, str]] = []
    for path in files:
        heard = listen(encoder, path)
        holders, audio = known.holders(heard.audio), heard.audio
        if name in holders or audio in new:
            already.append(heard.source)
        elif problem := heard.quality.not_to_enrol:
            refused.append({"file": heard.source, "reason": problem.text})
            logger.warning("%s: not enrolled. %s", heard.source, problem.text)
        else:
            new[audio] = heard
            if holders:
                logger.warning("%s: the same recording is enrolled as %s", heard.source, ", ".join(holders))
    rows = zip(new.items(), embed(encoder, [*new.values()]), strict=True)
    recordings = [Recording(one.source, audio, one.quality.duration_s, row) for (audio, one), row in rows]
    return {
        "name": name,
        "added": known.add({name: recordings}) if recordings else 0,
        "already": already,
        "refused": refused,
    }


def _in_words(done: dict[str, Any]) -> str:
    parts = [f"{count(done['added'], 'recording')} enrolled"]
    parts += [f"{len(done['already'])} enrolled before"] if done["already"] else []
    parts += [f"{len(done['refused'])} refused"] if done["refused"] else []
    return f"{done['name']}: {', '.join(parts)}"


def _parser() -> Parser:
    parser = Parser(prog="ham enrol", description=__doc__)
    parser.add_argument(
        "words", nargs="*", metavar="NAME FILE...", help=f"the speaker's name, and recordings ({SOUNDS})"
    )
    parser.add_argument(
        "--from", dest="folder", type=Path, metavar="FOLDER", help="instead: a folder with one folder a speaker"
    )
    add_db(parser, "made where there is none")
    add_model(parser)
    return parser
