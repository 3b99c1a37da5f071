"""The exact similarity of pairs: the float64 cosine of the stored values, the same bits whatever is around a pair.

Each cosine is a function of its two rows alone, <a,b> / sqrt(<a,a> <b,b>), every product of two rows summed by NumPy in
one order that depends on D alone. Hence it is symmetric, rows that are equal have exactly 1.0 (the root of a rounded
square is the number squared), and nothing depends on blocks, threads or precision.
"""

from __future__ import annotations

import numpy as np

from semscale.cores import usable_cores
from semscale.model import Array
from semscale.prefetch import ordered_map
from semscale.search.sides import Side, dots

CHUNK_BYTES = 1 << 23  # of float64 rows that one thread holds at a time
EQUAL = 2.5e-7
"""Two rows are equal within rounding when their similarity is at least 1 - EQUAL: a float32 product of a unit row with
itself is 1 +- 2.4e-7. A threshold above 1 - EQUAL therefore selects every pair from 1 - EQUAL on; any other threshold
selects similarity >= threshold, exactly."""


def lowest_selected(threshold: float) -> float:
    """The smallest similarity that a threshold selects."""
    return min(threshold, 1.0 - EQUAL)


def cosines(left: Side, a: Array, right: Side, b: Array) -> Array:
    """(P,) positions in `left` and in `right` -> (P,) float64 cosines, in -1..1, in bounded memory.

    Chunks are spread over all cores that this process may use.
    """
    step = max(1, CHUNK_BYTES // (16 * max(left.dim, 1)))
    parts = [slice(at, at + step) for at in range(0, len(a), step)]
    if len(parts) < 2:
        return _cosines(left, a, right, b)
    workers = usable_cores()
    done = ordered_map(lambda part: _cosines(left, a[part], right, b[part]), parts, workers=workers, depth=2 * workers)
    return np.concatenate(list(done))


def _cosines(left: Side, a: Array, right: Side, b: Array) -> Array:
    found = dots(left.take(a), right.take(b)) / np.sqrt(left.squares[a] * right.squares[b])
    return np.clip(found, -1.0, 1.0)
