"""Work that is spread over threads or processes, its results taken in order and never many of them waiting."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_order(
    pool: Executor,
    work: Callable[[_Item], _Result],
    items: Iterable[_Item],
    num_ahead: int,
    *,
    weigh: Callable[[_Item], int] = lambda _: 0,
    max_weight: float = math.inf,
    num_busy: int = 1,
) -> Generator[_Result, None, None]:
    """Map in a pool. What was not begun is cancelled when the caller stops.

    Args:
        pool: threads or processes.
        work: what is done with each item.
        items: taken as they are needed.
        num_ahead: items that are in the pool at the same time, those with a result that was not taken yet included.
        weigh: the weight of an item, such as the bytes of its result.
        max_weight: once the items in the pool weigh as much, only ``num_busy`` of them are there at the same time.
        num_busy: the number of workers, so that none is idle because items are heavy.

    Yields:
        The result of each item, in the order of the items; the exception of the first that failed is raised.
    """
    waiting: deque[tuple[Future[_Result], int]] = deque()
    weight = 0
    try:
        for item in items:
            waiting.append((pool.submit(work, item), weigh(item)))
            weight += waiting[-1][1]
            while len(waiting) >= (num_ahead if weight < max_weight else num_busy):
                future, own = waiting.popleft()
                weight -= own
                yield future.result()
        while waiting:
            yield waiting.popleft()[0].result()
    finally:
        for future, _ in waiting:
            future.cancel()
