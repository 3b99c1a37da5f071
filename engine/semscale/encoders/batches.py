"""Batches of one fixed size, for back ends that compile a shape."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from semscale.model import Array


def fixed(inputs: Array, size: int) -> Iterator[tuple[slice, Array]]:
    """Cut (B, ...) into contiguous batches of exactly `size` rows, each with the rows of `inputs` that it holds.

    The last one is filled up with copies of its last row, whose results nobody looks at.
    """
    for start in range(0, len(inputs), size):
        batch = inputs[start : start + size]
        missing = size - len(batch)
        whole = np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)]) if missing else batch
        yield slice(start, start + len(batch)), np.ascontiguousarray(whole)
