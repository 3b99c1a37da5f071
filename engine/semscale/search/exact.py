"""All pairs above a threshold, and the k nearest rows, exactly: the float64 answer at the speed of reduced precision.

Every product is computed in reduced precision with a proven bound (`products`), and whatever the bound leaves open is
computed again in float64 (`recheck`), so results have the same bits whatever the precision, tile, threads or device.
Rows that are zero or not finite are in no pair. Memory does not depend on how many pairs are found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from semscale.errors import UsageError
from semscale.model import Array
from semscale.search.blocks import spans
from semscale.search.groups import Groups
from semscale.search.lists import Lists, Ranking
from semscale.search.looking import LOWEST, Look, Tile, Wanted
from semscale.search.recheck import cosines, lowest_selected
from semscale.search.scan import Floors
from semscale.search.tiles import DEFAULT, Join, Tuning, looks, open_join
from semscale.search.vectors import Vectors

RESULT = 16_384  # rows of one result of `top_k`
EARLY = 6  # tiles of a column


@dataclass(frozen=True, slots=True)
class Pairs:
    """Some pairs of one block, by `a` and then `b`."""

    a: Array  # (P,) int64 row numbers
    b: Array  # (P,) int64; in a self-join a < b
    similarity: Array  # (P,) float64
    block: int  # index in the plan
    last: bool  # of its block; P may be 0


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The k most similar rows of some consecutive rows, best first, ties by the lower row number."""

    rows: range
    ids: Array  # (n, k) int64; -1 where there are fewer than k
    similarity: Array  # (n, k) float64; NaN where there are fewer than k


def pairs_above(
    vectors: Array | Vectors,
    threshold: float,
    *,
    other: Array | Vectors | None = None,
    groups: Groups | None = None,
    tuning: Tuning = DEFAULT,
    first: int = 0,
) -> Iterator[Pairs]:
    """Every pair of rows with a similarity of `threshold` or more, each unordered pair once and no row with itself.

    `vectors` has (N, D) float32 or float16 rows; with `other`, (M, D), pairs are between the two, `a` from the first.
    A threshold above 1 - EQUAL means equal to within rounding, see `recheck`. Results come block by block, hold at most
    `tuning.pairs` pairs, and the last of each block says so; `first` resumes at a block. Blocks depend on the vectors,
    the groups and `tuning.panel` alone. Raises UsageError for a threshold outside -1..1.
    """
    if not -1.0 <= threshold <= 1.0:
        raise UsageError(f"a threshold of {threshold}; similarities are from -1 to 1")
    return _pairs_above(open_join(vectors, other, groups), lowest_selected(threshold), tuning, first)


def _pairs_above(join: Join, lowest: float, tuning: Tuning, first: int) -> Iterator[Pairs]:
    floor = max(lowest - tuning.products.bound(join.rows.dim), float(LOWEST))
    for block in join.plan(tuning)[first:]:
        found = _Found(join, lowest, block.index, tuning.pairs)
        for rows, columns, look in looks(join, block, tuning, partial(_reaching, floor)):
            yield from found.add(look.hits.rows + rows.start, look.hits.columns + columns.start)
        yield found.rest()


def _reaching(floor: float, tile: Tile) -> Wanted:
    nobody = np.full(len(tile.rows), np.inf, np.float32)
    return Wanted(Floors(nobody, np.full(len(tile.columns), floor, np.float32)))


class _Found:
    """Candidates of one block that wait for their exact similarity."""

    def __init__(self, join: Join, lowest: float, block: int, most: int) -> None:
        self._join, self._lowest, self._block, self._most = join, lowest, block, most
        self._waiting: list[Array] = []  # (2, P) positions
        self._count = 0

    def add(self, rows: Array, columns: Array) -> Iterator[Pairs]:
        """Take candidates by position; yield what fills whole results."""
        self._waiting.append(np.stack([rows, columns]))
        self._count += len(rows)
        if self._count <= self._most:
            return
        places = np.concatenate(self._waiting, axis=1)
        whole = (self._count - 1) // self._most * self._most
        self._waiting, self._count = [places[:, whole:]], self._count - whole
        for at in range(0, whole, self._most):
            yield self._checked(places[:, at : at + self._most], last=False)

    def rest(self) -> Pairs:
        """What is left, the last of the block."""
        return self._checked(np.concatenate([np.empty((2, 0), np.int64), *self._waiting], axis=1), last=True)

    def _checked(self, places: Array, *, last: bool) -> Pairs:
        a, b = places
        similarity = cosines(self._join.rows, a, self._join.columns, b)
        kept = similarity >= self._lowest
        a, b, similarity = self._join.rows.ids[a[kept]], self._join.columns.ids[b[kept]], similarity[kept]
        if self._join.symmetric:
            a, b = np.minimum(a, b), np.maximum(a, b)
        order = np.lexsort((b, a))
        return Pairs(a[order], b[order], similarity[order], self._block, last)


