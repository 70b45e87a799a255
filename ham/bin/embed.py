"""Embeddings of many files, into one file: .npz (utts, embeddings), .ark (Kaldi's, with .scp), .csv or .parquet."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ham.audio.decoding import READABLE, STDIN, inspect_files
from ham.bin._use_options import SOUNDS, add_model, answer, load_model
from ham.cli import Parser, at_least
from ham.data.text_lines import numbered_lines
from ham.embeddings.table import check_format, write_table
from ham.errors import DataError, summarise
from ham.words import count

logger = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> None:
    """Embed.

    Args:
        argv: the arguments without the command's name.
    """
    options = _parser().parse_args(argv)
    check_format(options.out)
    encoder = load_model(options)
    files = find_files(options.inputs)
    bad = _bad_files(files)
    if bad and (not options.skip_bad or len(bad) == len(files)):
        raise DataError(f"{summarise(list(bad.values()))} (of {count(len(files), 'file')}; --skip_bad leaves such out)")
    for problem in bad.values():
        logger.warning("left out: %s", problem)
    good = {utt: path for utt, path in files.items() if utt not in bad}
    embeddings = encoder.embed_many(list(good.values()), progress="embed", batch_size=options.batch_size)
    write_table(options.out, list(good), embeddings)
    found = {"out": str(options.out), "num_files": len(good), "embedding_dim": encoder.embedding_dim, "left_out": bad}
    left_out = f", {count(len(bad), 'bad file')} left out" if bad else ""
    answer(options, found, f"{options.out}: {count(len(good), 'file')}, {encoder.embedding_dim} numbers each{left_out}")


def find_files(inputs: Sequence[Path]) -> dict[str, Path]:
    """The files that are meant, by the names that their embeddings get.

    Args:
        inputs: audio files, whose names are their paths; folders, whose files have names relative to them; and lists,
            with a path in each line, or in a ``.scp`` file Kaldi's ``<utt> <path>``.

    Returns:
        The files, in the order of the inputs, those of a folder sorted.

    Raises:
        DataError: if an input is not there or names no file, or if two files would have one name.
    """
    found = [pair for path in inputs for pair in _named(path)]
    twice = [utt for utt, times in Counter(utt for utt, _ in found).items() if times > 1]
    if twice:
        raise DataError(f"expected each name once, found {count(len(twice), 'name')} twice, the first is {twice[0]}")
    return dict(found)


def _named(path: Path) -> list[tuple[str, Path]]:
    """The files of one input."""
    if path.is_dir():
        files = (one for one in path.rglob("*") if one.suffix.lower() in READABLE and not one.name.startswith("."))
        found = [(one.relative_to(path).as_posix(), one) for one in sorted(files)]
    elif path == STDIN or path.suffix.lower() in READABLE:
        return [(str(path), path)]
    else:
        found = [_listed(path, line, number) for number, line in numbered_lines(path)]
    if not found:
        raise DataError(f"{path}: expected audio files ({', '.join(READABLE)}), found none")
    return found


def _listed(path: Path, line: str, number: int) -> tuple[str, Path]:
    """Name and file of a line of a list."""
    if path.suffix != ".scp":
        return line.strip(), Path(line.strip())
    utt, _, file = line.strip().partition(" ")
    if not file or file.endswith("|"):
        raise DataError(f"{path}:{number}: expected '<utt> <path>', found {line!r}; a command cannot be run")
    return utt, Path(file.strip())


def _bad_files(files: dict[str, Path]) -> dict[str, str]:
    """What is wrong with each file that cannot be embedded; found before the work begins."""
    paths = list(files.values())
    with tqdm(inspect_files(paths), desc="check", total=len(paths), unit="file", delay=2) as checked:
        return {utt: str(info) for utt, (_, info) in zip(files, checked, strict=True) if isinstance(info, DataError)}


def _parser() -> Parser:
    parser = Parser(prog="ham embed", description=__doc__)
    parser.add_argument(
        "inputs",
        nargs="+",
        type=Path,
        metavar="DIR|LIST|FILE",
        help=f"folders, text files with a path in each line, wav.scp, or audio files ({SOUNDS})",
    )
    add_model(parser)
    parser.add_argument("--out", type=Path, required=True, help="file to write; its suffix says in which format")
    parser.add_argument("--batch_size", type=at_least(1), default=16, help="most files of a batch")
    parser.add_argument("--skip_bad", action="store_true", help="leave out files that cannot be embedded, and say so")
    return parser
