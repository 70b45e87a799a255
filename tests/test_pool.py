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


def test_heavy_items_do_not_pile_up_but_every_worker_has_one() -> None:
    taken: list[int] = []
    items = (taken.append(n) or n for n in range(20))
    three = threading.Barrier(3, timeout=60)

    def work(number: int) -> int:
        if number < 3:
            three.wait()
        return number

    with ThreadPoolExecutor(3) as pool:
        results = in_order(pool, work, items, 24, weigh=lambda _: 100, max_weight=100, num_busy=3)
        assert next(results) == 0
        assert taken == [0, 1, 2]
        assert list(results) == list(range(1, 20))


def test_light_items_are_begun_up_to_the_weight() -> None:
    taken: list[int] = []
    items = (taken.append(n) or n for n in range(100))
    with ThreadPoolExecutor(1) as pool:
        results = in_order(pool, lambda n: n, items, 50, weigh=lambda _: 10, max_weight=95)
        assert next(results) == 0
        assert len(taken) == 10
        assert list(results) == list(range(1, 100))


def test_what_was_not_begun_when_the_caller_stops_never_is() -> None:
    begun: list[int] = []
    stopped = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        assert number == 0 or stopped.wait(60)
        return number

    with ThreadPoolExecutor(1) as pool:
        results = in_order(pool, work, range(1000), 50)
        assert next(results) == 0
        results.close()
        stopped.set()
    assert begun in ([0], [0, 1])
