"""How far the outputs of timed runs are from float32, by the numeric gate's numbers and limits.

The gate compares each probe once and looks at neighbours and scores too; a timed run sees some probes many times, so
that only what holds row by row is asked here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from semscale.gate import cosines, limits_of
from semscale.model import Array


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far the outputs of the timed runs were from float32, and what that breaks of the gate's limits."""

    rows: int  # embeddings compared
    plain_min: float  # cosines
    centred_min: float
    length_change: float  # relative
    reasons: tuple[str, ...]  # empty: all is well


def batches(count: int, size: int) -> list[Array]:
    """Which of `count` probes make each batch of `size`: as many whole batches as there are, or one that repeats."""
    return [np.arange(start, start + size) % count for start in range(0, max(count - size, 0) + 1, size)]


def deviation(reference: Array, actual: Array, indices: Array, *, precision: str) -> Deviation:
    """Compare (n, D) embeddings with the rows `indices` (n,) of the (N, D) reference, by the gate's limits.

    Centred cosines are those after the mean of all N is taken off. NaN breaks a limit.
    """
    wanted, found = reference.astype(np.float64), actual.astype(np.float64)
    mean = wanted.mean(axis=0)
    lengths = np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)[indices]
    plain = float(cosines(wanted[indices], found).min())
    centred = float(cosines(wanted[indices] - mean, found - mean).min())
    change, limits = float(np.abs(lengths - 1).max()), limits_of(precision)
    checks = (
        (plain >= limits.plain_min, f"the smallest cosine is {plain:.6g}, allowed is {limits.plain_min:g}"),
        (centred >= limits.centred_min, f"the smallest centred cosine is {centred:.6g}, not {limits.centred_min:g}"),
        (change <= limits.length_change, f"a length is off by {change:.2g}, allowed is {limits.length_change:g}"),
    )
    return Deviation(len(found), plain, centred, change, tuple(why for kept, why in checks if not kept))
