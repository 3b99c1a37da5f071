"""One side of a join: its valid rows, in the order they are compared in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semscale.errors import UsageError
from semscale.model import Array
from semscale.search.vectors import Vectors

CHUNK = 2048  # rows that are widened to float64 at a time
SUMMED = 4096  # components summed at once: NumPy sums longer rows in an order that depends on how many there are


@dataclass(frozen=True, slots=True)
class Side:
    """N valid rows by position: by row number, or by group and then row number where groups matter."""

    vectors: Vectors
    ids: Array  # (N,) int64 row numbers
    squares: Array  # (N,) float64 squared lengths
    groups: Array  # (N,) int64, rising; all 0 where there are none

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def dim(self) -> int:
        """D."""
        return self.vectors.shape[1]

    def take(self, positions: Array) -> Array:
        """(k,) positions -> (k, D) stored rows, float32."""
        return self.vectors.take(self.ids[positions])

    def units(self, span: range) -> Array:
        """(n, D) float32 rows of length 1, rounded once from float64."""
        out = np.empty((len(span), self.dim), np.float32)
        for at in range(0, len(span), CHUNK):
            part = slice(span.start + at, min(span.start + at + CHUNK, span.stop))
            rows = self.vectors.take(self.ids[part]).astype(np.float64)
            rows /= np.sqrt(self.squares[part])[:, None]
            out[at : at + CHUNK] = rows
        return out


def open_side(vectors: Vectors, groups: Array | None = None) -> Side:
    """Read all vectors once, in order, and keep what is needed of the rows that are neither zero nor infinite nor NaN.

    Raises UsageError when `groups` has not one number for each row.
    """
    n = vectors.shape[0]
    squares = np.empty(n)
    for at in range(0, n, CHUNK):
        rows = vectors.take(np.arange(at, min(at + CHUNK, n)))
        squares[at : at + CHUNK] = dots(rows, rows)
    ids = np.flatnonzero(np.isfinite(squares) & (squares > 0)).astype(np.int64)
    of_rows = np.broadcast_to(np.int64(0), n) if groups is None else groups
    if of_rows.shape != (n,):
        raise UsageError(f"groups of the shape {of_rows.shape} for {n} rows; give one number for each row")
    ids = ids[np.argsort(of_rows[ids], kind="stable")]
    return Side(vectors, ids, squares[ids], of_rows[ids])


def dots(left: Array, right: Array) -> Array:
    """(P, D), (P, D) -> (P,) float64 products of the rows, each summed in an order that depends on D alone."""
    total = np.zeros(len(left))
    with np.errstate(invalid="ignore"):  # of rows that are not finite
        for at in range(0, left.shape[1], SUMMED):
            part = slice(at, at + SUMMED)
            total += np.einsum("pd,pd->p", _float64(left[:, part]), _float64(right[:, part]))
    return total


def _float64(rows: Array) -> Array:
    return np.ascontiguousarray(rows, np.float64)
