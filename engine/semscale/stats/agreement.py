"""How far raters agree beyond chance: Cohen's kappa, Fleiss' kappa and Krippendorff's alpha.

    from semscale.stats.agreement import krippendorff_alpha
    krippendorff_alpha([["A", "B", None], ["A", "B", "A"], ["A", "A", "A"]])      # raters x items, None where not rated

All three are 1 - (observed disagreement) / (disagreement by chance). Each item adds a table of pairs of ratings to one
sum, K x K for K categories, and the coefficient is a function of that sum; they differ in what chance means: the two
raters' own shares of the categories (Cohen), the shares of all ratings (Fleiss), or those without replacement
(Krippendorff, which is therefore a little higher than Fleiss' kappa, takes missing ratings, and orders and distances).

The intervals are for other items and these same raters: delete-one jackknife over items on Fisher's scale, artanh of
the coefficient, with Student's t. It needs no random numbers. In simulation (2, 3 and 13 raters, two categories) it
held the truth 93 to 97 % of the time with 100 items and 90 to 97 % with 30; the percentile bootstrap over items 92 to
96 and 88 to 98 %. With 12 items it is right (95 to 98 %) only where both categories are common; where nine of ten
items are of one, 12 items do not show the other often enough: 70 to 92 %, and no bootstrap was better.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import scipy

from semscale.errors import UsageError
from semscale.model import Array, Interval
from semscale.stats.effects import FEWEST
from semscale.stats.intervals import LEVEL

Level = Literal["nominal", "ordinal", "interval", "ratio"]
LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval", "ratio")
MOST_CATEGORIES = 20  # distinct ratings; a table of their squares is held for every kind of item
METHOD = "delete-one jackknife over items on Fisher's scale, Student t"
COHEN, FLEISS, ALPHA = "Cohen's kappa", "Fleiss' kappa", "Krippendorff's alpha"
_ROUNDING = 1e-12  # coefficients that differ by less are equal
_Disagreement = Callable[[Array], tuple[Array, Array]]  # (R, K, K) sums -> (R,) observed and (R,) by chance


@dataclass(frozen=True, slots=True)
class Coefficient:
    """Agreement beyond chance: 1 where all agree, 0 where they agree as chance would, negative below."""

    name: str  # "Krippendorff's alpha, nominal"
    value: float  # NaN where it is undefined, and `reason` says why
    interval: Interval | None
    disagreement: float  # observed; of named categories the share of pairs of ratings that differ
    by_chance: float  # disagreement that chance would give
    n: int  # items it rests on
    n_ratings: int
    reason: str  # why the value or the interval is missing; "" when neither is


def undefined(name: str, reason: str, *, n: int = 0, n_ratings: int = 0) -> Coefficient:
    """A coefficient that these ratings do not have, and why."""
    nan = float("nan")
    return Coefficient(name, nan, None, nan, nan, n, n_ratings, reason)


def cohen_kappa(a: Sequence[Hashable], b: Sequence[Hashable]) -> Coefficient:
    """Two raters' N categories of the same items, in the same order -> their agreement beyond chance (Cohen 1960).

    Undefined where both give one and the same category throughout. Raises UsageError when the lengths differ, a rating
    is missing (None or NaN), or there are more than 20 categories.
    """
    if len(a) != len(b):
        raise UsageError(f"a has {len(a)} ratings and b has {len(b)}; give one of each for every item")
    if n_missing := sum(map(_is_missing, [*a, *b])):
        raise UsageError(f"{n_missing} ratings are missing; leave those items out, or use krippendorff_alpha")
    categories = _categories([*a, *b])
    table = np.zeros((len(categories), len(categories)), np.int64)
    for x, y in zip(a, b, strict=True):
        table[categories[x], categories[y]] += 1
    return cohen_of_table(table)


def cohen_of_table(table: Array) -> Coefficient:
    """(K, K) how many items the first rater put into the row's and the second into the column's category -> as above.

    Raises UsageError for other than whole numbers from 0, a table that is not square, and more than 20 categories.
    """
    found = _whole(table)
    if found.shape[0] != found.shape[1]:
        raise UsageError(f"a table of {found.shape}; need as many rows as columns, one of each category")
    rows, columns = np.nonzero(found)
    tables = np.zeros((len(rows), *found.shape))
    tables[np.arange(len(rows)), rows, columns] = 1
    return _coefficient(COHEN, tables, found[rows, columns], _of_two, n_ratings=2 * int(found.sum()))


def fleiss_kappa(counts: Array) -> Coefficient:
    """(N, K) how many raters put each item into each category -> their agreement beyond chance (Fleiss 1971).

    The raters need not be the same for each item, only as many. Undefined for one rater, and where only one category
    was used. Raises UsageError for items with different numbers of ratings, for other than whole numbers from 0, and
    for more than 20 categories.
    """
    found = _whole(counts)
    raters = found.sum(axis=1)
    if len(np.unique(raters)) > 1:
        raise UsageError(
            f"items have from {raters.min()} to {raters.max()} ratings; Fleiss' kappa needs as many for each: leave "
            "the others out, or use krippendorff_alpha"
        )
    n_ratings = int(raters.sum())
    if len(raters) and raters[0] < 2:
        return undefined(FLEISS, "an item needs two ratings to agree", n=len(found), n_ratings=n_ratings)
    kinds, times = np.unique(found, axis=0, return_counts=True)
    return _coefficient(FLEISS, _coincidences(kinds), times, _of_many, n_ratings=n_ratings)


def krippendorff_alpha(ratings: Sequence[Sequence[Any]] | Array, level: Level = "nominal") -> Coefficient:
    """(raters, items) ratings, None or NaN where there is none -> their reliability (Krippendorff 2011).

    Ratings are any labels for "nominal", numbers for "ordinal", "interval" and "ratio" (from 0), which weigh how far
    two of them are apart. Items with fewer than two ratings tell nothing and are left out. Undefined where no item has
    two, and where all are equal. Raises UsageError for rows of different lengths, an unknown level, ratings that are
    not numbers where they must be, and more than 20 distinct ones.
    """
    if level not in LEVELS:
        raise UsageError(f"unknown level {level!r}; choose from {list(LEVELS)}")
    rows = [list(row) for row in ratings]
    if len({len(row) for row in rows}) > 1:
        raise UsageError("raters have different numbers of items; give None where a rater gave no rating")
    given = [value for row in rows for value in row if not _is_missing(value)]
    categories = _categories(given) if level == "nominal" else _ordered(given, level)
    counts = np.zeros((len(rows[0]) if rows else 0, len(categories)), np.int64)
    for row in rows:
        rated = [(item, categories[value]) for item, value in enumerate(row) if not _is_missing(value)]
        np.add.at(counts, tuple(np.array(rated, np.int64).reshape(-1, 2).T), 1)
    return alpha_of_counts(counts, values=list(categories), level=level)


def alpha_of_counts(counts: Array, *, values: Sequence[Any] = (), level: Level = "nominal") -> Coefficient:
    """(N, K) how many raters gave each item each of K ratings -> Krippendorff's alpha, as from the ratings themselves.

    `values` are the K ratings, in rising order; needless for "nominal". Raises UsageError for other than whole numbers
    from 0 and more than 20 ratings.
    """
    name = f"{ALPHA}, {level}"
    found = _whole(counts)
    paired = found[found.sum(axis=1) >= 2]
    if not len(paired):
        return undefined(name, "no item has two ratings")
    kinds, times = np.unique(paired, axis=0, return_counts=True)
    weigh = _distances(np.asarray(values, np.float64) if level in ("interval", "ratio") else np.empty(0), level)

    def disagreement(sums: Array) -> tuple[Array, Array]:
        of_each = _occurrences(sums)
        n = of_each.sum(axis=1)
        distances = weigh(of_each)
        expected = (of_each[:, :, None] * of_each[:, None, :] * distances).sum(axis=(1, 2)) / (n * (n - 1))
        return (sums * distances).sum(axis=(1, 2)) / n, expected

    return _coefficient(name, _coincidences(kinds), times, disagreement, n_ratings=int(paired.sum()))


def _coefficient(name: str, tables: Array, times: Array, disagreement: _Disagreement, *, n_ratings: int) -> Coefficient:
    """(U, K, K) tables of U kinds of items and how many items are of each (U,) -> the coefficient and its interval."""
    n = int(times.sum())
    if n == 0:
        return undefined(name, "no items")
    total = np.tensordot(times, tables, 1)
    observed, by_chance = (float(each[0]) for each in disagreement(total[None]))
    if by_chance <= 0:
        reason = "only one category was used, so that agreement and chance are the same"
        return Coefficient(name, float("nan"), None, observed, by_chance, n, n_ratings, reason)
    value = 1 - observed / by_chance
    with np.errstate(divide="ignore", invalid="ignore"):  # without an item there may be one category, or nothing
        left_observed, left_by_chance = disagreement(total - tables)
        left_out = np.where(left_by_chance > 0, 1 - left_observed / left_by_chance, np.nan)
    interval, reason = _interval(value, left_out, times)
    return Coefficient(name, value, interval, observed, by_chance, n, n_ratings, reason)


def _interval(value: float, left_out: Array, times: Array) -> tuple[Interval | None, str]:
    """The value without an item of each kind (U,) -> the jackknife interval, or why there is none."""
    n = int(times.sum())
    if n < FEWEST:
        return None, f"an interval at 95 % needs {FEWEST} items and there {'is' if n == 1 else 'are'} {n}"
    if not np.isfinite(left_out).all():
        return None, "all of one category but for a single item, on which everything rests"
    off = left_out - (times * left_out).sum() / n
    error = float(np.sqrt((n - 1) / n * (times * off**2).sum()))
    if error < _ROUNDING or abs(value) >= 1 - _ROUNDING:
        return None, "every item tells the same: no spread to tell how sure that is"
    reach = float(scipy.special.stdtrit(n - 1, 0.5 + LEVEL / 2)) * error / (1 - value**2)
    low, high = np.tanh(np.arctanh(value) + np.array([-reach, reach]))
    return Interval(float(low), float(high), LEVEL, METHOD), ""


def _of_two(sums: Array) -> tuple[Array, Array]:
    """Of contingency tables: rows are one rater's, columns the other's."""
    n = sums.sum(axis=(1, 2))
    same = (sums.sum(axis=2) * sums.sum(axis=1)).sum(axis=1)
    return (n - np.trace(sums, axis1=1, axis2=2)) / n, (n**2 - same) / n**2


def _of_many(sums: Array) -> tuple[Array, Array]:
    """Of coincidence tables, which are symmetric."""
    of_each = _occurrences(sums)
    n = of_each.sum(axis=1)
    return (n - np.trace(sums, axis1=1, axis2=2)) / n, (n**2 - (of_each**2).sum(axis=1)) / n**2


def _occurrences(sums: Array) -> Array:
    """(R, K, K) sums of coincidences -> (R, K) how often each rating occurs; whole numbers, up to rounding."""
    return np.round(sums.sum(axis=2))


def _coincidences(counts: Array) -> Array:
    """(U, K) ratings of items -> (U, K, K) ordered pairs of ratings of an item, weighing as its ratings."""
    pairs = (counts[:, :, None] * counts[:, None, :]).astype(np.float64)
    diagonal = np.arange(counts.shape[1])
    pairs[:, diagonal, diagonal] -= counts
    return pairs / (counts.sum(axis=1) - 1)[:, None, None]


def _distances(values: Array, level: Level) -> Callable[[Array], Array]:
    """How far ratings are apart: (R, K) how often each occurs -> (R, K, K) squared differences of the level."""
    if level == "ordinal":  # ranks: half of one's own occurrences and all of those below
        return lambda n: np.square(_apart(np.cumsum(n, axis=1) - n / 2))
    if level == "nominal":
        return lambda n: np.broadcast_to(1 - np.eye(n.shape[1]), (1, n.shape[1], n.shape[1]))
    apart = np.square(_apart(values[None]))
    if level == "ratio":
        sums = values[:, None] + values[None, :]
        apart = apart / np.where(sums == 0, 1.0, sums) ** 2
    return lambda n: apart


def _apart(values: Array) -> Array:
    return values[:, :, None] - values[:, None, :]


def _is_missing(value: Any) -> bool:
    return value is None or value != value  # NaN alone differs from itself


def _categories(values: Sequence[Hashable]) -> dict[Any, int]:
    found = {value: place for place, value in enumerate(dict.fromkeys(values))}
    if len(found) > MOST_CATEGORIES:
        raise UsageError(f"{len(found)} distinct ratings; at most {MOST_CATEGORIES} can be counted: bin them first")
    return found


def _ordered(values: Sequence[Any], level: Level) -> dict[Any, int]:
    strange = next((v for v in values if not isinstance(v, int | float | np.number) or not np.isfinite(v)), None)
    if strange is not None or (level == "ratio" and min(values, default=0) < 0):
        need = "numbers from 0" if level == "ratio" else "finite numbers"
        raise UsageError(f"level {level!r} needs {need}, not {min(values) if strange is None else strange!r}")
    return _categories(sorted(values))


def _whole(counts: Array) -> Array:
    found = np.asarray(counts)
    if found.ndim != 2 or (found.size and (found.dtype.kind not in "iu" or found.min() < 0)):
        raise UsageError(f"counts of {found.dtype} {found.shape}; need (items, categories) whole numbers from 0")
    if found.shape[1] > MOST_CATEGORIES:
        raise UsageError(f"{found.shape[1]} categories; at most {MOST_CATEGORIES} can be counted: bin them first")
    return found.astype(np.int64)
