"""Layouts that are tables: a line says where an utterance lies and whose it is.

============================  ================================================================================
table                         columns
============================  ================================================================================
CSV or TSV                    ``path``, ``speaker``; optional ``session``, ``split``, ``sex``, ``id``, and
                              ``start_s``, ``end_s`` or ``start_sample``, ``stop_sample`` for parts of files
SpeechBrain's CSV             ``ID``, ``duration``, ``wav``, ``start``, ``stop``, ``spk_id``: samples
wespeaker's ``raw.list``      JSON lines ``{"key": ..., "wav": ..., "spk": ...}``
Hugging Face ``metadata.*``   CSV or JSON lines with ``file_name`` and ``speaker_id``
============================  ================================================================================

The delimiter (comma, tab, semicolon or bar) is the one that splits the heading into known columns; ``COLUMNS`` has the
names that each is known by. Relative paths begin at the table's folder or one above it. Lists name an utterance by its
``id`` where there is such a column, and by its ``path`` as the table has it otherwise.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ham.audio.decoding import EXTENSIONS
from ham.data.speech import Span, Speech, Utterance, extension_of, fits_a_line, name_problem
from ham.data.text_lines import raise_all, read_lines
from ham.errors import DataError

COLUMNS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "path": ("path", "wav", "file", "file_name", "filename", "filepath", "audio", "audio_path", "wav_path"),
        "speaker": ("speaker", "spk", "speaker_id", "spk_id", "client_id"),
        "session": ("session", "session_id", "chapter", "chapter_id", "video", "video_id"),
        "split": ("split", "subset", "partition"),
        "sex": ("sex", "gender"),
        "id": ("id", "key", "utt", "utt_id", "utterance", "utterance_id"),
        "start_s": ("start_s",),
        "end_s": ("end_s", "stop_s"),
        "start_sample": ("start_sample",),
        "stop_sample": ("stop_sample", "end_sample"),
    }
)
"""What the columns may be called, in any case of letters."""

_SPEECHBRAIN = {"id", "duration", "wav", "start", "stop", "spk_id"}
_UNCLEAR = {"start", "stop", "end", "begin", "offset"}
_DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
_BARE = ("path", "speaker", "session")  # columns of a table without a heading
_SPLITS = re.compile(r"(?:(train)|(dev|val)|(test|eval))[a-z]*(?:[-_.].*)?")
_SPLIT_NAMES = ("", "train", "dev", "test")  # by the group of _SPLITS that matched
_SEXES = {"m": "m", "male": "m", "f": "f", "female": "f"}
_ABOVE = 3  # folders above the table's own where relative paths may begin: data/lists/train.csv names wav/a.wav


class Row(NamedTuple):
    """A line of a table: where it stands, and its values by the names of ``COLUMNS``."""

    number: int
    values: Mapping[str, str]


def text_lines(path: Path) -> list[str]:
    """The lines of a text file without their ends, also of one that is compressed with gzip (``.gz``).

    Raises:
        DataError: if it cannot be read or is not in an encoding that is known.
    """
    if path.suffix != ".gz":
        return read_lines(path)
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig") as stream:
            return stream.read().splitlines()
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path}: expected text compressed with gzip ({error}); copy it again") from error


def read_csv(table: Path) -> Speech:
    """Read the utterances of a CSV or TSV.

    Raises:
        DataError: if the columns cannot be told, or if a line is not what the heading says.
    """
    lines = text_lines(table)
    if not lines:
        raise DataError(f"{table}: is empty; expected a heading with the columns path and speaker")
    delimiter, heading = _heading(table, lines[0])
    columns = {name: place for place, name in enumerate(_columns(heading)) if name}
    is_bare = extension_of(heading[0]) in EXTENSIONS
    if is_bare:
        columns = {name: place for place, name in enumerate(_BARE[: len(heading)])}
    rows, problems = list[Row](), list[str]()
    for number, cells in _csv_rows(table, lines, delimiter):
        if number == 1 and not is_bare:
            continue
        if len(cells) == len(heading):
            rows.append(Row(number, {name: cells[place] for name, place in columns.items()}))
        else:
            expected = f"expected {len(heading)} columns like {'line 1' if is_bare else 'the heading'}"
            problems.append(f"{table}:{number}: {expected}, found {len(cells)}; correct the line")
    raise_all(problems)
    unused = [] if is_bare else [cell for place, cell in enumerate(heading) if place not in columns.values()]
    notes = [
        _DELIMITERS[delimiter],
        "no heading" if is_bare else "",
        f"not used: {', '.join(unused)}" if unused else "",
    ]
    kind = "SpeechBrain's CSV" if _is_speechbrain(heading) else "table"
    return speech_of(table, rows, f"{kind} ({'; '.join(filter(None, notes))})")


def _csv_rows(table: Path, lines: Sequence[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Cells of each line, with its number; a quote that is not closed would swallow the lines that follow."""
    for number, line in enumerate(lines, 1):
        try:
            yield number, _cells(line, delimiter)
        except csv.Error as error:
            raise DataError(f"{table}:{number}: is no line of a table ({error}); correct it") from error


