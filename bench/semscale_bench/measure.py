"""How everything is timed: warm up, repeat in turn, check the output while timing, report median and spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one thing took, several times over."""

    name: str
    units: int  # items done in one go
    seconds: tuple[float, ...]  # of each repeat

    @property
    def median(self) -> float:
        """Median seconds of a repeat."""
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """Items a second, at the median."""
        return self.units / self.median

    @property
    def spread(self) -> float:
        """(slowest - fastest) / median."""
        return (max(self.seconds) - min(self.seconds)) / self.median


Contestant = Callable[[], int]  # does the work once, checks the outcome, returns how many items it did


def measure(contestants: Mapping[str, Contestant], *, repeats: int) -> dict[str, Timing]:
    """Run every contestant once to warm up, then `repeats` rounds in turn, so that a slow minute hits all alike."""
    units = {name: run() for name, run in contestants.items()}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            start = time.perf_counter()
            assert run() == units[name], f"{name}: another number of items than in the warm-up"
            seconds[name].append(time.perf_counter() - start)
    return {name: Timing(name, units[name], tuple(taken)) for name, taken in seconds.items()}
