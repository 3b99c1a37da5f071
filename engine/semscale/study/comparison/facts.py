"""Every statistic of two models as a line: its name, its value, and how it was made."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from semscale.model import Interval
from semscale.stats.comparison import Comparison
from semscale.stats.effects import RankBiserial, WinRate
from semscale.stats.significance import TestResult
from semscale.study.comparison.comparing import ComparedPair
from semscale.study.comparison.words import NO_VALUE, by, p_words, plain, short_method, signed


@dataclass(frozen=True, slots=True)
class Fact:
    """One statistic of a pair of models."""

    name: str
    value: str
    short: str  # the variant in a word or two, "" where there is but one
    how: str  # the method in full, or why there is no value


def facts(pair: ComparedPair) -> list[Fact]:
    """All statistics of a pair. Differences are a - b."""
    found: Comparison = pair.statistics
    mean, shift, spread = found.mean_difference, found.shift, found.difference
    lines = [
        Fact("mean difference", by(mean.value, mean.interval), "", _method(mean.interval, mean.reason)),
        Fact("median difference", signed(spread.median), "", f"SD {plain(spread.sd)} (ddof {spread.ddof})"),
        Fact("Hodges-Lehmann shift", by(shift.value, shift.interval), "", _method(shift.interval, shift.reason)),
        _wins(found.win_rate),
        _ranks(found.rank_biserial),
        _tested(found.wilcoxon),
    ]
    if pair.adjusted:
        how = "over all pairs of models of this metric (Holm 1979)"
        lines.append(Fact("Wilcoxon, adjusted", p_words(pair.p), "Holm", how))
    normal = _tested(found.normality_difference)
    return [
        *lines,
        *map(_tested, (found.permutation, found.kolmogorov_smirnov)),
        replace(normal, name=f"normal differences, {normal.name}"),
    ]


def _method(interval: Interval | None, reason: str) -> str:
    return reason if interval is None else interval.method


def _wins(wins: WinRate) -> Fact:
    share = NO_VALUE if np.isnan(wins.value) else f"{wins.wins} of {wins.n}: {wins.value:.0%}"
    ends = "" if wins.interval is None else f" [{wins.interval.low:.0%}, {wins.interval.high:.0%}]"
    counted = f"higher on {wins.wins} prompts, lower on {wins.losses}, equal on {wins.ties}"
    return Fact("win rate", f"{share}{ends}", "", f"{counted}; {_method(wins.interval, wins.reason)}")


def _ranks(ranks: RankBiserial) -> Fact:
    sums = f"matched pairs; rank sums {ranks.r_plus:g} of higher, {ranks.r_minus:g} of lower"
    return Fact("rank-biserial correlation", signed(ranks.value), "", ranks.reason or sums)


def _tested(test: TestResult) -> Fact:
    if test.reason:
        return Fact(test.name, p_words(test.p), "", test.reason)
    how = f"statistic {test.statistic:.5g}, n = {test.n}; {test.method}"
    return Fact(test.name, p_words(test.p), short_method(test), how)
