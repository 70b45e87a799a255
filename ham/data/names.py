"""Names of files, folders and speakers: as lists spell them, and as words of ids that Kaldi can sort.

Kaldi wants ``utt2spk`` sorted by utterance and by speaker at once, in C order. Ids join their parts by ``-``, so that
speaker ``ana`` has utterances ``ana-...``; those of a speaker ``ana+b``, ``ana(2)`` or ``ana-b`` may come before them,
although ``ana`` is the smaller name. It happens only where one name is another, followed by a character up to ``-``:
in the longer one such characters are then written ``=XX``, by their hexadecimal code.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

SHOWN_CHARS = 80
"""Characters of a found text that a message repeats."""

_SEPARATOR = "-"
_GAP = re.compile(r"\s*[\t,;]\s*|\s+")
_LONGEST = 10_000  # characters of two paths, each of which has 4096 bytes at most
_BLANKS = dict.fromkeys([*range(0x21), 0x7F], " ")


def quoted(text: str) -> str:
    """A found text in quotes, for a message; cut after ``SHOWN_CHARS``."""
    return repr(text) if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]!r}... ({len(text)} characters)"


def plain_word(name: str) -> str:
    """A name's words joined by ``_``: ids hold no white space and no control characters; ``_`` if there is no word."""
    return "_".join(name.translate(_BLANKS).split()) or "_"


def speaker_words(folders: Iterable[str]) -> dict[str, str]:
    """Words for the speakers of a root, by their folders' names, such that both of Kaldi's orders agree.

    Each is :func:`plain_word` wherever that will do.
    """
    words = {folder: plain_word(folder) for folder in folders}
    apart = {word for word, _ in extensions(words.values())}
    return {folder: _escaped(word) if word in apart else word for folder, word in words.items()}


def _escaped(word: str) -> str:
    return "".join(f"={ord(char):02X}" if char <= _SEPARATOR else char for char in word)


def extensions(words: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each word that is another word followed by a character up to ``-``, and that other word."""
    known = set(words)
    for word in sorted(known):
        for at, char in enumerate(word):
            if char <= _SEPARATOR and word[:at] in known:
                yield word, word[:at]
                break


class Spellings:
    """Names as they may be spelt elsewhere: letters composed otherwise (macOS), backslashes between folders (Windows).

    Args:
        names: the names there are.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._names: dict[str, str | None] = {}
        for name in names:
            composed = plain_spelling(name)
            # Two that look alike cannot be told apart.
            self._names[composed] = None if composed in self._names else name

    def find(self, text: str) -> str | None:
        """The one name that a text can mean; None if there is none, or several."""
        composed = plain_spelling(text)
        return self._names.get(composed) or self._names.get(composed.replace("\\", "/"))


def plain_spelling(text: str) -> str:
    """Unicode's normal form C of a text, which is the same for all ways to compose a letter."""
    return unicodedata.normalize("NFC", text)


def halves(text: str) -> Iterator[tuple[str, str]]:
    """Every way to read a text as two fields, apart by a tab, comma, semicolon or white space, with or without quotes.

    Names may hold such characters too: which way is meant shows when only one gives names that there are.

    Yields:
        The two without their quotes; those apart by a tab first, then by a comma or semicolon.
    """
    gaps = sorted(_GAP.finditer(text), key=lambda gap: _rank(gap.group())) if len(text) <= _LONGEST else []
    for gap in gaps:
        one, other = unquoted(text[: gap.start()]), unquoted(text[gap.end() :])
        if one and other:
            yield one, other


def _rank(gap: str) -> int:
    return 0 if "\t" in gap else 1 if gap.strip() else 2


def unquoted(text: str) -> str:
    """A field without the blanks and quotes around it."""
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