def _heading(table: Path, line: str) -> tuple[str, list[str]]:
    """The delimiter and the cells of the first line, which holds names of columns or is a line without a heading."""
    found = [(delimiter, cells) for delimiter in _DELIMITERS if (cells := _cells_or_none(line, delimiter))]
    for delimiter, cells in found:
        known = [name for name in _columns(cells) if name]
        if twice := {name for name in known if known.count(name) > 1}:
            name = min(twice)
            raise DataError(f"{table}:1: several columns say {name!r} ({' '.join(COLUMNS[name])}); rename all but one")
        if {"path", "speaker"} <= set(known):
            _check_units(table, cells)
            return delimiter, cells
    for delimiter, cells in found:
        if 2 <= len(cells) <= len(_BARE) and extension_of(cells[0]) in EXTENSIONS:
            return delimiter, cells
    cells = max((cells for _, cells in found), key=len)
    raise DataError(f"{table}:1: expected a heading with the columns {_lacking(cells)}; name them")


def _lacking(cells: Iterable[str]) -> str:
    """What a table must have and what this one has, for a message."""
    wanted = " and ".join(f"{name} ({', '.join(COLUMNS[name])})" for name in ("path", "speaker"))
    return f"{wanted}, found {', '.join(cells)[:200]!r}"


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of a line; quotes have no meaning between tabs."""
    if delimiter == "\t":
        return [cell.strip() for cell in line.split(delimiter)]
    reader = csv.reader([line], delimiter=delimiter, skipinitialspace=True, strict=True)
    return [cell.strip() for cell in next(reader, [])]


def _cells_or_none(line: str, delimiter: str) -> list[str]:
    """The cells of a line, none if it cannot be cut at the delimiter."""
    try:
        return _cells(line, delimiter)
    except csv.Error:
        return []


def _is_speechbrain(cells: Iterable[str]) -> bool:
    return {cell.lower() for cell in cells} >= _SPEECHBRAIN


def _columns(cells: Sequence[str]) -> list[str | None]:
    """What the columns of a table are in our words; None for what is not used."""
    ours = {name: ours for ours, names in COLUMNS.items() for name in names}
    if _is_speechbrain(cells):
        ours |= {name: f"{name}_sample" for name in ("start", "stop")}
    return [ours.get(cell.strip().lower()) for cell in cells]


def _check_units(table: Path, cells: Sequence[str]) -> None:
    unclear = [] if _is_speechbrain(cells) else [cell for cell in cells if cell.lower() in _UNCLEAR]
    if unclear:
        raise DataError(
            f"{table}:1: the column {unclear[0]!r} does not say its unit; name the columns start_s and end_s (seconds) "
            "or start_sample and stop_sample"
        )


def read_json_lines(table: Path) -> Speech:
    """Read the utterances of a table of JSON lines: wespeaker's ``raw.list``, Hugging Face's ``metadata.jsonl``.

    Raises:
        DataError: if a line is no JSON object, or has no file or no speaker.
    """
    rows, unused = list[Row](), set[str]()
    for number, entry in json_objects(table):
        columns = dict(zip(entry, _columns([*entry]), strict=True))
        if number == 1 and not {"path", "speaker"} <= {*columns.values()}:
            raise DataError(f"{table}:1: expected the keys {_lacking(entry)}; name them")
        values = dict[str, str]()
        for key, name in columns.items():
            if name is None:
                unused.add(key)
            elif isinstance(value := entry[key], str | int):
                values[name] = str(value)
            elif value is not None:
                found = json.dumps(value)[:40]
                raise DataError(f"{table}:{number}: expected text as {key!r}, found {found}; correct the line")
        rows.append(Row(number, values))
    return speech_of(table, rows, f"JSON lines{not_used(unused)}")


def not_used(names: Iterable[str]) -> str:
    """What a layout holds and the recipe does not read, for the log; nothing if there is nothing."""
    listed = ", ".join(sorted(names))
    return f" (not used: {listed})" if listed else ""


def json_objects(table: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield the objects of a file with one in each line, with the numbers of the lines.

    Raises:
        DataError: if a line is something else.
    """
    for number, line in enumerate(text_lines(table), 1):
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            entry = None
        if not isinstance(entry, dict):
            raise DataError(f"{table}:{number}: expected a JSON object, found {line[:200]!r}; correct the line")
        yield number, entry


