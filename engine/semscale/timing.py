"""Busy seconds by stage, added up over threads: by the clock, and of the processor."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class Clock:
    """Adds up how long each stage was busy. Stages overlap, so their sum may exceed the time that passed."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._processor: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()
        self._started = time.perf_counter()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time the block takes as busy time of one stage."""
        start, worked = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            took, worked = time.perf_counter() - start, time.thread_time() - worked
            with self._lock:
                self._seconds[name] += took
                self._processor[name] += worked

    def seconds(self) -> dict[str, float]:
        """Busy seconds of every stage so far."""
        with self._lock:
            return dict(self._seconds)

    def processor_seconds(self) -> dict[str, float]:
        """Seconds of the processor that the calling threads spent in every stage, without threads of libraries."""
        with self._lock:
            return dict(self._processor)

    def total(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._started
