"""A comparison in words and numbers that people read."""

from __future__ import annotations

import math
import re

from semscale.model import Interval
from semscale.stats.comparison import Comparison
from semscale.stats.significance import TestResult
from semscale.study.comparison.measured import Metric

ALPHA = 0.05
NO_VALUE = "–"


def sentence(metric: Metric, labels: tuple[str, str], found: Comparison, p: float, *, adjusted: bool) -> str:
    """What to say of two models by one metric, in one line: who is ahead, by how much, how sure, over how many prompts.

    A difference is said to be shown when p is below 0.05, the interval of the mean difference leaves 0 out, and mean
    and ranks point the same way.
    """
    a, b = labels
    difference = found.mean_difference
    if not found.n:
        return f"{a} and {b} cannot be compared by {metric.name}: no prompt has a value of both"
    over = f"over {found.n} prompt{'' if found.n == 1 else 's'} ({_test(found.wilcoxon, p, adjusted=adjusted)})"
    if not is_shown(found, p):
        return (
            f"no difference shown between {a} and {b}: {by(difference.value, difference.interval)} {metric.name} {over}"
        )
    ahead = a_is_ahead(metric, found)
    low, high = (difference.interval.low, difference.interval.high) if difference.interval else (math.nan, math.nan)
    value, ends = (difference.value, (low, high)) if ahead else (-difference.value, (-high, -low))
    first, second = (a, b) if ahead else (b, a)
    return f"{first} {_is(metric)} {second}: {signed(value)} {_ends(*ends)} {metric.name} {over}"


def is_shown(found: Comparison, p: float) -> bool:
    """Whether a difference is shown: p below 0.05, an interval without 0, and ranks that agree with the mean."""
    difference = found.mean_difference
    interval = difference.interval
    if not p < ALPHA or interval is None or interval.low <= 0 <= interval.high:
        return False
    return difference.value * found.rank_biserial.value > 0


def a_is_ahead(metric: Metric, found: Comparison) -> bool:
    """Whether the first model is the better one; where neither end is better, the higher one."""
    return (found.mean_difference.value > 0) != (metric.better == "lower")


def _is(metric: Metric) -> str:
    if metric.name == "scs":
        return "is more consistent than"
    return "is higher than" if metric.better == "neither" else "is better than"


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
        return f"p {NO_VALUE}"
    return f"p = {p:.2g}" if p >= 1e-4 else f"p = {p:.1e}"


def by(value: float, interval: Interval | None) -> str:
    """A difference and its interval: "+4.5 [3.9, 5.2]"."""
    return signed(value) if interval is None else f"{signed(value)} {_ends(interval.low, interval.high)}"


def signed(value: float) -> str:
    """A difference with its sign and as many digits as count."""
    value = float(value)
    return NO_VALUE if math.isnan(value) else f"{value:+.{_digits(value)}f}"


def plain(value: float) -> str:
    """A value with as many digits as count."""
    return NO_VALUE if math.isnan(value) else f"{value:.{_digits(value)}f}"


def ends_of(interval: Interval | None) -> str:
    """An interval: "[3.9, 5.2]", or a dash where there is none."""
    return NO_VALUE if interval is None else _ends(interval.low, interval.high)


def _ends(low: float, high: float) -> str:
    digits = _digits(max(abs(low), abs(high)))
    return f"[{low:.{digits}f}, {high:.{digits}f}]"


def _digits(value: float) -> int:
    """Decimals that show three digits of a small number and two decimals of a large one."""
    if not math.isfinite(value) or value == 0 or abs(value) >= 1:
        return 2
    return min(2 - math.floor(math.log10(abs(value))), 8)
