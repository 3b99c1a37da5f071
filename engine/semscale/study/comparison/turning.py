"""A comparison the other way round: what was said of a - b, said of b - a."""

from __future__ import annotations

from dataclasses import replace

from semscale.model import Interval
from semscale.stats.comparison import Comparison, Summary
from semscale.stats.effects import WinRate


def turned(found: Comparison) -> Comparison:
    """The same numbers with a and b in each other's place: nothing is drawn again, and intervals are mirrored."""
    ranks, shift, mean, flips = found.rank_biserial, found.shift, found.mean_difference, found.permutation
    return replace(
        found,
        a=found.b,
        b=found.a,
        difference=_mirrored(found.difference),
        normality_a=found.normality_b,
        normality_b=found.normality_a,
        permutation=replace(flips, statistic=_minus(flips.statistic)),
        rank_biserial=replace(ranks, value=_minus(ranks.value), r_plus=ranks.r_minus, r_minus=ranks.r_plus),
        shift=replace(shift, value=_minus(shift.value), interval=_around(shift.interval, 0.0)),
        win_rate=turned_wins(found.win_rate),
        mean_difference=replace(mean, value=_minus(mean.value), interval=_around(mean.interval, 0.0)),
    )


def turned_wins(found: WinRate) -> WinRate:
    """How often a difference is negative, as the win rate of b."""
    ends = _around(found.interval, 1.0)
    return replace(found, value=1 - found.value, wins=found.losses, losses=found.wins, interval=ends)


def _minus(value: float) -> float:
    return 0.0 - value  # and not -0.0


def _around(interval: Interval | None, total: float) -> Interval | None:
    """The interval of `total` minus what it is of."""
    return None if interval is None else replace(interval, low=total - interval.high, high=total - interval.low)


def _mirrored(found: Summary) -> Summary:
    mean, median, q1, q3, low, high = map(_minus, (found.mean, found.median, found.q3, found.q1, found.high, found.low))
    return replace(found, mean=mean, median=median, q1=q1, q3=q3, low=low, high=high)
