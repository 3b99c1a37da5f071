"""Two models over the same prompts, from two aligned arrays: everything that can be said of a - b, in one value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semscale.errors import UsageError
from semscale.model import Array
from semscale.stats.effects import RankBiserial, Shift, WinRate, hodges_lehmann, rank_biserial, win_rate
from semscale.stats.resampling import MeanDifference, bootstrap_difference, paired_permutation
from semscale.stats.samples import mean, sample, sample_with_gaps
from semscale.stats.significance import TestResult, kolmogorov_smirnov, normality, wilcoxon

DIRECTION = "a - b"


@dataclass(frozen=True, slots=True)
class Summary:
    """One sample in a few numbers; NaN where there are too few values, with the reason."""

    n: int
    mean: float
    median: float
    sd: float  # standard deviation, dividing by n - ddof
    ddof: int  # 1
    q1: float  # quartiles interpolate linearly between values (Hyndman and Fan 1996, type 7)
    q3: float
    low: float  # the smallest value
    high: float  # the largest
    reason: str  # why a number is missing; "" when none is


@dataclass(frozen=True, slots=True)
class Comparison:
    """Paired values of a and b: positive differences, effects and rank sums of sign + speak for a."""

    direction: str  # "a - b", which every difference, shift and effect here means
    n: int  # pairs with both values: everything below rests on these
    n_missing: int  # pairs left out because either value is NaN
    seed: int  # of the permutation test and the bootstrap
    a: Summary
    b: Summary
    difference: Summary
    normality_a: TestResult
    normality_b: TestResult
    normality_difference: TestResult
    wilcoxon: TestResult
    permutation: TestResult
    kolmogorov_smirnov: TestResult  # of the two samples as if they were not paired
    rank_biserial: RankBiserial
    shift: Shift
    win_rate: WinRate
    mean_difference: MeanDifference


def summarise(values: Array) -> Summary:
    """(n,) values -> their summary. Raises UsageError for NaN, infinities and other shapes."""
    found = sample(values, "summary")
    n, nan = len(found), float("nan")
    if n == 0:
        return Summary(0, nan, nan, nan, 1, nan, nan, nan, nan, "no values")
    low, q1, median, q3, high = map(float, np.quantile(found, (0, 0.25, 0.5, 0.75, 1)))
    if n == 1:
        return Summary(1, mean(found), median, nan, 1, q1, q3, low, high, "one value has no standard deviation")
    reach = high - low
    sd = reach * float(((found - low) / reach).std(ddof=1)) if reach else 0.0  # squares of tiny values would be lost
    return Summary(n, mean(found), median, sd, 1, q1, q3, low, high, "")


def compare(a: Array, b: Array, *, seed: int = 0) -> Comparison:
    """(n,) and (n,) values of the same prompts, in the same order -> every test and effect of the pairs.

    Differences are a - b. A pair with a NaN in either is left out and counted. Raises UsageError when the lengths
    differ, the arrays are not one-dimensional numbers, or a value is infinite.
    """
    a, b = sample_with_gaps(a, "a"), sample_with_gaps(b, "b")
    if len(a) != len(b):
        raise UsageError(f"a has {len(a)} values and b has {len(b)}; pairs need one of each: join them by their keys")
    both = ~(np.isnan(a) | np.isnan(b))
    n_missing = int(len(both) - both.sum())
    a, b = a[both], b[both]
    differences = a - b
    return Comparison(
        direction=DIRECTION,
        n=len(a),
        n_missing=n_missing,
        seed=int(seed),
        a=summarise(a),
        b=summarise(b),
        difference=summarise(differences),
        normality_a=normality(a),
        normality_b=normality(b),
        normality_difference=normality(differences),
        wilcoxon=wilcoxon(differences),
        permutation=paired_permutation(differences, seed=seed),
        kolmogorov_smirnov=kolmogorov_smirnov(a, b),
        rank_biserial=rank_biserial(differences),
        shift=hodges_lehmann(differences),
        win_rate=win_rate(differences),
        mean_difference=bootstrap_difference(differences, seed=seed),
    )
