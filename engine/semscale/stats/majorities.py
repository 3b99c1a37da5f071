"""What most raters say: majorities with ties apart, raters against them, and a method against a constant answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy

from semscale.errors import UsageError
from semscale.model import Array, Interval
from semscale.stats.proportions import wilson_interval
from semscale.stats.significance import TestResult

NOBODY = -1  # in place of a category: a tie, no ratings, or not rated


@dataclass(frozen=True, slots=True)
class Share:
    """A share of independent items and its Wilson interval."""

    value: float  # hits / n; NaN for n = 0
    hits: int
    n: int
    interval: Interval | None  # None for n = 0


def share(hits: int, n: int, unit: str = "items") -> Share:
    """How many of n -> their share; `unit` says what is independent of each other, for the interval's method."""
    interval = wilson_interval(hits, n)
    if interval is None:
        return Share(float("nan"), 0, 0, None)
    return Share(hits / n, int(hits), int(n), replace(interval, method=f"Wilson score interval over {unit}"))


def vote_counts(votes: Array, n_categories: int) -> Array:
    """(raters, N) categories from 0, NOBODY where a rater gave none -> (N, n_categories) votes."""
    found = _votes(votes, n_categories)
    return np.stack([(found == category).sum(axis=0) for category in range(n_categories)], axis=1)


def majority(counts: Array) -> Array:
    """(N, K) votes -> (N,) the category with more votes than any other; NOBODY for a tie at the top and no votes."""
    top = counts.max(axis=1, keepdims=True)
    alone = ((counts == top).sum(axis=1) == 1) & (top[:, 0] > 0)
    return np.where(alone, counts.argmax(axis=1), NOBODY)


def with_majority(votes: Array, n_categories: int) -> list[Share]:
    """(raters, N) votes -> each rater's agreement with the majority of all raters, who include that rater.

    This is the individual agreement that studies usually print. It is too high, the more so the fewer raters there are:
    a vote counts towards its own majority. Items without a majority are left out.
    """
    found = _votes(votes, n_categories)
    said = majority(vote_counts(found, n_categories))
    return [_agreeing(row, said) for row in found]


def with_others(votes: Array, n_categories: int) -> list[Share]:
    """(raters, N) votes -> each rater's agreement with the majority of the others, that rater's vote left out.

    Items on which the others tie, or of which there are none, are left out.
    """
    found = _votes(votes, n_categories)
    counts = vote_counts(found, n_categories)
    own = [(row[:, None] == np.arange(n_categories)).astype(np.int64) for row in found]
    return [_agreeing(row, majority(counts - mine)) for row, mine in zip(found, own, strict=True)]


def mcnemar(first_right: Array, second_right: Array) -> TestResult:
    """(n,) and (n,) bool, whether each of two methods is right on the same items -> exact McNemar test (1947).

    Items that tell the two apart are fair coin flips where both are as often right: a two-sided binomial test, whose
    statistic is how many of them the first has right.
    """
    first, second = np.asarray(first_right, bool), np.asarray(second_right, bool)
    if first.shape != second.shape or first.ndim != 1:
        raise UsageError(f"{first.shape} and {second.shape} answers; McNemar's test needs two of each item")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    n = only_first + only_second
    if n == 0:
        nan = float("nan")
        return TestResult("McNemar", "none", nan, nan, 0, reason="both are right on the same items")
    p = min(1.0, 2 * float(scipy.special.bdtr(min(only_first, only_second), n, 0.5)))
    return TestResult("McNemar", "exact binomial over the items on which one alone is right", float(only_first), p, n)


def _agreeing(row: Array, said: Array) -> Share:
    both = (row != NOBODY) & (said != NOBODY)
    return share(int((row[both] == said[both]).sum()), int(both.sum()))


def _votes(votes: Array, n_categories: int) -> Array:
    found = np.asarray(votes)
    if found.ndim != 2 or (found.size and (found.dtype.kind not in "iu" or found.min() < NOBODY)):
        raise UsageError(f"votes of {found.dtype} {found.shape}; need (raters, items) categories from 0, or {NOBODY}")
    if found.size and found.max() >= n_categories:
        raise UsageError(f"a vote for category {found.max()} of {n_categories}; they count from 0")
    return found.astype(np.int64)
