"""Order, bounded lookahead, and errors that reach the caller."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ham.pool import in_order


def test_results_keep_the_order_and_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    def work(number: int) -> int:
        time.sleep(0.001 * (number % 3))
        return number * number

    with ThreadPoolExecutor(4) as pool:
        for index, result in enumerate(in_order(pool, work, items(), 6)):
            assert result == index * index
            assert len(taken) <= index + 7


def test_an_error_arrives_and_the_rest_is_not_begun() -> None:
    begun: list[int] = []
    guard = threading.Lock()

    def work(number: int) -> int:
        with guard:
            begun.append(number)
        if number == 3:
            raise ValueError("three")
        return number

    with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="three"):
        list(in_order(pool, work, range(1000), 8))
    assert len(begun) < 20