def speech_of(table: Path, rows: Sequence[Row], layout: str, sessions: str | None = None) -> Speech:
    """Make utterances of the lines of a table.

    Args:
        table: the file, for messages and for relative paths.
        rows: its lines.
        layout: the layout in words, for the log.
        sessions: what sessions are, where the table cannot say.

    Returns:
        The utterances.

    Raises:
        DataError: for every line without a file or a speaker, and for what contradicts itself.
    """
    if not rows:
        raise DataError(f"{table}: holds no utterance; list some")
    lacking = (next((name for name in ("path", "speaker") if not row.values.get(name)), None) for row in rows)
    _refuse(table, rows, (f"expected a {name}, found none; fill it in" if name else None for name in lacking))
    names = [row.values.get("id") or row.values["path"] for row in rows]
    _check_once(table, rows, names)
    files = _files(table, rows)
    own = _own_words(files)
    utts, problems = dict[str, Utterance](), list[str]()
    for row, name, file in zip(rows, names, files, strict=True):
        try:
            utts[name] = _utterance(row, file, own[file])
        except ValueError as error:
            problems.append(f"{table}:{row.number}: {error}")
    raise_all(problems)
    if not sessions:
        has_sessions = any(row.values.get("session") for row in rows)
        sessions = "sessions from the table" if has_sessions else "each file is a session of its own"
    return Speech(
        str(table),
        dict(sorted(utts.items())),
        f"{layout}, {sessions}",
        is_table=True,
        sexes=_sexes(table, rows),
        splits=_splits(table, rows, names),
    )


def _check_once(table: Path, rows: Sequence[Row], names: Sequence[str]) -> None:
    first, problems = dict[str, int](), list[str]()
    for row, name in zip(rows, names, strict=True):
        if first.setdefault(name, row.number) != row.number:
            cure = "remove one (parts of one file need a column id)"
            problems.append(f"{table}:{row.number}: {name!r} is in line {first[name]} too; {cure}")
        elif not fits_a_line(name):
            problems.append(f"{table}:{row.number}: {name!a}: expected a name in UTF-8 without line ends; rename it")
    raise_all(problems)


def _files(table: Path, rows: Sequence[Row]) -> list[str]:
    """Where the files lie; relative paths begin at one folder, see :func:`base_of`."""
    paths = [re.sub(r"^\$\{?data_(?:root|folder)\}?/", "", row.values["path"]) for row in rows]
    _refuse(table, rows, map(_path_problem, paths))
    base = base_of(table, (path for path in paths if not path.startswith("/")))
    return [os.path.normpath(os.path.join(base, path)) for path in paths]  # noqa: PTH118


def _refuse(table: Path, rows: Sequence[Row], problems: Iterable[str | None]) -> None:
    """Refuse a table if there is a problem with one of its rows."""
    found = zip(rows, problems, strict=True)
    raise_all([f"{table}:{row.number}: {problem}" for row, problem in found if problem])


