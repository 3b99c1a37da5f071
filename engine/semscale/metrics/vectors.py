"""What every metric over embeddings does first."""

from __future__ import annotations

import numpy as np

from semscale.errors import UsageError
from semscale.model import Array


def unit_rows(vectors: Array) -> tuple[Array, Array]:
    """(N, D) -> (N, D) float64 rows of norm 1, and (N,) bool: which rows are valid.

    A row of zeros, or with a NaN or an infinity, has no direction: it is invalid, and all zeros in the result.
    Raises UsageError when `vectors` is not a matrix of real numbers.
    """
    rows = np.asarray(vectors)
    if rows.ndim != 2 or not (np.issubdtype(rows.dtype, np.floating) or np.issubdtype(rows.dtype, np.integer)):
        raise UsageError(f"embeddings: expected a (N, D) array of real numbers, got {rows.dtype} {rows.shape}")
    rows = rows.astype(np.float64)
    largest = np.abs(rows).max(axis=1, initial=0.0, keepdims=True)
    valid = np.isfinite(largest[:, 0]) & (largest[:, 0] > 0)
    rows[~valid] = 0.0
    rows[valid] /= largest[valid]  # first by the largest entry, so that squares neither overflow nor vanish
    rows[valid] /= np.linalg.norm(rows[valid], axis=1, keepdims=True)
    return rows, valid
