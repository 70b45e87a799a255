"""Reading and writing text files line by line, and saying what is wrong with their lines.

A message about a line begins with ``<file>:<number>``.
"""

from __future__ import annotations

import codecs
import operator
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from ham.data.names import quoted
from ham.errors import DataError, summarise
from ham.files import replacing

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as the mark of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def each_line(path: Path) -> Iterator[str]:
    """The lines of :func:`read_lines` one by one, so that a large file is never in memory as a whole."""
    blank: list[str] = []  # they count only once another line follows
    try:
        with path.open(encoding=_encoding(path)) as stream:  # \n, \r\n and \r end lines
            for number, content in enumerate(stream, 1):
                if "\0" in content:
                    cure = "if it is UTF-16 without a mark, `iconv -f UTF-16LE -t UTF-8 OLD > NEW`"
                    raise DataError(f"{path}:{number}: expected text, found a byte 0; {cure}")
                line = content.removesuffix("\n")
                blank.append(line)
                if line.strip():
                    yield from blank
                    blank.clear()
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file") from error
    except UnicodeError as error:
        raise _encoding_error(path) from error


def read_lines(path: Path) -> list[str]:
    """Read a text file: UTF-8, or UTF-16 or UTF-32 with the byte-order mark that Windows writes; any line ends.

    Returns:
        The lines without their ends; empty last lines are dropped.

    Raises:
        DataError: if the file is missing or in another encoding.
    """
    return list(each_line(path))


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of :func:`read_lines` that are not blank, each with its number in the file, from 1 on."""
    return ((number, line) for number, line in enumerate(each_line(path), 1) if line.strip())


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines as UTF-8, each ended by a line feed; the file is there whole or not at all."""
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(f"{line}\n" for line in lines)


def raise_all(problems: Sequence[str]) -> None:
    """Refuse, if there is something to refuse.

    Args:
        problems: sentences that each name their place.

    Raises:
        DataError: counting them, with the first few.
    """
    if problems:
        raise DataError(summarise(problems))


def check_sorted(path: Path, keys: Sequence[str]) -> None:
    """Refuse keys of which one does not come after the one before; code points order like the bytes of UTF-8.

    Args:
        path: the file, for the message.
        keys: the first fields of its lines.

    Raises:
        DataError: naming every line that is out of order or repeats the one before.
    """
    if all(map(operator.lt, keys, keys[1:])):
        return
    pairs = enumerate(pairwise(keys), 2)
    raise_all([f"{path}:{number}: {_order_problem(path, *pair)}" for number, pair in pairs if pair[0] >= pair[1]])


def _order_problem(path: Path, before: str, key: str) -> str:
    if before == key:
        return f"expected one line for {quoted(key)}, found a second one; remove one"
    cure = f"`LC_ALL=C sort -u -o {path.name} {path.name}`"
    return f"expected C order, found {quoted(key)} after {quoted(before)}; sort it with {cure}"


def _encoding(path: Path) -> str:
    """What the first bytes say."""
    with path.open("rb") as stream:
        start = stream.read(4)
    return next((name for mark, name in _MARKS if start.startswith(mark)), "utf-8")


def _encoding_error(path: Path) -> DataError:
    """Where the first wrong byte is, which a decoder that reads ahead cannot say."""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            line.decode(_encoding(path) if number == 1 else "utf-8")
        except UnicodeError as error:
            found = f"byte 0x{error.object[error.start]:02x}" if isinstance(error, UnicodeDecodeError) else "others"
            return DataError(
                f"{path}:{number}: expected UTF-8, found {found}; convert it from its encoding, for example that of "
                "Windows in western Europe with `iconv -f CP1252 -t UTF-8 OLD > NEW`"
            )
    return DataError(f"{path}: expected UTF-8, found bytes that are not; save it as UTF-8")