def top_k(
    vectors: Array | Vectors,
    k: int,
    *,
    queries: Array | Vectors | None = None,
    groups: Groups | None = None,
    tuning: Tuning = DEFAULT,
) -> Iterator[Neighbours]:
    """The k rows of `vectors` most similar to each row of `queries`, or to each of its own rows but the row itself.

    (N, D) and (Q, D), float32 or float16. Results come in order of the rows asked about, RESULT at a time, and
    only once everything was compared; until then about 12 k + 150 bytes a row asked about are held. Raises UsageError
    for k below 0.
    """
    if k < 0:
        raise UsageError(f"k of {k}; give at least 0")
    join = open_join(vectors, queries, groups)
    return _top_k(join, k, tuning, rising=groups is None)


def _top_k(join: Join, k: int, tuning: Tuning, *, rising: bool) -> Iterator[Neighbours]:
    held = max(1, min(k, len(join.rows)))
    ranking = Ranking(held, tuning.products.bound(join.rows.dim), _exact(join), join.rows.ids, rising)
    lists = Lists(len(join.columns), ranking)
    for block in join.plan(tuning) if k else ():
        for rows, columns, look in looks(join, block, tuning, partial(_asked, lists, held, join.symmetric)):
            _collect(lists, rows, columns, look, symmetric=join.symmetric)
    asked = join.columns.vectors.shape[0]
    positions = np.full(asked, -1)
    positions[join.columns.ids] = np.arange(len(join.columns))
    for rows in spans(range(asked), RESULT):
        yield _neighbours(join, lists, rows, positions[rows.start : rows.stop], k)


def _asked(lists: Lists, k: int, symmetric: bool, tile: Tile) -> Wanted:
    """The floors of the rows asked about: the tile's columns and, in a self-join, its rows.

    They may be raised by another thread meanwhile, which leaves them valid: lower ones find more.
    """
    columns = lists.floors[tile.columns.start : tile.columns.stop].copy()
    rows = lists.floors[tile.rows.start : tile.rows.stop].copy() if symmetric else np.full(len(tile.rows), np.inf)
    return Wanted(Floors(rows.astype(np.float32), columns), k)


def _collect(lists: Lists, rows: range, columns: range, look: Look, *, symmetric: bool) -> None:
    """Offer a tile's candidates to the rows asked about."""
    lists.raise_floors(slice(columns.start, columns.stop), look.floors.columns)
    a, b = look.hits.rows + rows.start, look.hits.columns + columns.start
    if symmetric:
        lists.raise_floors(slice(rows.start, rows.stop), look.floors.rows)
    lists.add(b, a, look.hits.values)
    if symmetric:
        lists.add(a, b, look.hits.values)
    if rows.start < EARLY * len(rows):  # most of what is found later is wanted only while floors are low
        lists.settle(np.arange(columns.start, columns.stop))


def _exact(join: Join) -> Callable[[Array, Array], Array]:
    return lambda owners, others: cosines(join.columns, owners, join.rows, others)


def _neighbours(join: Join, lists: Lists, rows: range, positions: Array, k: int) -> Neighbours:
    ids, similarity = np.full((len(rows), k), -1), np.full((len(rows), k), np.nan)
    valid = positions >= 0
    if k and len(join.rows):
        others, exact = lists.best(positions[valid])
        ids[valid, : others.shape[1]] = np.where(others >= 0, join.rows.ids[others], -1)
        similarity[valid, : exact.shape[1]] = exact
    return Neighbours(rows, ids, similarity)
