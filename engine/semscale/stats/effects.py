"""How large a difference is, from paired differences. Positive effects speak for the first of the two, a of a - b."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy

from semscale.errors import UsageError
from semscale.model import Array, Interval
from semscale.stats.intervals import LEVEL
from semscale.stats.proportions import wilson_interval
from semscale.stats.ranks import rank_sum_chances, signed_ranks
from semscale.stats.samples import sample

EXACT_SHIFT = 50  # differences up to which the interval's order statistics come from the exact distribution
FEWEST = 6  # pairs of an interval at 95 %: five all fall to one side of the truth in 2 / 2**5 = 6 % of samples


@dataclass(frozen=True, slots=True)
class RankBiserial:
    """Matched-pairs rank-biserial correlation (Kerby 2014): -1 when every difference is negative, +1 positive."""

    value: float  # (r_plus - r_minus) / (r_plus + r_minus); NaN where nothing differs
    r_plus: float  # rank sum of positive differences
    r_minus: float
    n: int  # differences other than 0
    n_zeros: int  # dropped before ranking
    reason: str  # why the value is NaN; "" when it is a number


@dataclass(frozen=True, slots=True)
class Shift:
    """Hodges-Lehmann shift: the median of all Walsh averages, the means of two differences or of one with itself."""

    value: float
    interval: Interval | None
    n: int  # differences, zeros included
    reason: str  # why the value or the interval is missing; "" when neither is


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often a difference is positive among those that are not 0."""

    value: float  # wins / (wins + losses), 0..1; NaN when all are ties
    wins: int
    losses: int
    ties: int  # differences of exactly 0: neither won nor lost, and counted apart
    n: int  # wins + losses
    interval: Interval | None
    reason: str  # why the value is NaN; "" when it is a number


def rank_biserial(differences: Array) -> RankBiserial:
    """(n,) paired differences -> how one-sided their signed ranks are, zeros dropped, ties at mean ranks.

    Raises UsageError for NaN and infinities.
    """
    found = signed_ranks(sample(differences, "differences"))
    n, total = len(found.ranks), found.r_plus + found.r_minus
    if n == 0:
        reason = "all differences are 0" if found.n_zeros else "no differences"
        return RankBiserial(float("nan"), 0.0, 0.0, 0, found.n_zeros, reason)
    return RankBiserial((found.r_plus - found.r_minus) / total, found.r_plus, found.r_minus, n, found.n_zeros, "")


def rank_biserial_from_statistic(w: float, n: int) -> float:
    """A published W, the smaller rank sum of n differences other than 0 -> the size of the effect, 0..1.

    The statistic does not tell whom it speaks for. Raises UsageError for a W that is not the smaller of two sums.
    """
    total = n * (n + 1) / 2
    if n < 1 or n != int(n) or not 0 <= w <= total / 2:
        raise UsageError(f"W={w} of n={n} differences: the smaller rank sum lies from 0 to n (n + 1) / 4")
    return 1 - 2 * w / total


def win_rate(differences: Array) -> WinRate:
    """(n,) paired differences -> the share that is positive, and its Wilson interval over pairs that are no ties.

    Raises UsageError for NaN and infinities.
    """
    values = sample(differences, "differences")
    wins, losses = int((values > 0).sum()), int((values < 0).sum())
    n, ties = wins + losses, len(values) - wins - losses
    interval = wilson_interval(wins, n)
    if interval is None:
        return WinRate(float("nan"), 0, 0, ties, 0, None, "all pairs are ties" if ties else "no differences")
    return WinRate(wins / n, wins, losses, ties, n, replace(interval, method="Wilson score interval over pairs"), "")


def hodges_lehmann(differences: Array) -> Shift:
    """(n,) paired differences -> their Hodges-Lehmann shift and its distribution-free 95 % interval (Tukey 1949).

    Estimates the centre of a symmetric distribution. The interval holds the values that the signed-rank test does not
    reject, between two order statistics of the n (n + 1) / 2 Walsh averages: exact for up to 50 differences, by the
    normal approximation beyond; with ties it covers more than 95 %. None for fewer than six differences. Memory grows
    with n, not its square. Raises UsageError for NaN and infinities.
    """
    ordered = np.sort(sample(differences, "differences"))
    n = len(ordered)
    if n == 0:
        return Shift(float("nan"), None, 0, "no differences")
    averages = n * (n + 1) // 2
    middle = (_walsh(ordered, (averages + 1) // 2) + _walsh(ordered, averages // 2 + 1)) / 2
    if n < FEWEST:
        return Shift(middle, None, n, f"an interval at 95 % needs {FEWEST} differences and there are {n}")
    rank, how = _order_statistic(n)
    low, high = _walsh(ordered, rank), _walsh(ordered, averages + 1 - rank)
    method = f"distribution-free, Walsh averages {rank} and {averages + 1 - rank} of {averages}; {how}"
    return Shift(middle, Interval(low, high, LEVEL, method), n, "")


def _order_statistic(n: int) -> tuple[int, str]:
    """The rank of the lower end, counted from 1: one more than the largest rank sum that the test rejects."""
    tail = (1 - LEVEL) / 2
    if n <= EXACT_SHIFT:
        below = np.cumsum(rank_sum_chances(np.arange(1.0, n + 1))[::2])  # whole ranks: the odd doubled sums are empty
        return int(np.searchsorted(below, tail, side="right")), "exact"
    reach = scipy.special.ndtri(1 - tail) * np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    return int(n * (n + 1) / 4 - reach) + 1, "normal approximation"


def _walsh(ordered: Array, k: int) -> float:
    """(n,) ascending -> the k-th smallest Walsh average, counted from 1, in O(n) memory.

    Right to the rounding of the largest value. Halves the floats between two sums until k - 1 sums lie at or below the
    lower one; the next sum is twice the average.
    """
    reach = 2 * (ordered[-1] - ordered[0])
    if reach == 0:
        return float(ordered[0])
    low, high = _place(2 * ordered[0] - reach), _place(2 * ordered[-1])
    while high - low > 1:
        middle = (low + high) // 2
        n_below = int(_partners_below(ordered, _float_at(middle)).sum())
        low, high = (low, middle) if n_below >= k else (middle, high)
        if n_below == k - 1:
            break
    partner = np.arange(len(ordered)) + _partners_below(ordered, _float_at(low))
    has = partner < len(ordered)
    return float((ordered[has] + ordered[partner[has]]).min() / 2)


def _partners_below(ordered: Array, total: float) -> Array:
    """How many of the values from each on, itself included, make a sum of at most `total` with it."""
    return np.maximum(np.searchsorted(ordered, total - ordered, side="right") - np.arange(len(ordered)), 0)


def _place(value: float) -> int:
    """Where a float stands among all floats, 0 at 0: halving places ends after 64 steps, even beside 0."""
    size = int(np.float64(abs(value)).view(np.int64))
    return size if value >= 0 else -size


def _float_at(place: int) -> float:
    size = float(np.int64(abs(place)).view(np.float64))
    return size if place >= 0 else -size