def _path_problem(path: str) -> str | None:
    if re.match(r"\w+://", path):
        return f"expected a file, found an address: {path!r}; fetch it and name the file"
    if "\\" in path:
        return f"expected a path with '/', found {path[:200]!r}; write it as it is called on this machine"
    return name_problem(path)


def base_of(table: Path, relative: Iterable[str]) -> str:
    """Find the folder where relative paths begin: that of the table, or the nearest above it that holds the first file.

    Raises:
        DataError: if there is none.
    """
    first = next(iter(relative), None)
    if first and re.match(r"\w+://", first):
        raise DataError(f"{table}: expected files, found an address: {first[:200]!r}; fetch it and name the file")
    bases = [table.parent, *table.parent.parents[:_ABOVE]]
    for base in bases if first else bases[:1]:
        if first is None or (base / first).exists():
            return str(base)
    raise DataError(
        f"{table}: expected files relative to {bases[0]} or a folder above it, found no {first!r}; "
        "write absolute paths, or move the table beside the files"
    )


def _own_words(files: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What distinguishes a file from the others: the folders below the one that holds all of them, and its name."""
    common = os.path.commonpath({os.path.dirname(file) for file in files})  # noqa: PTH120
    start = len(common.rstrip("/")) + 1
    return {file: tuple(os.path.splitext(file[start:])[0].split("/")) for file in set(files)}  # noqa: PTH122


def _utterance(row: Row, file: str, own: tuple[str, ...]) -> Utterance:
    """The utterance of a line; ``ValueError`` says what is wrong with it."""
    values, speaker = row.values, row.values["speaker"]
    if len(own) > 1 and own[0] == speaker:
        own = own[1:]
    session = values.get("session") or "-".join(own)
    words = (values["id"],) if values.get("id") else own
    if values.get("session") and words[0] != session:
        words = (session, *words)
    return Utterance(file, speaker, session, words, _span(values))


def _span(values: Mapping[str, str]) -> Span | None:
    in_samples = bool({"start_sample", "stop_sample"} & values.keys())
    names = ("start_sample", "stop_sample") if in_samples else ("start_s", "end_s")
    start, stop = (_number(name, values.get(name, ""), in_samples) for name in names)
    if start is None and stop is None:
        return None
    if stop is not None and stop <= (start or 0.0):
        raise ValueError(f"expected {names[1]} behind {names[0]}, found {stop:g} and {start or 0:g}; correct the line")
    return Span(start or 0.0, stop, in_samples)


def _number(name: str, text: str, is_whole: bool) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf or (is_whole and value != int(value)):
        expected = "a whole number of samples" if is_whole else "seconds"
        raise ValueError(f"expected {expected} of at least 0 as {name}, found {text[:40]!r}; correct the line")
    return value


def _splits(table: Path, rows: Sequence[Row], names: Sequence[str]) -> dict[str, str]:
    """``train``, ``dev`` or ``test`` for each utterance; the table may use a longer word for it."""
    if not any("split" in row.values for row in rows):
        return {}
    words = [row.values.get("split", "") for row in rows]
    matches = [_SPLITS.fullmatch(word.lower()) for word in words]
    wrong = "expected the split train, dev or test, found {!r}; correct it"
    _refuse(
        table, rows, (None if match else wrong.format(word[:40]) for word, match in zip(words, matches, strict=True))
    )
    return {name: _SPLIT_NAMES[match.lastindex or 0] for name, match in zip(names, matches, strict=True) if match}


def _sexes(table: Path, rows: Iterable[Row]) -> dict[str, str]:
    """The speakers' sexes, as far as they are known."""
    found, problems = dict[str, str](), list[str]()
    for row in rows:
        sex, speaker = _SEXES.get(row.values.get("sex", "").lower()), row.values["speaker"]
        if sex and found.setdefault(speaker, sex) != sex:
            problems.append(f"{table}:{row.number}: the sex of {speaker!r} was another before; correct one")
    raise_all(problems)
    return found
