"""Which layout a root of speech has: the table of layouts, and how one is recognised by what is there.

A root is a folder or a table. A folder with one of the marks of ``LAYOUTS`` has that layout; one without is a tree of
speakers' folders (:func:`ham.prepare.folders.read_tree`); one with several is refused. The file that is the mark may be
given in place of the folder.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ham.data.speech import Span, Speech
from ham.data.text_lines import raise_all
from ham.errors import SHOWN, DataError
from ham.prepare.folders import FILES_TABLE, read_files_table, read_tree, read_wav, without_audio
from ham.prepare.manifests import lhotse_pair, read_kaldi, read_lhotse, read_shards
from ham.prepare.tables import read_csv, read_json_lines, text_lines
from ham.words import count

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """A layout: the name in a folder that is its mark, and what reads it, given the folder or that name's file."""

    mark: str
    read: Callable[[Path], Speech]
    yields_to: tuple[str, ...] = ()
    """Marks beside which this one says the same and is passed over: what was made from them."""


def _parent(read: Callable[[Path], Speech]) -> Callable[[Path], Speech]:
    return lambda mark: read(mark.parent)


_SHARDS = "shard.list"
_GZIP = b"\x1f\x8b"

LAYOUTS: tuple[Layout, ...] = (
    Layout(FILES_TABLE, _parent(read_files_table)),
    Layout("wav", _parent(read_wav)),
    Layout("wav.scp", _parent(read_kaldi)),
    Layout("raw.list", read_json_lines, ("wav.scp",)),
    Layout(_SHARDS, partial(read_shards, folder=None), ("wav.scp", "raw.list")),
    Layout("metadata.csv", read_csv),
    Layout("metadata.jsonl", read_json_lines),
)
"""The layouts with a mark; lhotse's manifests, whose names vary, and trees of folders come on top."""

_MARKS = {layout.mark for layout in LAYOUTS if layout.mark != "wav"}


def lists_folder(path: Path) -> Path:
    """The folder of a root's lists: the root itself, for a table the folder of its name without extension.

    The file that is the mark of a folder stands for the folder. The folder of the lists need not exist.
    """
    if not path.is_file():
        return path
    return path.parent if path.name in _MARKS else path.with_name(path.name.split(".", 1)[0] or path.name)


def read_speech(path: Path, unpacked: Path | None = None) -> Speech:
    """Recognise the layout of a root, a folder or a table, and read it; the layout is logged in one line.

    Args:
        path: the root.
        unpacked: where the audio of shards may be unpacked, in a folder of the root's name.

    Returns:
        Its utterances.

    Raises:
        DataError: if the layout cannot be told, or if something is wrong with it.
    """
    mark = path if path.is_file() else _mark(path)
    own = unpacked / lists_folder(path).name if unpacked else None
    speech = read_tree(path) if mark is None else _reader(mark, own)(mark)
    if speech.is_table:
        _check_files_once(speech)
    speakers = {utt.speaker for utt in speech.utts.values()}
    logger.info("%s: layout: %s, %s", path, speech.layout, count(len(speakers), "speaker"))
    if empty := without_audio(path, speech):
        shown = ", ".join(empty[:SHOWN]) + (f" and {len(empty) - SHOWN} more" if len(empty) > SHOWN else "")
        logger.warning("%s: left aside without audio: %s, %s", speech.place, count(len(empty), "folder"), shown)
    return speech


def _check_files_once(speech: Speech) -> None:
    """Two names for the same audio are two utterances only by mistake, and perhaps two speakers."""
    first, problems = dict[tuple[str, Span | None], str](), list[str]()
    for name, utt in speech.utts.items():
        if (other := first.setdefault((utt.file, utt.span), name)) != name:
            problems.append(f"{speech.place}: {other!r} and {name!r} are the same audio, {utt.file}; remove one")
    raise_all(problems)


def _mark(folder: Path) -> Path | None:
    """The mark of a folder; None for a tree of speakers' folders."""
    there = [layout for layout in LAYOUTS if _is_mark(folder / layout.mark)]
    names = {layout.mark for layout in there}
    marks = [folder / layout.mark for layout in there if not names.intersection(layout.yields_to)] + lhotse_pair(folder)
    if len(marks) > 1:
        found = " and ".join(sorted(mark.name for mark in marks))
        raise DataError(
            f"{folder}: expected one layout, found {found}; remove or move one of them, or give the table itself "
            f"in place of the folder, such as {next(mark for mark in marks if mark.name != 'wav')}"
        )
    return marks[0] if marks else None


def _is_mark(path: Path) -> bool:
    return path.is_dir() if path.name == "wav" else path.is_file()


def _reader(mark: Path, unpacked: Path | None) -> Callable[[Path], Speech]:
    """What reads a mark, or a table of any name."""
    named = next((layout for layout in LAYOUTS if layout.mark == mark.name), None)
    if named and mark.name != _SHARDS:
        return named.read
    _check_text(mark)
    first = next(iter(text_lines(mark)), "").strip()
    if named or first.endswith((".tar", ".tar.gz", ".tgz")):
        return partial(read_shards, folder=unpacked)
    if not first.startswith("{"):
        return read_csv
    return read_lhotse if "recordings" in mark.name or "supervisions" in mark.name else read_json_lines


def _check_text(table: Path) -> None:
    """Refuse audio, spreadsheets and the like, of which "expected UTF-8" would be the wrong thing to say."""
    with table.open("rb") as stream:
        start = stream.read(4096)
    is_utf16 = start.startswith((b"\xff\xfe", b"\xfe\xff"))
    if b"\0" in start and not is_utf16 and not start.startswith(_GZIP):
        raise DataError(
            f"{table}: expected a folder of speech or a table of text, found a binary file; name the folder"
        )
