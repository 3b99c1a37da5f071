"""Tests of a difference. Each result names its method and variant, and says why when there is no p.

All are two-sided. `wilcoxon` and `resampling.paired_permutation` ask of paired differences whether they are spread
evenly around 0; `kolmogorov_smirnov` compares two samples as if they were not paired; `normality` asks whether a mean
and a standard deviation describe a sample.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from semscale.errors import UsageError
from semscale.model import Array
from semscale.stats.ranks import SignedRanks, rank_sum_chances, signed_ranks
from semscale.stats.samples import sample

EXACT_UNTIED = 50  # differences, none tied and none 0, up to which the signed-rank test is exact; as in scipy
EXACT_ANY = 13  # differences other than 0 up to which it is exact with ties and zeros too
EXACT_FROM_STATISTIC = 500  # beyond, counting takes seconds, and chances underflow soon after
EXACT_KS = 10_000  # values of the larger of two samples of other sizes up to which their test is exact; as in scipy
SHAPIRO = (3, 5000)  # values for which the approximation of its p is documented (Royston 1995)
NO_SIDES = "not normal"
EXACT, NORMAL = "exact", "normal approximation without continuity correction"


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test: what was computed, how, and on how many values. What a test does not have is None."""

    __test__ = False  # for pytest, which would collect it by its name

    name: str  # "Wilcoxon signed-rank"
    method: str  # which variant: "exact", "normal approximation without continuity correction", ...
    statistic: float  # NaN with p
    p: float  # 0..1, 0 only below what a float can hold; NaN where the data allow no test: `reason` says why
    n: int  # values the test rests on
    alternative: str = "two-sided"
    reason: str = ""  # why p is NaN; "" when it is a number
    n_b: int | None = None  # values of the second sample, of a test of two
    n_zeros: int | None = None  # differences of exactly 0
    n_tied: int | None = None  # values that another equals; of the signed-rank test, in size
    resamples: int | None = None  # sign patterns of a permutation test
    seed: int | None = None  # they were drawn with; None where nothing was drawn


@dataclass(frozen=True, slots=True)
class SignedRankP:
    """Both p of a signed-rank statistic, and the one that `wilcoxon` would give."""

    w: float
    n: int
    p_exact: float  # NaN above 500 differences
    p_normal: float
    p: float
    method: str  # of `p`


def wilcoxon(differences: Array, *, zero_method: Literal["wilcox", "pratt"] = "wilcox") -> TestResult:
    """(n,) paired differences -> Wilcoxon's signed-rank test; the statistic is the smaller of the two rank sums.

    Differences of 0 are dropped before ranking ("wilcox", Wilcoxon 1945) or take up the lowest ranks and are dropped
    then ("pratt", Pratt 1959); `n` counts the others. Equal sizes share their mean rank. The p is exact for up to 50
    differences without ties and zeros, and for up to 13 other than 0 in any case; else it is the normal approximation
    with the variance corrected for ties. That is the choice of scipy's `method="auto"`, but for data that are mostly
    zeros: scipy counts them towards the 13. Raises UsageError for NaN, infinities and an unknown `zero_method`.
    """
    if zero_method not in ("wilcox", "pratt"):
        raise UsageError(f"unknown zero_method {zero_method!r}; choose from ['wilcox', 'pratt']")
    values = sample(differences, "differences")
    found = signed_ranks(values, rank_zeros=zero_method == "pratt")
    n = len(found.ranks)
    counts = {"n": n, "n_zeros": found.n_zeros, "n_tied": found.n_tied}
    if n == 0:
        reason = "all differences are 0" if found.n_zeros else "no differences"
        return TestResult("Wilcoxon signed-rank", "none", float("nan"), float("nan"), reason=reason, **counts)
    untied = not (found.n_zeros or found.n_tied)
    exact = n <= (EXACT_UNTIED if untied else EXACT_ANY)
    method = (EXACT if exact else NORMAL) + _of_ties_and_zeros(found, zero_method)
    p = _exact_p(found) if exact else _normal_p(found, n_ranked_zeros=found.n_zeros if zero_method == "pratt" else 0)
    return TestResult("Wilcoxon signed-rank", method, min(found.r_plus, found.r_minus), p, **counts)


def _of_ties_and_zeros(found: SignedRanks, zero_method: str) -> str:
    ties = f"; {found.n_tied} tied, at mean ranks" if found.n_tied else ""
    how = "dropped (Wilcoxon)" if zero_method == "wilcox" else "ranked, then dropped (Pratt)"
    return ties + (f"; {found.n_zeros} zeros {how}" if found.n_zeros else "")


def _exact_p(found: SignedRanks) -> float:
    return _lower_tail_twice(rank_sum_chances(found.ranks), min(found.r_plus, found.r_minus))


def _lower_tail_twice(chances: Array, w: float) -> float:
    return min(1.0, 2 * float(chances[: int(np.ceil(2 * w)) + 1].sum()))


def _normal_p(found: SignedRanks, *, n_ranked_zeros: int) -> float:
    """Of the rank sum's z under fair signs: mean and variance of the ranks as they are (Cureton 1967 for zeros)."""
    n = len(found.ranks) + n_ranked_zeros
    mean = (n * (n + 1) - n_ranked_zeros * (n_ranked_zeros + 1)) / 4
    squares = n * (n + 1) * (2 * n + 1) - n_ranked_zeros * (n_ranked_zeros + 1) * (2 * n_ranked_zeros + 1)
    ties = found.ties.astype(np.float64)
    variance = (squares - (ties**3 - ties).sum() / 2) / 24
    return float(2 * scipy.special.ndtr(-abs(found.r_plus - mean) / np.sqrt(variance)))


