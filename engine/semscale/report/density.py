"""The shape of a distribution of scores that cannot pass their bounds."""

from __future__ import annotations

import numpy as np
import scipy

from semscale.model import Array

BINS = 2000


def bounded_density(values: Array, *, low: float, high: float) -> tuple[Array, Array]:
    """(G,) values in [low, high] -> (BINS,) centres and density there: a Gaussian kernel reflected at both bounds.

    The density is zero outside the bounds and its integral over them is one. Bandwidth by Scott (1992), with the
    interquartile range against outliers as in Silverman (1986), but never under one bin. Values outside the bounds
    by rounding are counted at the bound.
    """
    counts, edges = np.histogram(np.clip(values, low, high), bins=BINS, range=(low, high))
    width = (high - low) / BINS
    bandwidth = max(_scott(values), width)
    smooth = scipy.ndimage.gaussian_filter1d(counts.astype(np.float64), bandwidth / width, mode="reflect")
    return (edges[:-1] + edges[1:]) / 2, smooth / (smooth.sum() * width)


def _scott(values: Array) -> float:
    if len(values) < 2:
        return 0.0
    quarter, three_quarters = np.percentile(values, [25, 75])
    spreads = [values.std(ddof=1), (three_quarters - quarter) / 1.349]
    return float(min((spread for spread in spreads if spread > 0), default=0.0) * 1.06 * len(values) ** -0.2)
