"""Stored embeddings as the arrays that metrics read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semscale.model import Array
from semscale.store import Rows, Store


@dataclass(frozen=True, slots=True, eq=False)
class StoredRows:
    """Some rows of stored vectors as metrics read an array: block by block, never whole in memory."""

    vectors: Rows
    rows: Array  # (n,) row of `vectors` of each
    unit: bool  # whether all have length 1: then a row of zeros is none, and is read as NaN

    @property
    def dtype(self) -> np.dtype[np.float32]:
        """Of what is read, however it is stored."""
        return np.dtype(np.float32)

    @property
    def shape(self) -> tuple[int, int]:
        """n and D."""
        return len(self.rows), self.vectors.shape[1]

    @property
    def ndim(self) -> int:
        """2."""
        return 2

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: slice | Array) -> Array:
        """(k, D) float32 for a slice or (k,) numbers of rows."""
        found = self.vectors.take(self.rows[key])
        if self.unit:
            found[~found.any(axis=1)] = np.nan
        return found


def all_rows(store: Store) -> StoredRows:
    """Every embedding of a store."""
    return some_rows(store, np.arange(len(store.images)))


def some_rows(store: Store, rows: Array) -> StoredRows:
    """The embeddings of (n,) rows of a store."""
    return StoredRows(store.images, rows, store.spec.image.normalized)
