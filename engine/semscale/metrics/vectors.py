"""What every metric over embeddings does first."""

from __future__ import annotations

import numpy as np

from semscale.errors import UsageError
from semscale.model import Array

SAFE = (1e-200, 1e200)  # squared norms between these neither vanished nor overflowed


def unit_rows(vectors: Array) -> tuple[Array, Array]:
    """(N, D) -> (N, D) float64 rows of norm 1, and (N,) bool: which rows are valid.

    A row of zeros, or with a NaN or an infinity, has no direction: it is invalid, and all zeros in the result.
    Raises UsageError when `vectors` is not a matrix of real numbers.
    """
    rows = np.asarray(vectors)
    if rows.ndim != 2 or not (np.issubdtype(rows.dtype, np.floating) or np.issubdtype(rows.dtype, np.integer)):
        raise UsageError(f"embeddings: expected a (N, D) array of real numbers, got {rows.dtype} {rows.shape}")
    rows = rows.astype(np.float64)
    with np.errstate(over="ignore"):
        squares = np.einsum("nd,nd->n", rows, rows)
    odd = ~((squares > SAFE[0]) & (squares < SAFE[1]))
    if not odd.any():
        rows /= np.sqrt(squares)[:, None]
        return rows, ~odd
    return _with_odd_rows(rows, squares, odd)


def _with_odd_rows(rows: Array, squares: Array, odd: Array) -> tuple[Array, Array]:
    """The same where some rows are zero, not finite, or so long or short that their squares say nothing."""
    largest = np.abs(rows[odd]).max(axis=1, initial=0.0, keepdims=True)
    usable = np.isfinite(largest) & (largest > 0)
    rows[odd] = np.where(usable, rows[odd], 0.0) / np.where(usable, largest, 1.0)
    squares[odd] = np.maximum(np.einsum("nd,nd->n", rows[odd], rows[odd]), 1.0)
    rows /= np.sqrt(squares)[:, None]
    valid = ~odd
    valid[odd] = usable[:, 0]
    return rows, valid
