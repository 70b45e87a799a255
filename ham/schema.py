"""What makes a constructor a schema: reading its options, and checks whose errors name the place and the choices."""

from __future__ import annotations

import difflib
import inspect
import math
import numbers
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from ham.errors import ConfigError
from ham.words import quote

KINDS = {int: "a whole number", float: "a number", str: "a word", bool: "true or false"}
"""Types in a user's words."""


@dataclass(frozen=True)
class Range:
    """What a number may be, as a part of its type: ``Annotated[float, Range(0, 1)]``.

    Attributes:
        least: the smallest value.
        most: the largest value.
        above: the value must be greater than this.
    """

    least: float = -math.inf
    most: float = math.inf
    above: float = -math.inf

    def check(self, place: str, number: float) -> None:
        """Refuse a number that is too small or too large; ``place`` begins the message."""
        if number <= self.above:
            raise ConfigError(f"{place}: expected a number above {self.above:g}, found {number:g}")
        if not self.least <= number <= self.most:
            both = self.least <= number and self.most < math.inf
            expected = f"{self.least:g} to {self.most:g}" if both else f"at least {self.least:g}"
            raise ConfigError(f"{place}: expected {expected}, found {number:g}")


Positive = Annotated[float, Range(above=0)]
Share = Annotated[float, Range(0, 1)]


def closest(value: object, names: Iterable[str]) -> str:
    """End of a message that suggests the name most like a misspelt one.

    Args:
        value: what was found.
        names: the names that exist.

    Returns:
        ``"; did you mean '<name>'?"``, or nothing where no name is alike.
    """
    near = difflib.get_close_matches(value, list(names), n=1) if isinstance(value, str) else []
    return f"; did you mean {near[0]!r}?" if near else ""


def accept(place: str, value: object, hint: Any) -> Any:
    """Check a value against the type of a field or parameter, and give it that type.

    Args:
        place: the option, the beginning of the message: ``"conf/mini.yaml: train.epochs"``.
        value: the value asked for.
        hint: ``int``, ``float`` (which takes whole numbers too), ``str``, ``bool``, ``Literal`` words,
            ``tuple[X, ...]`` for a list, ``dict[str, X]`` for a block, or a number with its :class:`Range`.

    Returns:
        The value: whole numbers as floats where a float is asked for, lists as tuples.

    Raises:
        ConfigError: if it is something else, or not finite, or out of range.
    """
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if kind is Annotated:
        number = accept(place, value, inner[0])
        inner[1].check(place, number)
        return number
    if kind is Literal:
        return choose(place, value, inner)
    if kind is tuple:
        if not isinstance(value, (list, tuple)):
            raise ConfigError(f"{place}: expected a list such as [a, b], found {quote(value)}")
        return tuple(accept(f"{place}[{i}]", item, inner[0]) for i, item in enumerate(value))
    if kind is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(f"{place}: expected a block such as {{a: 1, b: 2}}, found {quote(value)}")
        return {accept(place, key, inner[0]): accept(f"{place}.{key}", item, inner[1]) for key, item in value.items()}
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if hint is not float and type(value) is hint:
        return value
    raise ConfigError(f"{place}: expected {KINDS[hint]}, found {quote(value)}")


def choose(place: str, value: object, choices: Iterable[str]) -> str:
    """Check a word against the words that exist.

    Args:
        place: what the word stands for, the beginning of the message.
        value: the word asked for.
        choices: the words that exist, in the order to show them.

    Returns:
        ``value``, known to be one of ``choices``.

    Raises:
        ConfigError: if it is none of them; the message lists them and suggests the closest.
    """
    names = list(choices)
    if isinstance(value, str) and value in names:
        return value
    raise ConfigError(f"{place}: expected one of {', '.join(names)}, found {quote(value)}{closest(value, names)}")


def check_number(
    place: str, value: object, *, above: float = -math.inf, least: float = -math.inf, most: float = math.inf
) -> float:
    """Check that an option is a finite number in its range.

    Args:
        place: the option, the beginning of the message: ``"loss ham_softmax: scale"``.
        value: the value asked for; a truth value or a string is no number.
        above: the value must be greater than this.
        least: the value must be at least this.
        most: the value must be at most this.

    Returns:
        The value as a float.

    Raises:
        ConfigError: if it is not a number, not finite, or outside the range.
    """
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    number = float(value) if isinstance(value, numbers.Real) and is_number else math.nan
    if math.isfinite(number) and number > above and least <= number <= most:
        return number
    bounds = [(f"above {above:g}", above), (f"at least {least:g}", least), (f"at most {most:g}", most)]
    range_ = " and ".join(text for text, bound in bounds if math.isfinite(bound))
    cure = "; write it without quotes and with a decimal point, as in 5.0e-5" if isinstance(value, str) else ""
    raise ConfigError(f"{place}: expected a finite number {range_}, found {quote(value)}{cure}")


def check_count(place: str, value: object, *, least: int = 1, why: str = "") -> int:
    """Check that an option is a whole number of at least ``least``.

    Args:
        place: the option, the beginning of the message.
        value: the value asked for.
        least: smallest value that makes sense.
        why: a reason to add to the message.

    Returns:
        The value as an int.

    Raises:
        ConfigError: if it is not a whole number or too small.
    """
    if isinstance(value, numbers.Integral) and not isinstance(value, bool) and int(value) >= least:
        return int(value)
    reason = f" ({why})" if why else ""
    raise ConfigError(f"{place}: expected a whole number of at least {least}{reason}, found {quote(value)}")


def keyword_options(cls: Callable[..., object]) -> dict[str, Any]:
    """Options that a constructor takes, with their defaults: the constructor is the schema.

    Args:
        cls: a class of a table of names, or a function that builds one.

    Returns:
        Its keyword-only parameters, in order.
    """
    parameters = inspect.signature(cls).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def option_types(part: Callable[..., object]) -> dict[str, Any]:
    """Types of the options that a constructor takes.

    Args:
        part: a class of a table of names, or a function that builds one.

    Returns:
        The annotations of its keyword-only parameters, in order, each :class:`Range` included.
    """
    parameters = inspect.signature(part, eval_str=True).parameters.values()
    return {p.name: p.annotation for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}


def unknown_key(block: str, key: object, known: Iterable[str]) -> str:
    """The sentence for a key that does not exist.

    Args:
        block: dotted name of its block; empty for the top level.
        key: what was found.
        known: the keys of the block.

    Returns:
        What was found, the closest key, and all of them.
    """
    prefix, names = f"{block}." if block else "", list(known)
    near = difflib.get_close_matches(str(key), names, n=1)
    hint = f"; did you mean '{prefix}{near[0]}'?" if near else ";"
    return f"unknown key {quote(f'{prefix}{key}')}{hint} the keys here are: {', '.join(names)}"


def check_options(place: str, found: Iterable[str], known: Mapping[str, Any]) -> None:
    """Refuse an option that a constructor does not take.

    Args:
        place: whose options they are, the beginning of the message.
        found: names of the options asked for.
        known: the options that exist, with their defaults.

    Raises:
        ConfigError: for the first unknown one; the message lists all options and suggests the closest.
    """
    for option in found:
        if not known:
            raise ConfigError(f"{place}: has no options, found {quote(option)}")
        if option not in known:
            listed = ", ".join(f"{key} (default {value})" for key, value in known.items())
            raise ConfigError(
                f"{place}: expected one of the options {listed}, found {quote(option)}{closest(option, known)}"
            )
