"""P-values of several comparisons that are read together."""

from __future__ import annotations

import numpy as np

from semscale.errors import UsageError
from semscale.model import Array


def holm(p: Array) -> Array:
    """(k,) p-values -> (k,) adjusted ones, in the same order (Holm 1979).

    The smallest is multiplied by k, the next by k - 1, and so on; none falls below the one before, none exceeds 1. To
    call significant what is at most 0.05 keeps the chance of one false claim or more at 5 %, whatever depends on what.
    NaN, a test that could not be done, stays NaN and does not count towards k. Raises UsageError for values outside
    0..1 and other shapes.
    """
    found = np.asarray(p)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "fiu"):
        raise UsageError(f"holm: p-values of {found.dtype} {found.shape}; need (k,) numbers")
    found = found.astype(np.float64)
    done = np.flatnonzero(~np.isnan(found))
    if not ((found[done] >= 0) & (found[done] <= 1)).all():
        raise UsageError("holm: a p-value lies outside 0..1")
    order = done[np.argsort(found[done], kind="stable")]
    adjusted = np.full(len(found), np.nan)
    weights = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(weights * found[order]), 1.0)
    return adjusted
