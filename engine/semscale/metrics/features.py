"""Features read a block of rows at a time, so that an array mapped from a disk never has to fit in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from semscale.errors import UsageError
from semscale.metrics.vectors import unit_rows
from semscale.model import Array

BLOCK = 2048  # rows in memory at a time: as float64 32 MiB at 2048 dimensions

Valid = Callable[[Array], Array]  # (n, D) rows -> (n,) bool


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Those rows of a (N, D) array that count."""

    array: Array  # (N, D), float16, float32 or float64; may be mapped from a file
    rows: Array  # (n,) int64: which rows of it count, in this order
    n_invalid: int  # rows that do not

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def dim(self) -> int:
        """D."""
        return self.array.shape[1]

    def block(self, start: int, stop: int) -> Array:
        """Some of the rows that count, (stop - start, D) float64."""
        return self.array[self.rows[start:stop]].astype(np.float64)

    def blocks(self) -> Iterator[Array]:
        """All of the rows that count, BLOCK at a time."""
        return (self.block(start, start + BLOCK) for start in range(0, len(self), BLOCK))

    def take(self, positions: Array) -> Features:
        """Those at (m,) positions among the rows that count."""
        return replace(self, rows=self.rows[positions])


def finite(block: Array) -> Array:
    """(n, D) -> (n,) bool: rows without a NaN or an infinity."""
    return np.asarray(np.isfinite(block).all(axis=1))


def directed(block: Array) -> Array:
    """(n, D) -> (n,) bool: rows that are finite and not zero, so that they have a direction."""
    return unit_rows(block)[1]


def matrix(array: Array) -> Array:
    """Return a (N, D) array as it is. Raises UsageError for anything but a matrix of real numbers.

    What has `shape` and `dtype` and gives rows by slices and by numbers, as those of a store, is taken as an array.
    """
    rows = array if hasattr(array, "shape") and not hasattr(array, "__array__") else np.asarray(array)
    real = np.issubdtype(rows.dtype, np.floating) or np.issubdtype(rows.dtype, np.integer)
    if rows.ndim != 2 or not rows.shape[1] or not real:
        raise UsageError(f"features: expected a (N, D) array of real numbers, got {rows.dtype} {rows.shape}")
    return rows


def slices(array: Array) -> Iterator[Array]:
    """(N, D) -> consecutive rows of it, BLOCK at a time."""
    return (array[start : start + BLOCK] for start in range(0, len(array), BLOCK))


def open_features(array: Array, valid: Valid = finite) -> Features:
    """(N, D) features and what makes a row valid -> those that are. Reads the array once."""
    rows = matrix(array)
    counts = np.concatenate([valid(block) for block in slices(rows)] or [np.empty(0, bool)])
    return Features(rows, np.flatnonzero(counts), int(len(rows) - counts.sum()))


def open_pair(a: Array, b: Array, valid: Valid = finite) -> tuple[Features, Features]:
    """Two arrays of features of the same D. Raises UsageError when they are not."""
    first, second = open_features(a, valid), open_features(b, valid)
    check_dims(first.dim, second.dim)
    return first, second


def check_dims(first: int, second: int) -> None:
    """Raise UsageError unless two sets of features have as many dimensions."""
    if first != second:
        raise UsageError(f"features of {first} and of {second} dimensions; both sets must come from the same encoder")
