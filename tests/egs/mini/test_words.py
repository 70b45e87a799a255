from __future__ import annotations

from itertools import pairwise

import numpy as np
from words import WORDS, draw_words


def test_words_are_plain_and_different() -> None:
    assert len(set(WORDS)) == len(WORDS) >= 400
    assert all(word.isascii() and word.isalpha() and word.islower() for word in WORDS)


def test_neighbours_differ_and_all_words_occur() -> None:
    drawn = draw_words(np.random.default_rng(0), 20_000)
    assert all(a != b for a, b in pairwise(drawn))
    counts = np.array([drawn.count(word) for word in WORDS])
    assert counts.min() > 0
    assert counts.std() < 2 * np.sqrt(counts.mean())


def test_the_same_generator_draws_the_same_words() -> None:
    assert draw_words(np.random.default_rng(3), 12) == draw_words(np.random.default_rng(3), 12)
    assert draw_words(np.random.default_rng(3), 12) != draw_words(np.random.default_rng(4), 12)
