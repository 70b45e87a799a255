"""The page of all keys: it is current, and it says what the code does."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Annotated, Any, Literal

import pytest

from docs import make_config
from ham.config import Config, from_dict, to_dict
from ham.losses import LOSSES
from ham.schema import Range
from ham.train.blocks import resolve
from tests.self_supervised import PARTNERS, marks

PAGE = make_config.PAGE.read_text(encoding="utf-8")


def test_the_page_is_current() -> None:
    assert make_config.page() == PAGE, "run python docs/make_config.py"


def section(kind: str) -> str:
    return PAGE.partition(f"\n## `{kind}`\n")[2].partition("\n## ")[0]


def keys(kind: str) -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \|", section(kind), re.MULTILINE))


CHOICES = {**make_config.ALL_TABLES, "augment": {"replace": 0, "clean_plus_augmented": 0}}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(f.name, name, marks=marks(name))
        for f in fields(Config)
        if f.name != "features"
        for name in CHOICES.get(f.name, [""])
    ],
)
def test_every_key_of_a_resolved_configuration_stands_in_its_block(kind: str, name: str) -> None:
    tree: dict[str, Any] = {"train": {"epochs": 3}, **PARTNERS.get(name, {})}
    if name:
        tree[kind] = {"mode" if kind == "augment" else "name": name}
    if kind == "curvature":
        tree["loss"] = {"name": "ham_softmax"}
    block = to_dict(resolve(from_dict(tree)))[kind]
    assert set(list(block)[1 if name else 0 :]) <= keys(kind)


def test_a_choice_and_its_options_are_there_with_their_defaults() -> None:
    loss = section("loss")
    assert all(f"| `{name}` |" in loss for name in LOSSES)
    assert "| `curvature` | number | `5.0` | `h_softmax` |" in loss
    assert "| `geometry` | word | `published` |" in loss  # of a function that the constructor hands it on to
    assert "| `final_lr` | number above 0 | `5e-05` | `exponential`, `cosine` |" in section("schedule")
    assert "`hamming`, `hanning`, `povey`, `rectangular`" in section("frontend")


def test_an_option_that_no_docstring_explains_is_refused() -> None:
    def part(*, power: float = 2.0) -> None:
        """A part."""

    with pytest.raises(ValueError, match="schedule mute: power: expected a line under Args:"):
        make_config.option_rows("schedule", {"mute": part})


def test_a_list_of_words_that_no_module_has_is_refused() -> None:
    def part(*, power: str = "") -> None:
        """A part.

        Args:
            power: one of ``POWERS``.
        """

    with pytest.raises(LookupError, match="part: a docstring names POWERS, which is not there"):
        make_config.option_rows("schedule", {"loud": part})


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "whole number"),
        (Annotated[float, Range(0, 1)], "number, 0 to 1"),
        (Annotated[int, Range(2)], "whole number, 2 or more"),
        (Annotated[float, Range(above=0)], "number above 0"),
        (Literal["a", "b"], "`a` or `b`"),
        (float | None, "number or `null`"),
        (tuple[str, ...], "list of words"),
    ],
)
def test_types_in_words(hint: object, words: str) -> None:
    assert make_config.value(hint) == words
