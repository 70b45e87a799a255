"""Words of messages: counted nouns, and quotations that stay short whatever is quoted."""

from __future__ import annotations

import reprlib

SHORT = 120
"""Characters of a quotation."""

_PLAIN = {None: "nothing", True: "true", False: "false"}


def count(number: int, noun: str, plural: str = "") -> str:
    """A number with its noun, ``1 speaker`` or ``2 speakers``.

    Args:
        number: how many.
        noun: what, in the singular.
        plural: for nouns that take more than an ``s``.

    Returns:
        Both, with a space between.
    """
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def clip(text: str, most: int = SHORT) -> str:
    """Cut the middle out of a text that is too long: the place stands in front of it, the cure behind.

    Args:
        text: any text.
        most: characters to keep.

    Returns:
        The text, or two thirds from its beginning and a third from its end, and how much lay between.
    """
    if len(text) <= most:
        return text
    tail = most // 3
    return f"{text[: most - tail]}...({len(text) - most} characters)...{text[len(text) - tail :]}"


def quote(value: object) -> str:
    """A value as a message shows it, short however large, deep or recursive it is.

    Args:
        value: what was found.

    Returns:
        ``nothing``, ``true`` and ``false`` as YAML has them, anything else as Python writes it.
    """
    if value is None or isinstance(value, bool):
        return _PLAIN[value]
    return clip(_QUOTING.repr(value))


_QUOTING = reprlib.Repr()
_QUOTING.maxstring = _QUOTING.maxother = SHORT
