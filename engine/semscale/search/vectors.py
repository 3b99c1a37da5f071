"""Stored vectors as search reads them: by row number, a few at a time, never all at once."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from semscale.errors import UsageError
from semscale.model import Array

STORED = (np.dtype(np.float32), np.dtype(np.float16))


class Vectors(Protocol):
    """N rows of D numbers; `Store.images` is one."""

    @property
    def shape(self) -> tuple[int, int]:
        """N and D."""
        ...

    def take(self, rows: Array) -> Array:
        """(k,) row numbers -> (k, D) float32, in the order asked for."""
        ...


class ArrayVectors:
    """An (N, D) array, in memory or mapped, as Vectors."""

    def __init__(self, rows: Array) -> None:
        if rows.ndim != 2 or rows.dtype not in STORED:
            raise UsageError(
                f"vectors: an array of {rows.dtype} with the shape {rows.shape}; give (N, D) float32 or float16"
            )
        self._rows = rows

    @property
    def shape(self) -> tuple[int, int]:
        """N and D."""
        return self._rows.shape[0], self._rows.shape[1]

    def take(self, rows: Array) -> Array:
        """(k,) row numbers -> (k, D) float32, in the order asked for."""
        return self._rows[rows].astype(np.float32, copy=False)


def as_vectors(rows: Array | Vectors) -> Vectors:
    """Arrays become Vectors; what is Vectors stays. Raises UsageError for any other array."""
    return ArrayVectors(rows) if isinstance(rows, np.ndarray) else rows
