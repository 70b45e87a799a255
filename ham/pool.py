"""Work that is spread over threads or processes, its results taken in order and never many of them waiting."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from itertools import islice
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_order(
    pool: Executor, work: Callable[[_Item], _Result], items: Iterable[_Item], num_ahead: int
) -> Iterator[_Result]:
    """Map in a pool. What was not begun is cancelled when the caller stops.

    Args:
        pool: threads or processes.
        work: what is done with each item.
        items: taken as they are needed.
        num_ahead: items that are in the pool at the same time.

    Yields:
        The result of each item, in the order of the items; the exception of the first that failed is raised.
    """
    items = iter(items)
    waiting: deque[Future[_Result]] = deque(pool.submit(work, item) for item in islice(items, num_ahead))
    try:
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(items, 1))
    finally:
        for future in waiting:
            future.cancel()
