"""Intervals for shares of independent items."""

from __future__ import annotations

import math

import scipy

from semscale.model import Interval
from semscale.stats.intervals import LEVEL


def wilson_interval(successes: int, n: int) -> Interval | None:
    """Score interval of the share successes / n of n independent items (Wilson 1927), in 0..1. None for n = 0."""
    if n == 0:
        return None
    z = float(scipy.special.ndtri(0.5 + LEVEL / 2))
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else centre - reach  # exactly, where rounding would leave a trace
    high = 1.0 if successes == n else centre + reach
    return Interval(low, high, LEVEL, "Wilson score interval over independent images")
