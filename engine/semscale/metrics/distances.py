"""Which Euclidean distances are below which, exactly, at the speed of float32 products and in bounded memory.

A distance is decided by the float64 sum of squared differences of two rows as they were given: it depends on nothing
else, is symmetric, and is zero between equal rows. Products in float32 say only which pairs need it. Let a and b be two
rows less a common centre, so that |x - y|^2 = S - 2 a.b with S = |a|^2 + |b|^2. With u = 2^-24, what is computed from
float32 differs from it by at most

    from                                                          at most
    a and b rounded to float32, D products added in any order     (D + 2) u S, since 2 |a.b| <= S
    the squares rounded, and two additions                        4 u S
    components below the smallest number of float32               D 2^-120, components being at most 2

(Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1.) The bound taken is (D + 16) u / (1 - (D
+ 16) u) S, whose slack also covers float64 roundings. The centre keeps S small; a wrong one costs time, never truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from semscale.metrics.features import Features
from semscale.metrics.means import spans
from semscale.model import Array

UNIT = 2.0**-24  # roundoff of float32
CHUNK_BYTES = 1 << 23  # of float64 rows that are compared at a time
CROWD = 8  # candidates of a row, as a multiple of k, above which the k likeliest are looked at first


@dataclass(frozen=True, slots=True)
class Points:
    """N finite rows, scaled by a power of two, which rounds nothing."""

    features: Features
    scale: float

    def __len__(self) -> int:
        return len(self.features)

    def take(self, positions: slice | Array) -> Array:
        """Positions -> (n, D) float64 rows."""
        rows = self.features.array[self.features.rows[positions]].astype(np.float64, copy=False)  # a copy already
        rows *= self.scale
        return rows

    def mean(self) -> Array:
        """(D,) mean row."""
        return sum((self.take(at).sum(axis=0) for at in spans(len(self))), np.zeros(self.features.dim)) / len(self)

    def squares(self, centre: Array) -> Array:
        """(N,) squared lengths of the rows less `centre`."""
        lengths = [np.square(self.take(at) - centre).sum(axis=1) for at in spans(len(self))]
        return np.concatenate([np.zeros(0), *lengths])


def points_of(*sets: Features) -> tuple[Points, ...]:
    """Sets of rows on one scale, on which no component is above 1 and squares can neither vanish nor overflow."""
    largest = max((float(np.abs(block).max(initial=0.0)) for one in sets for block in one.blocks()), default=0.0)
    scale = math.ldexp(1.0, -max(math.frexp(largest)[1], -1000))
    return tuple(Points(one, scale) for one in sets)


@dataclass(frozen=True, slots=True)
class Tile:
    """All pairs of some rows and some columns, by position in their sets."""

    rows: slice
    columns: slice
    low: Array  # (n, m) float32, at or below the squared distances


class Join:
    """Squared distances between two sets of points, tile by tile."""

    def __init__(self, left: Points, right: Points) -> None:
        dim = left.features.dim
        self._left, self._right = left, right
        self._centre = (left.mean() + right.mean()) / 2
        self._squares = left.squares(self._centre), right.squares(self._centre)
        self._bound = (dim + 16) * UNIT / (1 - (dim + 16) * UNIT)
        self._lost = dim * 2.0**-120

    def tiles(self, rows: slice) -> Iterator[Tile]:
        """All columns beside some rows."""
        left = self._near(self._left, rows)
        left *= -2
        for columns in spans(len(self._right)):
            low = left @ self._near(self._right, columns).T
            low += self._below(0, rows)[:, None]
            low += self._below(1, columns)
            yield Tile(rows, columns, low)

    def exact(self, i: Array, j: Array) -> Array:
        """(P,) positions in the left and the right set -> (P,) float64 squared distances."""
        step = max(1, CHUNK_BYTES // (8 * self._left.features.dim))
        found = np.empty(len(i))
        for at in range(0, len(i), step):
            apart = self._left.take(i[at : at + step])
            apart -= self._right.take(j[at : at + step])
            found[at : at + step] = np.einsum("pd,pd->p", apart, apart)
        return found

    def inside(self, tile: Tile, limits: Array, holds: Callable[[Array, Array], Array]) -> tuple[Array, Array]:
        """The pairs of a tile whose squared distance `holds` (np.less or np.less_equal) against a limit.

        `limits` are float64 and broadcast over the tile. Returns places within the tile, (P,) each, by row.
        """
        i, j = np.nonzero(tile.low <= upwards(limits))
        limit = np.broadcast_to(limits, tile.low.shape)[i, j]
        a, b = i + tile.rows.start, j + tile.columns.start
        sure = tile.low[i, j] + self._width(a, b) < limit
        kept = sure.copy()
        kept[~sure] = holds(self.exact(a[~sure], b[~sure]), limit[~sure])
        return i[kept], j[kept]

    def _near(self, points: Points, at: slice) -> Array:
        return (points.take(at) - self._centre).astype(np.float32)

    def _below(self, side: int, at: slice) -> Array:
        """A row's share of the lower bound."""
        return ((1 - self._bound) * self._squares[side][at] - self._lost).astype(np.float32)

    def _width(self, i: Array, j: Array) -> Array:
        """How far at most a squared distance is above its lower bound."""
        return 2 * self._bound * (self._squares[0][i] + self._squares[1][j]) + 4 * self._lost