def wilcoxon_from_statistic(w: float, n: int) -> SignedRankP:
    """A published W (either rank sum) of n untied differences other than 0 -> its p, exact and approximate.

    For checking a publication that does not name its method: W=110 of n=100 is p=1.0104e-16 by the approximation and
    1.96e-23 exactly. Raises UsageError when no n differences have such a sum.
    """
    total = n * (n + 1) / 2
    if n < 1 or n != int(n) or not 0 <= w <= total:
        raise UsageError(f"W={w} of n={n} differences: rank sums of n >= 1 differences lie from 0 to n (n + 1) / 2")
    low = min(w, total - w)
    z = (total / 2 - low) / np.sqrt(n * (n + 1) * (2 * n + 1) / 24)
    p_normal, p_exact = float(2 * scipy.special.ndtr(-z)), float("nan")
    if n <= EXACT_FROM_STATISTIC:
        p_exact = _lower_tail_twice(rank_sum_chances(np.arange(1.0, n + 1)), low)
    exact = n <= EXACT_UNTIED
    return SignedRankP(float(w), int(n), p_exact, p_normal, p_exact if exact else p_normal, EXACT if exact else NORMAL)


def kolmogorov_smirnov(a: Array, b: Array) -> TestResult:
    """(n,) and (m,) values -> two-sample Kolmogorov-Smirnov test; the statistic is the largest gap D of the two CDFs.

    Takes the samples for independent: of paired values it asks another question than `wilcoxon`, whether the two sets
    of values are spread alike, and its p is as a rule too large when pairs are alike. Exact for samples of one size,
    and up to 10,000 values otherwise; asymptotic beyond. Ties make an exact p an upper bound. Raises UsageError for
    NaN, infinities.
    """
    a, b = sample(a, "a"), sample(b, "b")
    name = "Kolmogorov-Smirnov, two samples"
    if not (len(a) and len(b)):
        return TestResult(name, "none", float("nan"), float("nan"), len(a), reason="an empty sample", n_b=len(b))
    shared = np.unique(np.concatenate([a, b]), return_counts=True)[1]
    n_tied = int(shared[shared > 1].sum())
    method, statistic, p = _ks(a, b)
    if n_tied and method == EXACT:
        method += f"; {n_tied} tied values make it an upper bound"
    return TestResult(name, method, statistic, p, len(a), n_b=len(b), n_tied=n_tied)


def _ks(a: Array, b: Array) -> tuple[str, float, float]:
    """Method, statistic and p."""
    if len(a) == len(b):
        steps = _largest_gap(a, b)
        return EXACT, steps / len(a), _chance_of_gap(steps, len(a))
    from scipy import stats  # a second to load, which every command would pay

    if max(len(a), len(b)) <= EXACT_KS:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # all that scipy says when the sum of paths overflows
            try:
                found = stats.ks_2samp(a, b, method="exact")
                return EXACT, float(found.statistic), float(found.pvalue)
            except RuntimeWarning:
                pass  # the asymptotic test below is named in the result
    found = stats.ks_2samp(a, b, method="asymp")
    return "asymptotic", float(found.statistic), float(found.pvalue)


def _largest_gap(a: Array, b: Array) -> int:
    """(n,) and (n,) -> n D: how many more values of one than of the other lie up to some value."""
    a, b, values = np.sort(a), np.sort(b), np.concatenate([a, b])
    return int(np.abs(np.searchsorted(a, values, side="right") - np.searchsorted(b, values, side="right")).max())


def _chance_of_gap(steps: int, n: int) -> float:
    """Of D >= steps / n between two samples of n: 2 * sum over k of (-1)^(k - 1) C(2n, n - k steps) / C(2n, n).

    Gnedenko and Korolyuk 1951, by reflection of lattice paths. Our own because scipy gives up where rounding takes the
    sum past 1, which small gaps often do.
    """
    if steps == 0:
        return 1.0
    i = np.arange(n)
    logs = np.cumsum(np.log((n - i) / (n + 1 + i)))  # of C(2n, n - j) / C(2n, n) for j = 1, 2, ..., n
    shares = np.exp(logs[steps - 1 :: steps])
    return min(1.0, 2 * float(shares[::2].sum() - shares[1::2].sum()))


def normality(values: Array) -> TestResult:
    """(n,) values -> whether they could be a sample of some normal distribution, its mean and spread unknown.

    Shapiro-Wilk for 3 to 5,000 values (Royston 1995); beyond, D'Agostino and Pearson's K2 of skewness and kurtosis
    (1973), whose chi-square approximation is good there. Neither depends on location or scale, so nothing is ever
    tested against N(0, 1). Equal values, and fewer than three, cannot be tested. Raises UsageError for NaN, infinities.
    """
    from scipy import stats  # as above

    found = sample(values, "normality")
    n = len(found)
    name, method, test = ("Shapiro-Wilk", "Royston 1995", stats.shapiro)
    if n > SHAPIRO[1]:
        name, method, test = ("D'Agostino-Pearson K2", "chi-square of skewness and kurtosis", stats.normaltest)
    nan = float("nan")
    if n < SHAPIRO[0]:
        return TestResult(name, "none", nan, nan, n, NO_SIDES, f"needs {SHAPIRO[0]} values and there are {n}")
    reach = np.ptp(found)
    if reach == 0:
        return TestResult(name, "none", nan, nan, n, NO_SIDES, "all values are equal")
    result = test((found - found.min()) / reach)  # both lose digits of values that are very large, small or alike
    return TestResult(name, method, float(result.statistic), min(max(float(result.pvalue), 0.0), 1.0), n, NO_SIDES)
