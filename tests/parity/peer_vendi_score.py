"""vendi-score: from features by its d x d problem, and from the kernel; orders 0.5, 1, 2 and infinity."""

from __future__ import annotations

import numpy as np
from parity.cases import feature_sets
from vendi_score import vendi

ORDERS = (0.5, 1, 2, "inf")


def values() -> dict[str, float]:
    """All numbers by check."""
    found = {}
    for case, pair in feature_sets().items():
        units = pair.real.astype(np.float64)
        units /= np.linalg.norm(units, axis=1, keepdims=True)
        kernel = units @ units.T
        found |= {f"vendi q={q} by score_dual | {case}": vendi.score_dual(pair.real, q=q) for q in ORDERS}
        found |= {f"vendi q={q} by score_K | {case}": vendi.score_K(kernel, q=q) for q in ORDERS}
        found[f"mean-distance by intdiv_K | {case}"] = vendi.intdiv_K(kernel)
    return found
