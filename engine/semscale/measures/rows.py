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
        return self.vectors.take(self.rows[key])


def all_rows(store: Store) -> StoredRows:
    """Every embedding of a store."""
    return StoredRows(store.images, np.arange(len(store.images)))
