"""What resampling says of paired differences: a permutation test and a bootstrap, in bounded memory.

Both depend on the seed and the set of differences, never on their order. The p-value is the same for a - b and b - a,
and the interval of one is that of the other with its sign turned.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy

from semscale.errors import UsageError
from semscale.model import Array, Interval
from semscale.stats.effects import FEWEST
from semscale.stats.intervals import LEVEL
from semscale.stats.samples import mean, sample
from semscale.stats.significance import TestResult

RESAMPLES = 9_999
FEWEST_RESAMPLES = 999  # of very many differences
DRAWS = 200_000_000  # in all, about a second or two; beyond, fewer resamples, which the result states
BLOCK = 1 << 20  # draws held at once
EXACT_SIGNS = 16  # differences other than 0 up to which all 2**n sign patterns are counted
ROUNDING = 1e-12  # sums that differ by less than this share of the sum of sizes are equal


@dataclass(frozen=True, slots=True)
class MeanDifference:
    """The mean of paired differences and its bootstrap interval over prompts."""

    value: float
    interval: Interval | None
    n: int
    resamples: int  # 0 where there is no interval
    seed: int
    reason: str  # why the value or the interval is missing; "" when neither is


def paired_permutation(differences: Array, *, seed: int = 0) -> TestResult:
    """(n,) paired differences -> sign-flip permutation test of their mean (Fisher 1935).

    If a and b were exchangeable within each pair, every pattern of signs would be as likely. The p is the share of
    patterns whose mean is at least as far from 0: over all patterns for up to 16 differences other than 0, else over
    9,999 random ones (fewer above 20,000 differences), the observed one counted with them so that p is valid and never
    0 (Phipson and Smyth 2010). Raises UsageError for NaN, infinities and a seed below 0.
    """
    rng, seed = _generator(seed)
    values = sample(differences, "differences")
    name, n = "Paired permutation", len(values)
    if n == 0:
        return TestResult(name, "none", float("nan"), float("nan"), 0, reason="no differences", n_zeros=0)
    sizes = np.sort(np.abs(values[values != 0]))
    n_zeros = n - len(sizes)
    far = abs(float(np.sort(values).sum())) - ROUNDING * float(sizes.sum())
    if len(sizes) <= EXACT_SIGNS:
        sums = _all_signed_sums(sizes)
        p, resamples, drawn_with = float((np.abs(sums) >= far).mean()), len(sums), None
        method = f"sign flips of the mean, exact over all 2**{len(sizes)} sign patterns"
    else:
        resamples, drawn_with = _resamples(len(sizes)), seed
        hits = sum(int((np.abs(sums) >= far).sum()) for sums in _random_signed_sums(sizes, resamples, rng))
        p = (1 + hits) / (1 + resamples)
        method = f"sign flips of the mean, Monte Carlo with {resamples} random sign patterns and the observed one"
    return TestResult(name, method, mean(values), p, n, n_zeros=n_zeros, resamples=resamples, seed=drawn_with)


def bootstrap_difference(differences: Array, *, seed: int = 0) -> MeanDifference:
    """(n,) paired differences, one per prompt -> their mean and its bootstrap 95 % interval over prompts.

    Expanded percentile interval (Hesterberg 2015): the plain one is too short for few prompts, so its level is widened
    by as much as a t interval is wider than a normal one. In simulation, over normal, heavy-tailed, bounded and skewed
    differences, it held the truth 91 to 95 % of the time with 12 prompts and 93 to 95 % with 50; the plain one 86 to
    91 % with 12, and BCa no more. Where one prompt in ten is far off, few prompts may not show it: 72 % with 12, 93 %
    with 50. None for fewer than six differences, and where all are equal, which leaves no
    spread to resample. Raises UsageError for NaN, infinities and a seed below 0.
    """
    rng, seed = _generator(seed)
    values = sample(differences, "differences")
    n = len(values)
    if n == 0:
        return MeanDifference(float("nan"), None, 0, 0, seed, "no differences")
    if n < FEWEST:
        reason = f"an interval at 95 % needs {FEWEST} differences and there are {n}"
        return MeanDifference(mean(values), None, n, 0, seed, reason)
    if values.min() == values.max():
        return MeanDifference(mean(values), None, n, 0, seed, "all differences are equal: no spread to resample")
    resamples = _resamples(n)
    means = np.concatenate(list(_resampled_means(_settled(values), resamples, rng)))
    reach = np.sqrt(n / (n - 1)) * scipy.special.stdtrit(n - 1, 0.5 + LEVEL / 2)
    low, high = np.quantile(means, scipy.special.ndtr([-reach, reach]))
    method = f"bootstrap over prompts, expanded percentile, {resamples} resamples"
    return MeanDifference(mean(values), Interval(float(low), float(high), LEVEL, method), n, resamples, seed, "")


def _generator(seed: int) -> tuple[np.random.Generator, int]:
    """The generator of a seed, and the seed as it is written down."""
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise UsageError(f"seed {seed!r}; give a whole number from 0")
    return np.random.default_rng(int(seed)), int(seed)


def _resamples(n: int) -> int:
    return min(RESAMPLES, max(FEWEST_RESAMPLES, DRAWS // n))


def _blocks(n: int, resamples: int) -> Iterator[int]:
    """How many resamples of n values to hold at once, until all are done."""
    rows = max(1, BLOCK // n)
    for start in range(0, resamples, rows):
        yield min(rows, resamples - start)


def _all_signed_sums(sizes: Array) -> Array:
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums + size, sums - size])
    return sums


def _random_signed_sums(sizes: Array, resamples: int, rng: np.random.Generator) -> Iterator[Array]:
    n, total = len(sizes), sizes.sum()
    for rows in _blocks(n, resamples):
        drawn = np.frombuffer(rng.bytes(rows * -(-n // 8)), np.uint8).reshape(rows, -1)
        yield total - 2 * (np.unpackbits(drawn, axis=1, count=n) @ sizes)


def _resampled_means(values: Array, resamples: int, rng: np.random.Generator) -> Iterator[Array]:
    n = len(values)
    for rows in _blocks(n, resamples):
        yield values[rng.integers(0, n, (rows, n), dtype=np.int32)].mean(axis=1)


def _settled(values: Array) -> Array:
    """In one order whatever order they come in, and in the same when all signs are turned: by size, then by side."""
    return values[np.lexsort((_side(values) * values, np.abs(values)))]


def _side(values: Array) -> float:
    """The sign of their sum, which no order rounds; of a sum of 0, the side that has more of the largest size."""
    total = math.fsum(values)
    if total == 0:
        _, size_of = np.unique(np.abs(values), return_inverse=True)
        surplus = np.bincount(size_of, weights=np.sign(values))
        total = next((float(more) for more in surplus[::-1] if more), 1.0)  # 1: the same on both sides
    return math.copysign(1.0, total)
