"""Mean and covariance of features, added up a block at a time and mergeable: all that a Fréchet distance needs.

Float64 throughout; blocks and sets are merged by the update of Chan, Golub and LeVeque 1983, which never subtracts two
large sums: with a mean 500 times the spread, adding up plain products in float32 is wrong by a quarter. The order and
the size of blocks show in the last bits only. Memory is a block and a few (D, D) matrices, however many rows there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import scipy

from semscale.errors import UsageError
from semscale.metrics.features import check_dims, finite, matrix, slices
from semscale.model import Array


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """How many rows there are, their mean and their covariance."""

    n: int  # valid rows
    mean: Array  # (D,) float64
    scatter: Array  # (D, D) float64: sum of the outer products of rows less the mean
    rows: Array | None  # (n, D) float64 while n < D, when they say more exactly what the covariance is; else None
    n_invalid: int  # rows with a NaN or an infinity, which are in none of the above

    @classmethod
    def given(cls, mean: Array, covariance: Array, n: int) -> Moments:
        """(D,) mean and (D, D) unbiased covariance of n >= 2 rows, as other programs save them -> Moments.

        Raises UsageError when the shapes do not fit, a value is not finite or the covariance is not symmetric.
        """
        centre, spread = np.asarray(mean, np.float64), np.asarray(covariance, np.float64)
        if n < 2 or centre.ndim != 1 or spread.shape != (centre.size, centre.size):
            raise UsageError(f"moments: mean {centre.shape} and covariance {spread.shape} of {n} rows do not fit")
        if not (np.isfinite(centre).all() and np.isfinite(spread).all() and np.allclose(spread, spread.T)):
            raise UsageError("moments: mean and covariance must be finite, and the covariance symmetric")
        return cls(n, centre, spread * (n - 1), None, 0)

    @property
    def dim(self) -> int:
        """D."""
        return len(self.mean)

    @property
    def covariance(self) -> Array:
        """(D, D) unbiased covariance, divided by n - 1; NaN for n < 2."""
        return self.scatter / (self.n - 1) if self.n > 1 else np.full_like(self.scatter, np.nan)

    def merge(self, other: Moments) -> Moments:
        """Return the moments of the rows of both. Raises UsageError when D differs."""
        check_dims(self.dim, other.dim)
        n = self.n + other.n
        apart = other.mean - self.mean
        share = other.n / max(n, 1)
        scatter = self.scatter + other.scatter
        scatter += np.outer(apart, apart * (self.n * share))
        return Moments(n, self.mean + apart * share, scatter, self._rows_with(other), self.n_invalid + other.n_invalid)

    def root(self) -> Array:
        """Return (R, D) F with F^T F the covariance and R <= min(n, D); n must be at least 2.

        The centred rows themselves where they are kept, else a Cholesky factor with pivoting, which takes a covariance
        that is not of full rank as it is.
        """
        if self.rows is not None:
            return (self.rows - self.mean) / np.sqrt(self.n - 1)
        factor, order, rank, _ = scipy.linalg.lapack.dpstrf(self.covariance, lower=1)
        root = np.empty((rank, self.dim))
        root[:, order - 1] = np.tril(factor)[:, :rank].T
        return root

    def _rows_with(self, other: Moments) -> Array | None:
        if self.rows is None or other.rows is None or self.n + other.n >= self.dim:
            return None
        return np.concatenate([self.rows, other.rows])


def moments(rows: Array) -> Moments:
    """(N, D) features, also mapped from a file -> their Moments. Rows with a NaN or an infinity are left out, counted.

    Raises UsageError when `rows` is not a matrix of real numbers.
    """
    array = matrix(rows)
    n_invalid = 0

    def valid_blocks() -> Iterable[Array]:
        nonlocal n_invalid
        for block in slices(array):
            valid = finite(block)
            n_invalid += int((~valid).sum())
            yield block[valid].astype(np.float64)

    return replace(moments_of_blocks(valid_blocks(), array.shape[1]), n_invalid=n_invalid)


def moments_of_blocks(blocks: Iterable[Array], dim: int) -> Moments:
    """Blocks of valid rows, (n, D) float64 -> the Moments of them all."""
    n, mean = 0, np.zeros(dim)
    scatter = np.zeros((dim, dim), order="F")
    kept: list[Array] | None = []
    for block in blocks:
        kept = None if kept is None or n + len(block) >= dim else [*kept, block]
        mean, scatter = _add(block, n, mean, scatter)
        n += len(block)
    rows = None if kept is None else np.concatenate([np.empty((0, dim)), *kept])
    return Moments(n, mean, np.tril(scatter.T) + np.tril(scatter.T, -1).T, rows, 0)


def _add(block: Array, n: int, mean: Array, scatter: Array) -> tuple[Array, Array]:
    """Merge a block into the mean of n rows and into the upper triangle of their scatter, which is changed in place.

    What Chan's update adds for the distance between the two means is the outer product of one more row, so that the
    whole update is one product into memory that is there already.
    """
    if not len(block):
        return mean, scatter
    share = len(block) / (n + len(block))
    rows = np.empty((len(block) + 1, block.shape[1]))
    own = block.mean(axis=0)
    np.subtract(block, own, out=rows[:-1])
    rows[-1] = (own - mean) * np.sqrt(n * share)
    return mean + (own - mean) * share, scipy.linalg.blas.dsyrk(1.0, rows.T, beta=1.0, c=scatter, overwrite_c=1)
