"""How everything is timed: warm up, repeat in turn, check the output while timing, report median and spread."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

MOST_ROUNDS = 100
_PROCESS = Path("/proc/self")  # Linux


@dataclass(frozen=True, slots=True)
class Timing:
    """How long one thing took, several times over."""

    name: str
    units: int  # items done in one go
    seconds: tuple[float, ...]  # of each repeat
    peak_bytes: int | None = None  # resident, of the whole process while it warmed up; None where unknown

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


def measure(contestants: Mapping[str, Contestant], *, repeats: int, seconds: float = 0.0) -> dict[str, Timing]:
    """Run every contestant once to warm up, then in rounds, in turn, so that a slow minute hits all alike.

    There are `repeats` rounds, and more until contestants have taken `seconds` each on the average.
    """
    warm = {name: _with_peak(run) for name, run in contestants.items()}
    taken: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(max(repeats, MOST_ROUNDS)):
        if turn >= repeats and sum(map(sum, taken.values())) >= seconds * len(taken):
            break
        for name, run in contestants.items():
            start = time.perf_counter()
            assert run() == warm[name][0], f"{name}: another number of items than in the warm-up"
            taken[name].append(time.perf_counter() - start)
    return {name: Timing(name, units, tuple(taken[name]), peak) for name, (units, peak) in warm.items()}


def _with_peak(run: Contestant) -> tuple[int, int | None]:
    """What `run` returns, and the most memory that the process held meanwhile."""
    try:
        (_PROCESS / "clear_refs").write_text("5", encoding="ascii")  # forgets the peak so far
    except OSError:  # elsewhere than on Linux, or where it is forbidden
        return run(), None
    units = run()
    lines = (_PROCESS / "status").read_text(encoding="ascii").splitlines()
    return units, next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
