"""The one helper for parallelism: bounded, ordered, and an error appears where its item would have."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


def ordered_map(function: Callable[[T], R], items: Iterable[T], *, workers: int, depth: int) -> Iterator[R]:
    """Yield function(item) for each item, in order, computed by `workers` threads.

    At most `depth` items are in flight or waiting. An exception raised by `function` or by `items` is raised
    in the place of its result. Closing the iterator cancels what has not begun and waits for the rest.
    """
    source = iter(items)
    pool = ThreadPoolExecutor(workers)
    futures = _submitted(pool, function, source)
    try:
        waiting = deque(itertools.islice(futures, depth))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(itertools.islice(futures, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        _close(source)


def ahead(items: Iterable[T], depth: int) -> Iterator[T]:
    """Yield `items` unchanged while one background thread reads up to `depth` of them in advance."""
    source = iter(items)
    end: Any = object()
    pulled = ordered_map(lambda _: next(source, end), itertools.repeat(None), workers=1, depth=depth)
    try:
        yield from itertools.takewhile(lambda item: item is not end, pulled)
    finally:
        _close(pulled)
        _close(source)


def _submitted(pool: ThreadPoolExecutor, function: Callable[[T], R], source: Iterator[T]) -> Iterator[Future[R]]:
    try:
        for item in source:
            yield pool.submit(function, item)
    except Exception as error:  # of the source: raised once everything before it has been yielded
        failed: Future[R] = Future()
        failed.set_exception(error)
        yield failed


def _close(iterator: Iterator[Any]) -> None:
    close = getattr(iterator, "close", None)
    if close is not None:
        close()
