"""How many times as fast one thing is as another that was timed in the same rounds."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from semscale_bench.measure import Timing


@dataclass(frozen=True, slots=True)
class Ratio:
    """A rate over another's, taken round by round, so that what slows a round falls out."""

    median: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        return f"{self.median:.2f} times ({self.low:.2f} to {self.high:.2f} in {self.rounds} rounds)"


def ratio_of(timing: Timing, other: Timing) -> Ratio:
    """The rate of `timing` over that of `other`; both were timed in the same rounds by `measure`."""
    scale = timing.units / other.units
    each = [scale * theirs / ours for ours, theirs in zip(timing.seconds, other.seconds, strict=True)]
    return Ratio(statistics.median(each), min(each), max(each), len(each))
