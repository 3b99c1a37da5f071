"""A comparison in words and numbers that people read: the verdict of two models, and every statistic as a line."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

from semscale.model import Interval
from semscale.report.format import DASH, form_of, plain, plural, signed
from semscale.stats.comparison import Comparison
from semscale.stats.effects import RankBiserial, WinRate
from semscale.stats.significance import TestResult
from semscale.study.comparison.measured import Better, Metric
from semscale.study.comparison.turning import turned, turned_wins

ALPHA = 0.05
SMALLEST_P = 1e-300  # below, a p may be 0 for what a float can hold
AHEAD = {"scs": "is more consistent than"} | dict.fromkeys(
    ("vendi", "mode-count", "mean-distance"), "is more varied than"
)  # what a metric's higher value says, where "better" would say too much


@dataclass(frozen=True, slots=True)
class Fact:
    """One statistic of a pair of models."""

    name: str
    value: str
    short: str  # the variant in a word or two, "" where there is but one
    how: str  # the method in full, or why there is no value


def sentence(metric: Metric, names: tuple[str, str], found: Comparison, p: float, *, adjusted: bool) -> str:
    """What to say of two models by one metric, in one line: who is ahead, by how much, how sure, over how many prompts.

    `p` is that of the Wilcoxon test, `adjusted` for other pairs of models or not.
    """
    a, b = names
    difference, interval = found.mean_difference, _interval(found)
    if not found.n:
        return f"{a} and {b} cannot be compared by {metric.name}: no prompt has a value of both"
    over = f"{metric.name} over {plural(found.n, 'prompt')} ({_test(found.wilcoxon, p, adjusted=adjusted)})"
    if not is_shown(found, p):
        return f"no difference shown between {a} and {b}: {by(difference.value, interval)} {over}"
    if not a_is_ahead(metric, found):
        return sentence(metric, (b, a), turned(found), p, adjusted=adjusted)
    return f"{a} {_is(metric)} {b}: {by(difference.value, interval)} {over}"


def is_shown(found: Comparison, p: float) -> bool:
    """Whether a difference is shown: p below 0.05, an interval without 0, and ranks that agree with the mean."""
    interval = _interval(found)
    if not p < ALPHA or interval is None or interval.low <= 0 <= interval.high:
        return False
    return found.mean_difference.value * found.rank_biserial.value > 0


def _interval(found: Comparison) -> Interval | None:
    """Of the mean difference; where all differences are one and resampling says nothing, that of the shift."""
    return found.mean_difference.interval or found.shift.interval


def a_is_ahead(metric: Metric, found: Comparison) -> bool:
    """Whether the first model is the better one; where neither end is better, the higher one."""
    return (found.mean_difference.value > 0) != (metric.better == "lower")


def _is(metric: Metric) -> str:
    base = metric.name.split("@")[0].replace("_", "-")
    return AHEAD.get(base, "is higher than" if metric.better == "neither" else "is better than")


def facts(metric: Metric, found: Comparison, p: float, *, adjusted: bool) -> list[Fact]:
    """All statistics of a pair. Differences are a - b; a win is a prompt on which a is ahead."""
    mean, shift, spread = found.mean_difference, found.shift, found.difference
    lines = [
        Fact("mean difference", by(mean.value, mean.interval), "", _method(mean.interval, mean.reason)),
        Fact("median difference", signed(spread.median), "", f"SD {plain(spread.sd)} (ddof {spread.ddof})"),
        Fact("Hodges-Lehmann shift", by(shift.value, shift.interval), "", _method(shift.interval, shift.reason)),
        _wins(found.win_rate, metric.better),
        _ranks(found.rank_biserial),
        _tested(found.wilcoxon),
    ]
    if adjusted:
        how = "over all pairs of models of this metric (Holm 1979)"
        lines.append(Fact("Wilcoxon, adjusted", p_words(p), "Holm", how))
    normal = _tested(found.normality_difference)
    return [
        *lines,
        *map(_tested, (found.permutation, found.kolmogorov_smirnov)),
        replace(normal, name=f"normal differences, {normal.name}"),
    ]


def _method(interval: Interval | None, reason: str) -> str:
    return reason if interval is None else interval.method


def _wins(found: WinRate, better: Better) -> Fact:
    """The prompts that speak for a: those on which it is lower, where lower is better."""
    mine = turned_wins(found) if better == "lower" else found
    ends = mine.interval
    value = DASH if ends is None else f"{mine.wins} of {mine.n}: {mine.value:.0%} [{ends.low:.0%}, {ends.high:.0%}]"
    counted = f"higher on {plural(found.wins, 'prompt')}, lower on {found.losses}, equal on {found.ties}"
    short = {"lower": "lower wins", "neither": "higher"}.get(better, "")
    return Fact("win rate", value, short, f"{counted}; {_method(ends, found.reason)}")


def _ranks(ranks: RankBiserial) -> Fact:
    sums = f"matched pairs; rank sums {ranks.r_plus:g} of higher, {ranks.r_minus:g} of lower"
    return Fact("rank-biserial correlation", signed(ranks.value), "", ranks.reason or sums)


def _tested(test: TestResult) -> Fact:
    if test.reason:
        return Fact(test.name, p_words(test.p), "", test.reason)
    how = f"statistic {test.statistic:.5g}, n = {test.n}; {test.method}"
    return Fact(test.name, _at_most(test.p) if _is_floor(test) else p_words(test.p), short_method(test), how)


def _is_floor(test: TestResult) -> bool:
    """Whether no random pattern was as far out as what was seen: more patterns might give a smaller p."""
    return test.seed is not None and test.resamples is not None and test.p * (test.resamples + 1) < 1.5


def _at_most(p: float) -> str:
    return f"p ≤ {p:.2g}"


def _test(test: TestResult, p: float, *, adjusted: bool) -> str:
    """The test, its variant in a few words, and its p."""
    if math.isnan(p):
        return f"Wilcoxon: {test.reason or 'no p'}"
    corrected = ", Holm-adjusted" if adjusted else ""
    return f"Wilcoxon, {short_method(test)}{corrected}, {p_words(p)}"


def short_method(test: TestResult) -> str:
    """The variant of a test without its particulars: "exact", "normal approximation", "Monte Carlo"."""
    if test.resamples is not None:
        return "exact" if test.seed is None else "Monte Carlo"
    return re.split(r"[;,(]| with", test.method)[0].strip()


def p_words(p: float) -> str:
    """A p-value as it is written: "p = 0.012", "p = 1.0e-16"."""
    if math.isnan(p):
        return f"p {DASH}"
    if p < SMALLEST_P:
        return f"p < {SMALLEST_P:g}"
    return f"p = {p:.2g}" if p >= 1e-4 else f"p = {p:.1e}"


def by(value: float, interval: Interval | None) -> str:
    """A difference and its interval: "+4.5 [3.9, 5.2]"."""
    return signed(value) if interval is None else f"{signed(value)} {_ends(interval.low, interval.high)}"


def _ends(low: float, high: float) -> str:
    form = form_of(max(abs(low), abs(high)))
    return f"[{low:{form}}, {high:{form}}]"
