"""What every comparison checks of its arrays before it counts anything."""

from __future__ import annotations

import numpy as np

from semscale.errors import UsageError
from semscale.model import Array

LARGEST = 1e100  # in size; squares and sums of millions of such numbers are still finite


def sample(values: Array, what: str) -> Array:
    """(n,) real numbers -> (n,) float64; `what` names them in errors.

    Raises UsageError for another shape or type, a NaN, or a number that is infinite or above 1e100 in size.
    """
    found = sample_with_gaps(values, what)
    gaps = np.isnan(found)
    if gaps.any():
        raise UsageError(f"{what}: {gaps.sum()} of {len(found)} values are NaN; leave them out, and say how many")
    return found


def sample_with_gaps(values: Array, what: str) -> Array:
    """As `sample`, but a NaN stays and means that there is no value."""
    found = np.asarray(values)
    if found.size == 0 and found.ndim == 1:
        return np.empty(0)
    if found.ndim != 1 or found.dtype.kind not in "fiu":
        raise UsageError(f"{what}: values of {found.dtype} {found.shape}; need (n,) real numbers")
    found = found.astype(np.float64)
    wild = np.flatnonzero(np.abs(found) > LARGEST)
    if len(wild):
        raise UsageError(
            f"{what}: {len(wild)} of {len(found)} values are infinite or above 1e100 in size, the first at position "
            f"{wild[0]}; differences and means need finite values: give NaN there to leave them out, counted"
        )
    return found


def mean(values: Array) -> float:
    """(n,) values, at least one -> their mean, never past the smallest or largest as rounding would have it."""
    return float(np.clip(values.mean(), values.min(), values.max()))
