"""Some rows of stored vectors, in an order of one's own, and the neighbours of some rows among all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semscale.model import Array
from semscale.search.exact import top_k
from semscale.search.groups import Groups
from semscale.search.tiles import DEFAULT, Tuning
from semscale.search.vectors import Vectors


@dataclass(frozen=True, slots=True)
class Selected:
    """The (k,) `rows` of other Vectors, as Vectors: row i of these is row rows[i] of those."""

    vectors: Vectors
    rows: Array

    @property
    def shape(self) -> tuple[int, int]:
        """k and D."""
        return len(self.rows), self.vectors.shape[1]

    def take(self, rows: Array) -> Array:
        """(j,) row numbers -> (j, D) float32, in the order asked for."""
        return self.vectors.take(self.rows[rows])


def neighbours(
    vectors: Vectors, queries: Vectors, k: int, *, groups: Groups | None = None, tuning: Tuning = DEFAULT
) -> tuple[Array, Array]:
    """(Q, k) ids and similarities of the rows of `vectors` nearest to each of (Q, D) `queries`, as `top_k` gives them,
    in one piece: 16 k bytes a query."""
    found = list(top_k(vectors, k, queries=queries, groups=groups, tuning=tuning))
    ids = np.concatenate([np.empty((0, k), np.int64), *(part.ids for part in found)])
    return ids, np.concatenate([np.empty((0, k)), *(part.similarity for part in found)])


def neighbours_among(
    vectors: Vectors, rows: Array, k: int, *, groups: Groups | None = None, tuning: Tuning = DEFAULT
) -> tuple[Array, Array]:
    """(Q, k) ids and similarities of the rows nearest to each of (Q,) `rows` of the same vectors, but the row itself.

    A row is left out of its own list by its number, wherever equal rows put it. `groups` are of all rows.
    """
    columns = None if groups is None else Groups(groups.mode, groups.rows, groups.rows[rows])
    ids, similarity = neighbours(vectors, Selected(vectors, rows), k + 1, groups=columns, tuning=tuning)
    own = ids == rows[:, None]
    left_out = np.where(own.any(axis=1), own.argmax(axis=1), k)
    kept = np.arange(k + 1) != left_out[:, None]
    return ids[kept].reshape(-1, k), similarity[kept].reshape(-1, k)
