"""All pairs above a threshold, and the k nearest rows, exactly: the float64 answer at the speed of reduced precision.

Every product is computed in reduced precision with a proven bound (`products`), and whatever the bound leaves open is
computed again in float64 (`recheck`), so results have the same bits whatever the precision, tile, threads or device.
Rows that are zero or not finite are in no pair. Memory does not depend on how many pairs are found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from semscale.errors import UsageError
from semscale.model import Array
from semscale.search import scan
from semscale.search.blocks import spans
from semscale.search.groups import Groups
from semscale.search.lists import LOWEST, Lists, Ranking
from semscale.search.recheck import cosines, lowest_selected
from semscale.search.tiles import DEFAULT, STRIP, Join, Tile, Tuning, open_join, tiles
from semscale.search.vectors import Vectors


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
        for tile in tiles(join, block, tuning):
            hits = scan.above(tile.values, scan.maxima(tile.values), floor)
            yield from found.add(hits.rows + tile.rows.start, hits.columns + tile.columns.start)
        yield found.rest()


class _Found:
    """Candidates of one block that wait for their exact similarity."""

    def __init__(self, join: Join, lowest: float, block: int, most: int) -> None:
        self._join, self._lowest, self._block, self._most = join, lowest, block, most
        self._a = self._b = np.empty(0, np.int64)

    def add(self, rows: Array, columns: Array) -> Iterator[Pairs]:
        """Take candidates by position; yield what fills whole results."""
        self._a, self._b = np.concatenate([self._a, rows]), np.concatenate([self._b, columns])
        while len(self._a) > self._most:
            yield self._checked(last=False)

    def rest(self) -> Pairs:
        """What is left, the last of the block."""
        return self._checked(last=True)

    def _checked(self, *, last: bool) -> Pairs:
        a, b = self._a[: self._most], self._b[: self._most]
        self._a, self._b = self._a[self._most :], self._b[self._most :]
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

    (N, D) and (Q, D), float32 or float16. Results come in order of the rows asked about, `tuning.panel` at a time, and
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
    strip = max(1, min(STRIP, tuning.tile // (2 * held)))  # enough strips that k of them bound the k-th best from below
    for block in join.plan(tuning) if k else ():
        for tile in tiles(join, block, tuning, strip=strip):
            _collect(lists, tile, held, symmetric=join.symmetric)
    asked = join.columns.vectors.shape[0]
    positions = np.full(asked, -1)
    positions[join.columns.ids] = np.arange(len(join.columns))
    for rows in spans(range(asked), tuning.panel):
        yield _neighbours(join, lists, rows, positions[rows.start : rows.stop], k)


def _exact(join: Join) -> Callable[[Array, Array], Array]:
    return lambda owners, others: cosines(join.columns, owners, join.rows, others)


def _collect(lists: Lists, tile: Tile, k: int, *, symmetric: bool) -> None:
    """Offer the tile's candidates to the rows asked about: its columns and, in a self-join, its rows."""
    largest = scan.maxima(tile.values)
    rows, columns = slice(tile.rows.start, tile.rows.stop), slice(tile.columns.start, tile.columns.stop)
    if len(largest) >= k and lists.floors[columns].min() == LOWEST:
        lists.raise_floors(columns, _last(largest.topk(k, dim=0).values[-1]))
    if symmetric and len(tile.columns) >= k and lists.floors[rows].min() == LOWEST:
        lists.raise_floors(rows, _last(tile.values.topk(k, dim=2).values[:, :, -1])[: len(tile.rows)])
    row_floors = np.full(tile.values.shape[:2], np.inf, np.float32)
    if symmetric:
        row_floors.reshape(-1)[: len(tile.rows)] = lists.floors[rows]
    hits = scan.above_either(tile.values, largest, row_floors, lists.floors[columns])
    a, b = hits.rows + rows.start, hits.columns + columns.start
    lists.add(b, a, hits.values)
    if symmetric:
        lists.add(a, b, hits.values)


def _last(kth: torch.Tensor) -> Array:
    return kth.reshape(-1).float().cpu().numpy()


def _neighbours(join: Join, lists: Lists, rows: range, positions: Array, k: int) -> Neighbours:
    ids, similarity = np.full((len(rows), k), -1), np.full((len(rows), k), np.nan)
    valid = positions >= 0
    if k and len(join.rows):
        others, exact = lists.best(positions[valid])
        ids[valid, : others.shape[1]] = np.where(others >= 0, join.rows.ids[others], -1)
        similarity[valid, : exact.shape[1]] = exact
    return Neighbours(rows, ids, similarity)
