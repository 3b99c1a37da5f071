"""Pillow's resampling weights, in its fixed point: what makes `preprocess` and `device_resize` bit-equal to it."""

from __future__ import annotations

import numpy as np

from semscale.model import Array

REACH = {"bicubic": 2.0, "bilinear": 1.0}  # half width of the filter, in output pixels
WEIGHT_BITS = 22  # Pillow's fixed point: 32 bits, less 8 of the sample, less 2 for sums that overshoot


def fixed_weights(n_in: int, n_out: int, outputs: slice, filter_name: str) -> tuple[int, Array]:
    """The first source pixel that `outputs` read, and their weights (source, outputs) int64 from there on.

    A side of `n_in` pixels is resized to `n_out`, of which `outputs` (start and stop given) are wanted; `filter_name`
    is a name of REACH. A weight of 1 is 2**WEIGHT_BITS.
    """
    scale = n_in / n_out
    stretch = max(scale, 1.0)  # a filter narrower than a source pixel would skip some: this is the antialiasing
    centre = (np.arange(outputs.start, outputs.stop) + 0.5) * scale
    reach = REACH[filter_name] * stretch
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + reach + 0.5).astype(np.int64), n_in)
    taps = np.arange(first.min(), last.max())[:, None]
    distance = (taps - centre + 0.5) * (1.0 / stretch)
    weights = np.where((first <= taps) & (taps < last), _kernel(distance, filter_name), 0.0)
    weights /= weights.sum(axis=0)
    return int(first.min()), np.trunc(weights * (1 << WEIGHT_BITS) + np.copysign(0.5, weights)).astype(np.int64)


def _kernel(distance: Array, filter_name: str) -> Array:
    """Weights before normalisation: a triangle, or Keys' cubic with a = -0.5 (IEEE TASSP 29(6), 1981)."""
    x, a = np.abs(distance), -0.5
    if filter_name == "bilinear":
        return np.maximum(1.0 - x, 0.0)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))