def upwards(values: Array) -> Array:
    """float64 -> the next float32 above, so that a comparison in float32 loses nothing."""
    return np.nextafter(np.asarray(values).astype(np.float32), np.float32(np.inf))


def nearest_squares(points: Points, k: int) -> Array:
    """(N,) squared distances of each point to the k-th nearest other, itself excluded by position; needs N > k."""
    join, found = Join(points, points), np.empty(len(points))
    for rows in spans(len(points)):
        best = np.full((rows.stop - rows.start, k), np.inf)
        for tile in join.tiles(rows):
            if tile.columns.start == rows.start:
                np.fill_diagonal(tile.low, np.inf)  # a point is not its own neighbour; an equal one is
            _improve(best, tile, join)
        found[rows] = best[:, -1]
    return found


def _improve(best: Array, tile: Tile, join: Join) -> None:
    """Take a tile into the k smallest squared distances of its rows, (n, k) in rising order, in place."""
    wanted = _wanted(best, tile)
    crowded = np.flatnonzero(wanted.sum(axis=1) > CROWD * best.shape[1])
    if len(crowded):  # far more than can count: with k good ones known, few are left
        likely = np.argpartition(tile.low[crowded], best.shape[1] - 1, axis=1)[:, : best.shape[1]]
        _take(best, np.repeat(crowded, best.shape[1]), likely.ravel(), tile, join)
        tile.low[crowded[:, None], likely] = np.inf
        wanted = _wanted(best, tile)
    i, j = np.nonzero(wanted)
    _take(best, i, j, tile, join)


def _wanted(best: Array, tile: Tile) -> Array:
    """(n, m) bool: pairs that may be nearer than the k-th nearest so far; none where that is at no distance."""
    farthest = best[:, -1]
    return tile.low < np.where(farthest > 0, upwards(farthest), -np.float32(np.inf))[:, None]


def _take(best: Array, i: Array, j: Array, tile: Tile, join: Join) -> None:
    """Merge the exact distances of places of a tile, in rising order of `i`, into the k smallest."""
    k, squares = best.shape[1], join.exact(i + tile.rows.start, j + tile.columns.start)
    order = np.lexsort((squares, i))
    i, squares = i[order], squares[order]
    rank = np.arange(len(i)) - np.searchsorted(i, i)
    owners, places = np.unique(i, return_inverse=True)
    fresh = np.full((len(owners), k), np.inf)
    fresh[places[rank < k], rank[rank < k]] = squares[rank < k]
    best[owners] = np.sort(np.concatenate([best[owners], fresh], axis=1), axis=1)[:, :k]
