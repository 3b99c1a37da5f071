"""prdc: precision, recall, density and coverage at k = 5."""

from __future__ import annotations

import contextlib
import io

from parity.cases import feature_sets
from prdc import compute_prdc


def values() -> dict[str, float]:
    """All numbers by check."""
    found = {}
    for case, pair in feature_sets().items():
        with contextlib.redirect_stdout(io.StringIO()):  # it prints how many rows there are
            four = compute_prdc(pair.real, pair.fake, nearest_k=5)
        found |= {f"{metric} | {case}": value for metric, value in four.items()}
    return found
